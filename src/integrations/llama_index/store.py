"""A LlamaIndex vector store over our search engine, under one identity's access scope."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from pydantic import Field

from ...core.documents import Document
from ...core.identity import Identity, access_scope
from ...core.search import AnyOf, Exists, Filter, Mode, SearchRequest
from ...errors import QueryError
from ...infra.resource_manager import ResourceManager, get_resources
from ...infra.search.protocol import DocumentWrite, SearchClient
from ...retrieval.retriever import tuning_of
from ...telemetry.audit import AuditEvent, AuditTrail, changing, reading
from ...telemetry.logger import get_logger
from ...util.aio import run_sync
from ..callers import identity_of
from .filters import filters_of
from .nodes import NODE, OWNER, REF, document_of, node_of_chunk, node_of_hit, space_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = get_logger(__name__)

MODES: dict[VectorStoreQueryMode, Mode] = {
    VectorStoreQueryMode.DEFAULT: "knn",
    VectorStoreQueryMode.SPARSE: "bm25",
    VectorStoreQueryMode.TEXT_SEARCH: "bm25",
    VectorStoreQueryMode.HYBRID: "hybrid",
}
_PAGE = 1000


class RagVectorStore(BasePydanticVectorStore):
    """Queries find all that the identity may see, whoever ingested it. Adding, reading and deleting by id is for its own nodes.

    Vectors must come from the index's embedding model: hand `RagEmbedding` to the `VectorStoreIndex`. Nodes without a vector
    get theirs here. Query modes are default (by meaning), sparse and text_search (by words) and hybrid, where ``alpha`` is
    the weight of meaning; filters are those of `filters.SUPPORTED`. What the index cannot do is an error.

    Raises (every method): ``InputError`` kinds for what the caller got wrong; ``ServiceUnavailableError``, ``StorageError`` and
    ``ModelError`` kinds for an outage, which is never an empty result.
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    resources: ResourceManager = Field(default_factory=get_resources, exclude=True, repr=False)
    identity: Identity | None = Field(None, exclude=True)
    """Whose store it is; None: whoever the running request names, else the local user."""
    acl: tuple[str, ...] = ()
    """Principals that may see what is added, such as ``group:hr`` or ``tenant:*``; empty: the identity alone."""

    @classmethod
    def class_name(cls) -> str:
        return "RagVectorStore"

    @property
    def client(self) -> SearchClient:
        """Our search engine."""
        return self.resources.search

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Keep nodes, each in one transaction; one of the same id is replaced. When this returns they are kept, and found."""
        return run_sync(self._add(list(nodes), self._caller()))

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        return await self._add(list(nodes), self._caller())

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the identity's nodes of one of LlamaIndex's documents; there may be none."""
        run_sync(self._delete((AnyOf(REF, (ref_doc_id,)),), self._caller()))

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        await self._delete((AnyOf(REF, (ref_doc_id,)),), self._caller())

    def delete_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any) -> None:
        """Delete those of the identity's nodes that have one of the ids, and that the filters fit."""
        run_sync(self.adelete_nodes(node_ids, filters))

    async def adelete_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any) -> None:
        if node_ids is None and filters is None:
            raise QueryError("Neither ids nor filters say which nodes to delete.", hint="`clear` deletes all of them.")
        await self._delete(filters_of(filters), self._caller(), node_ids)

    def clear(self) -> None:
        """Delete all of the identity's nodes; what was ingested otherwise stays."""
        run_sync(self._delete((), self._caller()))

    async def aclear(self) -> None:
        await self._delete((), self._caller())

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Those of the identity's nodes that have one of the ids, in the order of the ids, and that the filters fit."""
        return run_sync(self._get(node_ids, filters, self._caller()))

    async def aget_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        return await self._get(node_ids, filters, self._caller())

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The best passages that the identity may see; ``similarities`` are cosines by meaning, BM25 by words, the fused score otherwise."""
        return run_sync(self._query(query, self._caller()))

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        return await self._query(query, self._caller())

    def _caller(self) -> Identity:
        return identity_of(self.resources, self.identity)

    async def _engine(self) -> SearchClient:
        return cast("SearchClient", await asyncio.to_thread(self.resources.get, "search"))

    async def _audit(self) -> AuditTrail:
        return cast("AuditTrail", await asyncio.to_thread(self.resources.get, "audit"))

    async def _add(self, nodes: list[BaseNode], caller: Identity) -> list[str]:
        if not nodes:
            return []
        acl = self.acl or (f"user:{caller.user}",)
        made = [document_of(node, caller, acl) for node in nodes]
        vectors = await self._vectors(nodes)
        writes = [DocumentWrite(document, (chunk,), vectors[at : at + 1]) for at, (document, chunk) in enumerate(made)]
        engine = await self._engine()
        written = tuple(write.document.id for write in writes)
        async with changing(await self._audit(), AuditEvent.by(caller, "document.write", documents=written)):
            await engine.write(writes)
        await engine.refresh()  # the library asks for, or deletes, at once what it has added
        return [node.node_id for node in nodes]

    async def _vectors(self, nodes: list[BaseNode]) -> NDArray[np.float32]:
        """The nodes' vectors, made where they have none."""
        import numpy as np

        bare = [node.get_content(MetadataMode.EMBED) for node in nodes if node.embedding is None]
        fresh = iter(await (await asyncio.to_thread(self.resources.get, "embedder")).embed(bare)) if bare else iter(())
        rows = [next(fresh) if node.embedding is None else np.asarray(node.embedding, np.float32) for node in nodes]
        if len({row.shape for row in rows}) > 1:
            raise QueryError("The nodes' vectors are of different lengths.", hint="Embed them with RagEmbedding, the index's own model.")
        return np.stack(rows)

    async def _own(self, filters: tuple[Filter, ...], caller: Identity, node_ids: Sequence[str] | None = None) -> list[Document]:
        """The caller's own nodes that fit."""
        engine, space, found, cursor = await self._engine(), space_of(caller), [], None
        if node_ids is not None:
            filters = (*filters, AnyOf("document_id", tuple(f"{space}{name}" for name in node_ids)))
        if node_ids is not None and not node_ids:
            return []
        while True:
            page = await engine.list_documents(access_scope(caller), filters=(*filters, Exists(NODE), AnyOf(OWNER, (caller.user,))), limit=_PAGE, cursor=cursor)
            found += [document for document in page.documents if document.id.startswith(space)]
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def _delete(self, filters: tuple[Filter, ...], caller: Identity, node_ids: Sequence[str] | None = None) -> None:
        own = await self._own(filters, caller, node_ids)
        if own:
            engine = await self._engine()
            gone = tuple(document.id for document in own)
            async with changing(await self._audit(), AuditEvent.by(caller, "document.delete", documents=gone)):
                await engine.delete(gone, access_scope(caller))
            await engine.refresh()

    async def _get(self, node_ids: Sequence[str] | None, filters: MetadataFilters | None, caller: Identity) -> list[BaseNode]:
        engine, scope = await self._engine(), access_scope(caller)
        nodes: list[BaseNode] = []
        async with reading(await self._audit(), AuditEvent.by(caller, "document.read", part="passages")) as noted:
            own = await self._own(filters_of(filters), caller, node_ids)
            for document in own:
                nodes += [node_of_chunk(document, chunk) for chunk in await engine.get_chunks(document.id, scope)]
            noted.documents = tuple(document.id for document in own)
        places = {name: at for at, name in enumerate(node_ids or ())}
        return sorted(nodes, key=lambda node: places.get(node.node_id, len(places)))

    async def _query(self, query: VectorStoreQuery, caller: Identity) -> VectorStoreQueryResult:
        mode = MODES.get(query.mode)
        if mode is None:
            raise QueryError(f"The query mode {query.mode.value!r} is not one of ours.", hint=f"Use one of {', '.join(known.value for known in MODES)}.")
        conditions = await self._conditions(query, caller)
        if conditions is None:
            return VectorStoreQueryResult(nodes=[], similarities=[], ids=[])
        tuning = tuning_of(self.resources.settings.retrieval)
        request = SearchRequest(
            query=query.query_str or "",
            mode=mode,
            top_k=(query.hybrid_top_k or query.similarity_top_k) if mode == "hybrid" else query.similarity_top_k,
            filters=conditions,
            vector=None if mode == "bm25" else await self._vector(query),
            tuning=tuning if query.alpha is None else replace(tuning, vector_weight=query.alpha),
        )
        async with reading(await self._audit(), AuditEvent.by(caller, "search", mode=mode)) as noted:
            found = await (await self._engine()).search(request, access_scope(caller))
            noted.documents = tuple(hit.document_id for hit in found.hits)
        if found.degraded:
            log.warning("a query was answered with less than asked for", degraded=list(found.degraded))
        nodes = [node_of_hit(hit) for hit in found.hits]
        return VectorStoreQueryResult(nodes=nodes, similarities=[hit.score for hit in found.hits], ids=[node.node_id for node in nodes])

    async def _vector(self, query: VectorStoreQuery) -> NDArray[np.float32]:
        import numpy as np

        if query.query_embedding is not None:
            return np.asarray(query.query_embedding, np.float32)
        if not query.query_str:
            raise QueryError("The query has neither a vector nor words.")
        vectors = await (await asyncio.to_thread(self.resources.get, "embedder")).embed([query.query_str])
        return cast("NDArray[np.float32]", vectors[0])

    async def _conditions(self, query: VectorStoreQuery, caller: Identity) -> tuple[Filter, ...] | None:
        """Our filters for a query's; None where nothing can fit. An empty list of nodes is how the library's index says that it names none."""
        conditions = filters_of(query.filters)
        if query.node_ids:
            conditions = (*conditions, AnyOf("document_id", tuple(f"{space_of(caller)}{name}" for name in query.node_ids)))
        if query.doc_ids is not None:
            if not query.doc_ids:
                return None
            own = await self._own((AnyOf(REF, tuple(query.doc_ids)),), caller)
            conditions = (*conditions, AnyOf("document_id", (*query.doc_ids, *(document.id for document in own))))
        return conditions
