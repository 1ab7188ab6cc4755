"""`OpenSearchEngine`: the `SearchClient` on a company's OpenSearch. It holds the parts together and does nothing itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Self

from ....core.documents import Chunk, Document
from ....core.identity import AccessScope
from ....core.search import Filter, SearchRequest, SearchResult
from ....errors import ResourceClosedError
from ....telemetry.logger import get_logger
from ..protocol import DocumentPage, DocumentWrite, IndexInfo, SearchClient

if TYPE_CHECKING:
    from ...aws.signing import Signer
    from ...config import SearchCfg
    from ...network import NetworkPolicy
    from .reading.capabilities import Capabilities
    from .versions.indices import Indices
    from .versions.lifecycle import Building, Lifecycle
    from .versions.state import Work
    from .wire.transport import Transport

log = get_logger(__name__)


class OpenSearchEngine:
    """Search in an OpenSearch cluster. Connects nothing before the first call; usable from several event loops.

    Args:
        cfg: `[search]`.
        embedder: identity of the embedding model (`Embedder.model`); the index stores it and refuses another.
        dims: length of its vectors.
        network: the outbound policy: proxy, certificates.
        signer: signs requests, in place of user, password and token.

    Raises:
        ConfigurationError: `[search]` cannot be used.
    """

    def __init__(self, cfg: SearchCfg, *, embedder: str, dims: int, network: NetworkPolicy, signer: Signer | None = None) -> None:
        from .wire.transport import Transport

        self._bind(cfg, Transport(cfg, network, signer=signer), embedder, dims, may_create=True)
        self._owns_transport = True

    def _bind(self, cfg: SearchCfg, transport: Transport, embedder: str, dims: int, *, may_create: bool) -> None:
        # Imported here: they bring numpy and opensearch-py, which importing the client's name shall not cost (0.2 s).
        from .reading.documents import Documents
        from .reading.searches import Reader
        from .versions.indices import Indices
        from .writing.writer import Writer

        self._cfg = cfg
        self._transport = transport
        self._indices = Indices(transport, cfg, embedder, dims, may_create=may_create)
        self._reader = Reader(transport, self._indices, cfg, dims)
        self._documents = Documents(transport, self._indices, cfg)
        self._writer = Writer(transport, self._indices, cfg)
        self._closed = False

    def _on(self, alias: str) -> Self:
        """The same engine on another alias, which must be there; it shares the connections and is never closed."""
        engine = self.__class__.__new__(self.__class__)
        cfg = self._cfg.model_copy(update={"index_alias": alias})
        engine._bind(cfg, self._transport, self._indices.embedder, self._indices.dims, may_create=False)  # noqa: SLF001 - an engine of the same class
        engine._owns_transport = False  # noqa: SLF001 - as above
        return engine

    @property
    def transport(self) -> Transport:
        """How requests travel; for `rag index` and diagnosis."""
        return self._transport

    @property
    def indices(self) -> Indices:
        """The versions behind the alias; for `rag index`."""
        return self._indices

    # -- searching

    async def search(self, request: SearchRequest, scope: AccessScope) -> SearchResult:
        """The best chunks for one request.

        Raises:
            QueryError: mode, top_k (1 to 10,000), query, vector, tuning or cursor cannot be used.
            FilterError: a filter is malformed.
            IndexMissingError, IndexMismatchError, MappingConflictError: there is no index, or it does not fit the embedder.
            UnsupportedFeatureError: the cluster cannot search vectors.
            ServiceUnavailableError and its kinds, ServiceCredentialsError: the cluster did not answer, or not whole.
        """
        (result,) = await self.multi_search([request], scope)
        return result

    async def multi_search(self, requests: Sequence[SearchRequest], scope: AccessScope) -> list[SearchResult]:
        """Several requests, in as few multi-searches as their rounds allow; answers in order, the first bad one fails them all."""
        self._begin(scope, "search")
        return await self._reader.search(requests, scope)

    async def count(self, scope: AccessScope, *, filters: Sequence[Filter] = ()) -> int:
        """Visible chunks that pass the filters, as of the last refresh."""
        self._begin(scope, "count")
        return await self._documents.count(scope, filters=filters)

    async def capabilities(self) -> Capabilities:
        """What the cluster can do, found by trying."""
        self._begin()
        return await self._reader.capabilities()

    # -- documents

    async def get_document(self, document_id: str, scope: AccessScope) -> Document | None:
        """The document, where the scope may see it; in real time."""
        self._begin(scope, "get_document")
        return await self._documents.get_document(document_id, scope)

    async def get_chunks(self, document_id: str, scope: AccessScope) -> tuple[Chunk, ...]:
        """All chunks of one document in order; empty where the scope may not see it."""
        self._begin(scope, "get_chunks")
        return await self._documents.get_chunks(document_id, scope)

    async def list_documents(self, scope: AccessScope, *, filters: Sequence[Filter] = (), limit: int = 100, cursor: str | None = None) -> DocumentPage:
        """Documents by id, a page (1 to 10,000) at a time, as of the last refresh.

        Raises:
            QueryError: limit or cursor cannot be used.
            FilterError: a filter is malformed.
        """
        self._begin(scope, "list_documents")
        return await self._documents.list_documents(scope, filters=filters, limit=limit, cursor=cursor)

    async def content_hashes(self, document_ids: Sequence[str], tenant: str) -> dict[str, str]:
        """Content hash of each known document of the tenant; in real time. Waits for the cluster as `write` does."""
        self._begin()
        return await self._writer.waiting.answer(lambda: self._documents.content_hashes(document_ids, tenant))

    async def export(self, scope: AccessScope, *, after: tuple[str, str] | None = None) -> AsyncGenerator[DocumentWrite, None]:
        """Every visible document with its chunks and vectors, by (id, tenant)."""
        self._begin(scope, "export")
        async with aclosing(self._documents.export(scope, after=after)) as documents:
            async for document in documents:
                yield document

    # -- writing

    async def write(self, documents: Sequence[DocumentWrite]) -> None:
        """Insert or replace whole documents; each is acknowledged when this returns, and found after the next refresh.

        Raises:
            InputError: vectors do not fit the chunks or the index.
            ConflictError: other writers keep writing the same documents.
            RefusedItemsError: the server refuses some documents for good; all others were written.
            WriteBlockedError: the index takes no writes.
        """
        self._begin()
        await self._writer.write(documents)

    async def delete(self, document_ids: Sequence[str], scope: AccessScope) -> int:
        """Delete the documents that the scope may see; returns how many were there."""
        self._begin(scope, "delete")
        return await self._writer.delete(document_ids, scope)

    async def refresh(self) -> None:
        """After this, every search sees what was acknowledged. Waits for the cluster as `write` does."""
        self._begin()
        await self._writer.waiting.answer(self._refresh)

    async def _refresh(self) -> None:
        from .reading.stored import refresh

        state = await self._indices.current()
        await refresh(self._transport, state.alias, self._cfg.bulk_timeout_s)

    async def reset(self) -> None:
        """An empty version for this engine's embedder takes the place of the index; the old version stays until it is deleted."""
        async with self.rebuilding():
            pass

    @asynccontextmanager
    async def rebuilding(self) -> AsyncIterator[SearchClient]:
        """A client on a new, empty version; at the block's good end the alias moves to it.

        Until then, and if the block fails, everybody else goes on with the old version.

        Raises:
            ConflictError: another command builds a version, or moved the alias meanwhile.
        """
        async with self.building("rebuild") as aside:
            yield aside

    @asynccontextmanager
    async def building(self, work: Work, *, resume: bool = False) -> AsyncIterator[SearchClient]:
        """As `rebuilding`; with ``resume`` a version that the same work left unfinished is gone on with, and left again if the block fails."""
        from .versions.healing import renewing
        from .versions.lifecycle import Lifecycle

        self._begin()
        lifecycle = Lifecycle(self._indices)
        building = await lifecycle.begin(work, resume=resume)
        try:
            async with renewing(lambda: lifecycle.renew(building)):
                yield self._on(building.alias)
            await lifecycle.publish(building)
        except BaseException:
            await (lifecycle.release(building) if resume else _abandon(lifecycle, building))
            raise
        finally:
            self._indices.forget()

    # -- life

    async def info(self) -> IndexInfo:
        """Counts, by the server."""
        self._begin()
        return await self._documents.info()

    async def ping(self) -> None:
        """Return if searches can be answered; raise what stands in their way."""
        self._begin()
        self._indices.forget()
        await self._indices.current()

    async def aclose(self) -> None:
        """Close the connections; again is harmless."""
        if not self._closed:
            self._closed = True
            if self._owns_transport:
                await self._transport.aclose()

    def _begin(self, scope: AccessScope | None = None, operation: str = "") -> None:
        if self._closed:
            raise ResourceClosedError("The search engine was used after it was closed.")
        if scope is not None and scope.system:
            log.info("system scope used", operation=operation, tenant=scope.tenant)


async def _abandon(lifecycle: Lifecycle, building: Building) -> None:
    try:
        await lifecycle.abandon(building)
    except Exception as error:  # noqa: BLE001 - what made the block fail must come out, not this
        log.warning("a version that was not finished could not be deleted; the next command does it", index=building.name, reason=str(error))
