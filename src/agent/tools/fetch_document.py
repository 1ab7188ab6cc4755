"""The rest of a document of which the model has seen a passage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from ...core.documents import Chunk, Document
from ...core.search import Hit
from ...errors import InputError
from ...telemetry.audit import NO_AUDIT, AuditEvent, AuditTrail, reading
from .protocol import ToolContext, ToolResult

if TYPE_CHECKING:
    from ...infra.search.protocol import SearchClient

MOST = 50
"""Passages of a document that one call looks at; how many of them come depends on their length."""


class FetchArguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    passage: int = Field(ge=1, le=10_000, description="Number of a passage: its document is read.")
    start: int = Field(0, ge=0, le=1_000_000, description="Which part to begin with; 0 is the beginning of the document.")


class FetchDocumentTool:
    """Reads a document in order.

    A document is named by the number of a passage, never by its id: no text can have the model open a document that the
    caller's own search did not find. It is read under the caller's scope all the same.
    """

    name = "fetch_document"
    description = "Read the document that a passage comes from, in order. Use it when a passage is cut off or refers to its surroundings."
    arguments = FetchArguments

    def __init__(self, search: SearchClient, audit: AuditTrail = NO_AUDIT) -> None:
        self._search = search
        self._audit = audit

    async def run(self, arguments: FetchArguments, context: ToolContext) -> ToolResult:
        shown = next((passage for passage in context.passages if passage.n == arguments.passage), None)
        if shown is None:
            raise InputError(f"There is no passage {arguments.passage}.")
        document_id = shown.hit.document_id
        async with reading(self._audit, AuditEvent.under(context.scope, "document.read", documents=(document_id,), part="passages")):
            document = await self._search.get_document(document_id, context.scope)
            chunks = await self._search.get_chunks(document_id, context.scope) if document is not None else ()
        if document is None or not chunks:
            raise InputError("The document is no longer there.")
        some = chunks[arguments.start : arguments.start + MOST]
        if not some:
            raise InputError(f"The document has {len(chunks)} parts; the last is {len(chunks) - 1}.")
        where = f"Parts {arguments.start} to {arguments.start + len(some) - 1} of a document with {len(chunks)}, numbered from 0."
        return ToolResult(where, tuple(hit_of(document, chunk) for chunk in some))


def hit_of(document: Document, chunk: Chunk) -> Hit:
    """A passage that nobody searched for: it has no score."""
    return Hit(
        chunk_id=chunk.id,
        document_id=document.id,
        title=document.title,
        text=chunk.text,
        source=document.source,
        score=0.0,
        legs={},
        page=chunk.page,
        section=chunk.section,
        start=chunk.start,
        end=chunk.end,
        position=chunk.position,
        metadata=document.metadata,
    )
