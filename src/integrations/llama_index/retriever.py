"""A LlamaIndex retriever with our retrieval policy: intents, budgets, hybrid search."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters

from ...core.identity import Identity, access_scope
from ...core.search import Mode
from ...infra.resource_manager import ResourceManager, get_resources
from ...telemetry.logger import get_logger
from ...util.aio import run_sync
from ..callers import identity_of
from .filters import filters_of
from .nodes import node_of_hit

if TYPE_CHECKING:
    from ...retrieval.retriever import Retriever

log = get_logger(__name__)


class RagRetriever(BaseRetriever):
    """Passages that the identity may see, best first, with their scores.

    Args:
        resources: the process's own by default.
        identity: who asks in every call; None: whoever the running request names, else the local user.
        similarity_top_k: None takes `[retrieval] top_k`.
        mode: None takes `[retrieval] mode`.
        options: LlamaIndex's own, such as ``callback_manager``.

    Raises (every call): what `Retriever.search` raises; an outage is never an empty list.
    """

    def __init__(
        self,
        resources: ResourceManager | None = None,
        *,
        identity: Identity | None = None,
        similarity_top_k: int | None = None,
        mode: Mode | None = None,
        filters: MetadataFilters | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._resources = resources or get_resources()
        self._identity = identity
        self._top_k = similarity_top_k
        self._mode = mode
        self._conditions = filters_of(filters)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return run_sync(self._find(query_bundle.query_str, identity_of(self._resources, self._identity)))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await self._find(query_bundle.query_str, identity_of(self._resources, self._identity))

    async def _find(self, query: str, caller: Identity) -> list[NodeWithScore]:
        retriever = cast("Retriever", await asyncio.to_thread(self._resources.get, "retriever"))
        found = await retriever.search(query, access_scope(caller), mode=self._mode, top_k=self._top_k, filters=self._conditions)
        if found.degraded:
            log.warning("retrieval was less than asked for", degraded=list(found.degraded))
        return [NodeWithScore(node=node_of_hit(hit), score=hit.score) for hit in found.hits]


def as_retriever(resources: ResourceManager | None = None, **options: Any) -> RagRetriever:
    """A LlamaIndex retriever over our index; takes what `RagRetriever` takes. Connects nothing before its first call."""
    return RagRetriever(resources, **options)
