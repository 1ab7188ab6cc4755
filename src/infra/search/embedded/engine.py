"""`EmbeddedSearch`: the `SearchClient` that needs no server.

One thread reads and one writes, each with its own connection and its own views, exactly as two processes would: they
meet only in the files. Searching therefore never waits for a writer that waits for the lock.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ....core.documents import Chunk, Document
from ....core.identity import AccessScope
from ....core.search import Filter, SearchRequest, SearchResult
from ....errors import ResourceClosedError
from ....telemetry.logger import get_logger
from ..protocol import DocumentPage, DocumentWrite, IndexInfo, SearchClient
from . import exporting, reading
from .failures import gone
from .session import Session, identity
from .truth import FILE_NAME
from .views import FOLDER as VIEWS
from .writing import Writer

log = get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

ENGINE = "embedded"


class EmbeddedSearch:
    """Search in a folder of this machine: SQLite is the truth, tantivy and numpy answer.

    Args:
        folder: the data folder of the index; made with the first write.
        embedder: identity of the embedding model (`Embedder.model`); the index stores it and refuses another.
        dims: length of its vectors.
        lock_timeout_s: seconds to wait for a lock that another process holds.
    """

    def __init__(self, folder: Path, *, embedder: str, dims: int, lock_timeout_s: float = 10.0) -> None:
        self._folder = folder
        self._embedder = embedder
        self._dims = dims
        self._lock_timeout_s = lock_timeout_s
        self._session: Session | None = None
        self._seen = False
        self._writer = Writer(folder, embedder, dims, lock_timeout_s)
        self._read_thread = ThreadPoolExecutor(1, thread_name_prefix="rag-search")
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="rag-index")
        self._closed = False

    # -- searching

    async def search(self, request: SearchRequest, scope: AccessScope) -> SearchResult:
        """The best chunks for one request.

        Raises:
            QueryError: mode, top_k (1 to 10,000), query, vector, tuning or cursor cannot be used.
            FilterError: a filter is malformed.
            StorageError: the data folder fails; see its kinds.
            IndexMismatchError: the index holds vectors of another model.
        """
        (result,) = await self.multi_search([request], scope)
        return result

    async def multi_search(self, requests: Sequence[SearchRequest], scope: AccessScope) -> list[SearchResult]:
        """Several requests on one state of the index, answers in order; the first bad one fails them all."""
        self._note_system(scope, "search")
        return await self._read(self._search, requests, scope)

    def _search(self, session: Session, requests: Sequence[SearchRequest], scope: AccessScope) -> list[SearchResult]:
        return reading.search(session, [reading.check(request, self._dims) for request in requests], scope)

    async def count(self, scope: AccessScope, *, filters: Sequence[Filter] = ()) -> int:
        """Visible chunks that pass the filters."""
        self._note_system(scope, "count")
        return await self._read(reading.count, scope, filters)

    # -- documents

    async def get_document(self, document_id: str, scope: AccessScope) -> Document | None:
        """The document, where the scope may see it."""
        self._note_system(scope, "get_document")
        return await self._read(reading.get_document, document_id, scope)

    async def get_chunks(self, document_id: str, scope: AccessScope) -> tuple[Chunk, ...]:
        """All chunks of one document in order; empty where the scope may not see it."""
        self._note_system(scope, "get_chunks")
        return await self._read(reading.get_chunks, document_id, scope)

    async def list_documents(self, scope: AccessScope, *, filters: Sequence[Filter] = (), limit: int = 100, cursor: str | None = None) -> DocumentPage:
        """Documents by id, a page (1 to 10,000) at a time.

        Raises:
            QueryError: limit or cursor cannot be used.
            FilterError: a filter is malformed.
        """
        self._note_system(scope, "list_documents")
        return await self._read(reading.list_documents, scope, filters, limit, cursor)

    async def content_hashes(self, document_ids: Sequence[str], tenant: str) -> dict[str, str]:
        """Content hash of each known document of the tenant."""
        return await self._read(_content_hashes, document_ids, tenant)

    async def export(self, scope: AccessScope, *, after: tuple[str, str] | None = None) -> AsyncIterator[DocumentWrite]:
        """Every visible document with its chunks and vectors, by (id, tenant); each as it stands when its turn comes."""
        self._note_system(scope, "export")
        position = after or ("", "")
        while page := await self._read(exporting.export_page, scope, position, self._dims):
            for write in page:
                yield write
            position = (page[-1].document.id, page[-1].document.tenant)

    # -- writing

    async def write(self, documents: Sequence[DocumentWrite]) -> None:
        """Insert or replace whole documents; acknowledged, on disk, when this returns. The views follow.

        Documents are committed in groups, the write lock being held for each group only.

        Raises:
            InputError: vectors do not fit the chunks or the index.
            StorageLockedError: another process kept the write lock; names it.
            StorageReadOnlyError, StorageFullError, StorageCorruptError: nothing of the group was stored.
        """
        for group in self._writer.groups(documents):
            await self._write(self._writer.write, group)
        if documents:
            self._follow()

    async def delete(self, document_ids: Sequence[str], scope: AccessScope) -> int:
        """Delete the documents that the scope may see; returns how many were there."""
        self._note_system(scope, "delete")
        deleted = await self._write(self._writer.delete, document_ids, scope)
        self._follow()
        return deleted

    async def reset(self) -> None:
        """Empty the index and take this engine's embedder; what `rag ingest --rebuild` begins with."""
        await self._write(self._writer.reset)

    @asynccontextmanager
    async def rebuilding(self) -> AsyncIterator[SearchClient]:
        """This engine, emptied: searches find what has come in so far."""
        await self.reset()
        yield self

    async def refresh(self) -> None:
        """Bring the views up to everything that was acknowledged; searches would do it themselves."""
        await self._read(_ping)

    def _follow(self) -> None:
        """Let the views catch up behind the acknowledgement; a search that comes first does it itself."""
        if not self._closed:
            self._write_thread.submit(self._writer.follow)

    # -- life

    async def info(self) -> IndexInfo:
        """Counts; those of the views are counted in the views."""
        return await self._read(_info)

    async def ping(self) -> None:
        """Return if searches can be answered; raise what stands in their way."""
        await self._read(_ping)

    async def aclose(self) -> None:
        """Finish the views and close the files; again is harmless."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._write_thread, self._writer.close)
        await loop.run_in_executor(self._read_thread, self._close_session)
        self._write_thread.shutdown(wait=False)
        self._read_thread.shutdown(wait=False)

    def _close_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    # -- threads

    async def _read(self, work: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._check_open()

        def run() -> T:
            return work(self._reader(), *args, **kwargs)

        # The context goes along, so that stages find the timings of the request.
        return await asyncio.get_running_loop().run_in_executor(self._read_thread, contextvars.copy_context().run, run)

    async def _write(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._write_thread, lambda: work(*args, **kwargs))

    def _check_open(self) -> None:
        if self._closed:
            raise ResourceClosedError("The search engine was used after it was closed.")

    def _reader(self) -> Session:
        """The reader's session. As long as there has been no index, one on an empty index in memory: reading creates no files.

        Raises:
            StorageError: there was an index, and it is gone: an outage, which must not look like "no results".
        """
        if self._session is not None and not self._session.current():
            self._close_session()
        if self._session is None:
            if identity(self._folder) is None:
                if self._seen or (self._folder / VIEWS).exists():
                    raise gone(self._folder / FILE_NAME)
                return Session.empty(self._folder, self._embedder, self._dims)
            self._session = Session.open(self._folder, self._embedder, self._dims, self._lock_timeout_s)
            self._seen = True
        return self._session

    def _note_system(self, scope: AccessScope, operation: str) -> None:
        if scope.system:
            log.info("system scope used", operation=operation, tenant=scope.tenant)


def _content_hashes(session: Session, document_ids: Sequence[str], tenant: str) -> dict[str, str]:
    with session.truth.snapshot() as state:
        session.check(state)
        return session.truth.content_hashes(tenant, document_ids)


def _info(session: Session) -> IndexInfo:
    with session.serving() as (state, views):
        counts = {"lexical": int(views.postings.searcher.num_docs), "vector": views.lines.live}
        return IndexInfo(session.truth.documents(), session.truth.chunk_count(), counts, ENGINE, state.embedder, state.format)


def _ping(session: Session) -> None:
    with session.serving():
        return
