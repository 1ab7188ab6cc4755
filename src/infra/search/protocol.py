"""What every search engine does. One conformance suite (`tests/contract`) runs over each implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ...core.documents import Chunk, Document
from ...core.identity import AccessScope
from ...core.search import Filter, SearchRequest, SearchResult

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DocumentWrite:
    """A document with all its chunks and their vectors (float32, shape (len(chunks), dims)); it replaces what was there."""

    document: Document
    chunks: tuple[Chunk, ...]
    vectors: NDArray[np.float32] = field(compare=False)


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """The shape that ``rag index info --json`` prints; each view counts chunks."""

    documents: int
    chunks: int
    views: dict[str, int]
    engine: str
    embedder: str
    version: int


@dataclass(frozen=True, slots=True)
class DocumentPage:
    documents: tuple[Document, ...]
    next_cursor: str | None = None


class SearchClient(Protocol):
    """A search engine. Nothing connects before the first call; every read takes a scope.

    Raises (all methods): ``InputError`` kinds for what the caller got wrong, ``StorageError`` kinds or
    ``ServiceUnavailableError`` for an outage, ``IndexMismatchError`` when the index was made with another embedder,
    ``ResourceClosedError`` after close. An outage is never an empty result.
    """

    async def search(self, request: SearchRequest, scope: AccessScope) -> SearchResult:
        """The best chunks for one request. Filters and scope apply inside each leg, before top-k."""
        ...

    async def multi_search(self, requests: Sequence[SearchRequest], scope: AccessScope) -> list[SearchResult]:
        """Several requests in one go, answers in order."""
        ...

    async def write(self, documents: Sequence[DocumentWrite]) -> None:
        """Insert or replace whole documents, each in one transaction; acknowledged when this returns."""
        ...

    async def delete(self, document_ids: Sequence[str], scope: AccessScope) -> int:
        """Delete the documents that the scope may see; returns how many were there."""
        ...

    async def get_document(self, document_id: str, scope: AccessScope) -> Document | None: ...

    async def get_chunks(self, document_id: str, scope: AccessScope) -> tuple[Chunk, ...]:
        """All chunks of one document in order; empty where the scope may not see it."""
        ...

    async def list_documents(self, scope: AccessScope, *, filters: Sequence[Filter] = (), limit: int = 100, cursor: str | None = None) -> DocumentPage:
        """Documents by id, a page at a time."""
        ...

    async def count(self, scope: AccessScope, *, filters: Sequence[Filter] = ()) -> int:
        """Visible chunks."""
        ...

    async def content_hashes(self, document_ids: Sequence[str], tenant: str) -> dict[str, str]:
        """Content hash (with ingestion settings folded in by the caller) of each known document: what ingestion may skip."""
        ...

    def export(self, scope: AccessScope, *, after: tuple[str, str] | None = None) -> AsyncIterator[DocumentWrite]:
        """Every visible document with its chunks and vectors, by (id, tenant), as `write` takes it.

        Args:
            after: begin behind this (document id, tenant).
        """
        ...

    async def refresh(self) -> None:
        """After this, every search sees what was acknowledged."""
        ...

    async def reset(self) -> None:
        """An empty index for this engine's embedder takes the place of the old one; what ``rag ingest --rebuild`` begins with."""
        ...

    def rebuilding(self) -> AbstractAsyncContextManager[SearchClient]:
        """A client on an empty index for this engine's embedder, to be filled inside the block; at its good end that is the index.

        An engine that builds aside leaves the old index to everybody else until then, and to all if the block fails; an
        engine that cannot begins with `reset` and hands out itself.
        """
        ...

    async def info(self) -> IndexInfo: ...

    async def ping(self) -> None:
        """Return if the engine can serve; raise what stands in its way."""
        ...

    async def aclose(self) -> None: ...
