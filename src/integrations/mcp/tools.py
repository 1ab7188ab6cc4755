"""The tools: one function each, under the caller's identity. They know nothing of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ...core.chat import ChatRequest
from ...core.documents import Chunk, Document
from ...core.identity import Identity, access_scope
from ...errors import NotFoundError, QueryError
from ...retrieval.filters import parse_filters
from ...telemetry.audit import AuditEvent, reading
from ..shapes import answer_shape, answer_text, document_shape, hits_text, passage_shape, place_of, search_shape
from .arguments import Arguments, AskArguments, FetchArguments, SearchArguments, read

if TYPE_CHECKING:
    from ...agent.runtime import Agent
    from ...infra.resource_manager import ResourceManager
    from ...infra.search.protocol import SearchClient
    from ...retrieval.retriever import Retriever

MAX_FETCH_CHARS = 20_000
"""Characters of one fetch: about 5,000 tokens; the next call goes on."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool answers: text for the model, and the same as data."""

    text: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool as clients see it."""

    name: str
    title: str
    arguments: type[Arguments]
    run: Callable[[ResourceManager, Identity, Mapping[str, Any] | None], Awaitable[Outcome]]
    read_only: bool = True


async def search(resources: ResourceManager, identity: Identity, given: Mapping[str, Any] | None) -> Outcome:
    """Passages that the caller may see. Raises what `Retriever.search` raises."""
    asked = read(SearchArguments, given)
    filters = parse_filters(asked.filters)
    retriever = cast("Retriever", await part(resources, "retriever"))
    found = await retriever.search(asked.query, access_scope(identity), mode=asked.mode, top_k=asked.top_k, filters=filters, cursor=asked.cursor)
    return Outcome(_with_notes(hits_text(found), found.degraded), search_shape(found))


async def ask(resources: ResourceManager, identity: Identity, given: Mapping[str, Any] | None) -> Outcome:
    """An answer with citations, as a turn of a thread of the caller's. Raises what `Agent.stream` raises."""
    asked = read(AskArguments, given)
    request = ChatRequest(asked.question, asked.thread_id, asked.mode, parse_filters(asked.filters))
    agent = cast("Agent", await part(resources, "agent"))
    answer = await agent.ask(request, identity)
    return Outcome(_with_notes(answer_text(answer), answer.degraded), answer_shape(answer))


async def fetch(resources: ResourceManager, identity: Identity, given: Mapping[str, Any] | None) -> Outcome:
    """A document's passages from one on, as many as fit into one answer.

    Raises:
        NotFoundError: there is no such document or passage, or the caller may not see it.
    """
    asked = read(FetchArguments, given)
    document, chunks = await whole(resources, asked.document_id, identity)
    start = first_passage(chunks, asked)
    taken = as_many_as_fit(chunks[start:], MAX_FETCH_CHARS)
    end = start + len(taken)
    data = {"document": document_shape(document), "passages": [passage_shape(chunk) for chunk in taken], "start": start, "total": len(chunks)}
    rest = f"\n\nPassages {start} to {end - 1} of {len(chunks)}; go on with start={end}." if end < len(chunks) else ""
    return Outcome(f"{document.title or document.id}\n\n{passages_text(taken)}{rest}", {**data, **({"next_start": end} if end < len(chunks) else {})})


async def part(resources: ResourceManager, name: str) -> Any:
    """A resource, built in a thread: its imports take a while."""
    return await asyncio.to_thread(resources.get, name)


async def whole(resources: ResourceManager, document_id: str, identity: Identity) -> tuple[Document, tuple[Chunk, ...]]:
    """A document and all its passages.

    Raises:
        NotFoundError: there is none that the caller may see.
    """
    scope = access_scope(identity)
    engine = cast("SearchClient", await part(resources, "search"))
    async with reading(await part(resources, "audit"), AuditEvent.by(identity, "document.read", documents=(document_id,), part="passages")):
        document = await engine.get_document(document_id, scope)
        if document is None:
            raise NotFoundError("There is no such document.", hint="Use the document_id of a passage that was found.")
    return document, await engine.get_chunks(document_id, scope)


def first_passage(chunks: tuple[Chunk, ...], asked: FetchArguments) -> int:
    """Number of the passage to begin with.

    Raises:
        NotFoundError: the document has no such passage.
        QueryError: `start` lies behind its end.
    """
    if asked.chunk_id is not None:
        for number, chunk in enumerate(chunks):
            if chunk.id == asked.chunk_id:
                return number
        raise NotFoundError("The document does not have this passage.", hint="It was changed since; search again to get its present passages.")
    if asked.start and asked.start >= len(chunks):
        raise QueryError(f"The document has {len(chunks)} passages; start counts from 0.", hint="Use next_start of the part before.")
    return asked.start


def as_many_as_fit(chunks: tuple[Chunk, ...], limit: int) -> tuple[Chunk, ...]:
    """The first chunks whose texts together stay within the limit; one at least."""
    size = 0
    for number, chunk in enumerate(chunks):
        size += len(chunk.text)
        if size > limit and number:
            return chunks[:number]
    return chunks


def passages_text(chunks: tuple[Chunk, ...]) -> str:
    """Passages one after the other; where the page or the heading changes, a line says so."""
    lines: list[str] = []
    before = ""
    for chunk in chunks:
        place = place_of("", chunk.page, chunk.section)
        if place != before:
            lines.append(f"({place})" if place else "")
        lines.append(chunk.text)
        before = place
    return "\n".join(lines).strip()


def _with_notes(text: str, degraded: tuple[str, ...]) -> str:
    return "\n\n".join([text, *(f"Note: {reason}" for reason in degraded)])


TOOLS = (
    ToolSpec("search", "Search the documents", SearchArguments, search),
    ToolSpec("ask", "Ask the documents", AskArguments, ask, read_only=False),
    ToolSpec("fetch", "Read a document", FetchArguments, fetch),
)
