"""Our answers as plain data, in the shapes of the HTTP API. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..core.chat import Answer
from ..core.documents import Chunk, Document
from ..core.search import Hit, SearchResult

_ACTIVE = str.maketrans("[]<>", "()‹›")


def inert(text: str) -> str:
    """Words of a document on one line, as no link, image or tag: clients may show what a model passes on."""
    return " ".join(text.translate(_ACTIVE).split())


def plain(value: Any) -> Any:
    """Dataclasses, mappings and sequences as JSON data; what is None in a dataclass is left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: plain(item) for name, item in fields if item is not None}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def hit_shape(hit: Hit) -> dict[str, Any]:
    """A hit as `POST /v1/search` shows it."""
    names = ("chunk_id", "document_id", "title", "text", "source", "page", "section", "score", "legs", "rerank")
    return {name: plain(value) for name in names if (value := getattr(hit, name)) is not None}


def search_shape(result: SearchResult) -> dict[str, Any]:
    """What `POST /v1/search` answers."""
    rest = {"mode": result.mode, "degraded": list(result.degraded), "took_ms": round(result.took_ms, 3)}
    optional = {"next_cursor": result.next_cursor, "intent": plain(result.intent) if result.intent else None}
    return {"hits": [hit_shape(hit) for hit in result.hits], **rest, **{name: value for name, value in optional.items() if value is not None}}


def answer_shape(answer: Answer) -> dict[str, Any]:
    """What `POST /v1/chat` answers."""
    shape: dict[str, Any] = plain(answer)
    return shape


def document_shape(document: Document) -> dict[str, Any]:
    """A document as `GET /v1/documents` lists it. Who may see it stays out."""
    return {
        "document_id": document.id,
        "title": document.title,
        "source": document.source,
        "content_type": document.content_type,
        "metadata": plain(document.metadata),
    }


def passage_shape(chunk: Chunk) -> dict[str, Any]:
    """A passage as `GET /v1/documents/{id}/passages` shows it."""
    shape = {"chunk_id": chunk.id, "position": chunk.position, "page": chunk.page, "section": chunk.section, "text": chunk.text}
    return {name: value for name, value in shape.items() if value is not None}


def place_of(title: str, page: int | None, section: str) -> str:
    """Where a passage stands, for people: ``Title, page 3, Safety > Ladders``."""
    return ", ".join(part for part in (title, f"page {page}" if page is not None else "", section if section != title else "") if part)


def hits_text(result: SearchResult) -> str:
    """Hits for a model to read: numbered, each with where it stands and the ids that lead to more."""
    if not result.hits:
        return "Nothing found."
    return "\n\n".join(
        f"[{n}] {inert(place_of(hit.title or hit.source, hit.page, hit.section))}\n(document_id: {hit.document_id}; chunk_id: {hit.chunk_id})\n{hit.text}"
        for n, hit in enumerate(result.hits, start=1)
    )


def answer_text(answer: Answer) -> str:
    """An answer for a model or a person to read: the text with its ``[n]`` marks, and what they stand for; or what it waits for, and where that is decided."""
    if (waits := answer.approval) is not None:
        tools = ", ".join(dict.fromkeys(inert(call.tool) for call in waits.calls))
        where = f"on the chat page, or with POST /v1/threads/{waits.thread_id}/approvals/{waits.approval_id}"
        return f"There is no answer yet: the user first has to allow or refuse a tool ({tools}), in thread {waits.thread_id}, {where}. Do not ask again."
    sources = [f"[{cited.n}] {inert(place_of(cited.title or cited.source, cited.page, cited.section))}: “{inert(cited.quote)}”" for cited in answer.citations]
    return "\n".join([answer.answer, *(["", "Sources:", *sources] if sources else [])])
