"""A `BaseRetriever` over our retriever: the same policy, filters, access rules and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, ensure_config
from pydantic import Field

from ...core.identity import Identity, access_scope
from ...core.search import Hit, Mode, SearchResult
from ...infra.resource_manager import ResourceManager, get_resources
from ...retrieval.filters import parse_filters
from ...telemetry.logger import get_logger
from ...util.aio import run_sync
from ..callers import identity_of
from ..shapes import plain

log = get_logger(__name__)


class RagRetriever(BaseRetriever):
    """Passages that the caller may see, best first.

    Each document's ``id`` is the passage's; its metadata hold where it stands, ``score``, ``legs`` (the raw score of each
    leg), what the document was ingested with, and ``degraded``, the reasons why the result is less than asked for.
    ``k``, ``mode``, ``filters`` and ``identity`` may also be given with a single call: ``retriever.invoke(question, k=3)``.

    Raises (every call): ``QueryError``, ``FilterError`` for what the caller got wrong; ``ServiceUnavailableError``,
    ``StorageError`` and ``ModelError`` kinds for an outage, which is never an empty list.
    """

    resources: ResourceManager = Field(default_factory=get_resources, exclude=True, repr=False)
    identity: Identity | None = Field(None, exclude=True)
    """Who asks; None: whoever the running request or the graph's config names (see `integrations.callers`)."""
    k: int | None = None
    """Passages; None: `[retrieval] top_k`."""
    mode: Mode | None = None
    """None: `[retrieval] mode`."""
    filters: dict[str, Any] = Field(default_factory=dict)
    """As the HTTP API takes them: ``{field: value | [values] | {"gte": …} | {"exists": bool}}``."""

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        mode: Mode | None = None,
        filters: Mapping[str, Any] | None = None,
        identity: Identity | None = None,
    ) -> list[Document]:
        return run_sync(self._find(query, identity or self._caller(None), k, mode, filters))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        mode: Mode | None = None,
        filters: Mapping[str, Any] | None = None,
        identity: Identity | None = None,
    ) -> list[Document]:
        return await self._find(query, identity or self._caller(None), k, mode, filters)

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:  # noqa: A002 - LangChain's own name
        return super().invoke(input, config, **{"identity": self._caller(config), **kwargs})

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:  # noqa: A002 - as above
        return await super().ainvoke(input, config, **{"identity": self._caller(config), **kwargs})

    def _caller(self, config: RunnableConfig | None) -> Identity:
        """Who asks. The library hands a call's own config to no retriever: hence `invoke` and `ainvoke` above."""
        return identity_of(self.resources, self.identity, ensure_config(config).get("configurable"))

    async def _find(self, query: str, caller: Identity, k: int | None, mode: Mode | None, filters: Mapping[str, Any] | None) -> list[Document]:
        conditions = parse_filters(self.filters if filters is None else filters)
        retriever = await asyncio.to_thread(self.resources.get, "retriever")
        top_k = self.k if k is None else k
        found: SearchResult = await retriever.search(query, access_scope(caller), mode=mode or self.mode, top_k=top_k, filters=conditions)
        if found.degraded:
            log.warning("retrieval was less than asked for", degraded=list(found.degraded))
        return [document_of(hit, found.degraded) for hit in found.hits]


def document_of(hit: Hit, degraded: tuple[str, ...] = ()) -> Document:
    """A hit as LangChain's document. Where a document's own metadata have a name of ours, ours counts."""
    names = ("chunk_id", "document_id", "title", "source", "page", "section", "score", "legs", "rerank", "position", "start", "end")
    ours = {name: plain(value) for name in names if (value := getattr(hit, name)) is not None}
    return Document(id=hit.chunk_id, page_content=hit.text, metadata={**plain(hit.metadata), **ours, **({"degraded": list(degraded)} if degraded else {})})


def as_retriever(
    resources: ResourceManager | None = None,
    *,
    identity: Identity | None = None,
    k: int | None = None,
    mode: Mode | None = None,
    filters: Mapping[str, Any] | None = None,
    **options: Any,
) -> RagRetriever:
    """A LangChain retriever over our index. Connects nothing before its first call.

    Args:
        resources: the process's own by default.
        identity: who asks in every call; None: see `RagRetriever`.
        options: LangChain's own, such as ``tags`` and ``metadata``.
    """
    found = resources or get_resources()
    return RagRetriever(resources=found, identity=identity, k=k, mode=mode, filters=dict(filters or {}), **options)
