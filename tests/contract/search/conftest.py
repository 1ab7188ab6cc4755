"""Every engine that the conformance suite runs over. A further engine adds a name and a way to make it."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from src.core.identity import AccessScope
from src.infra.config import SearchCfg
from src.infra.opensearch_client import OpenSearchClient
from src.infra.search.protocol import DocumentWrite, SearchClient
from src.infra.search_config import index_body
from tests.servers.opensearch.cluster import Cluster

from .builders import DIMS, EMBEDDER


class Engine(Protocol):
    """One store that clients can be opened on, again and again."""

    def open(self, *, embedder: str = EMBEDDER, dims: int = DIMS) -> SearchClient: ...

    async def settle(self) -> None:
        """After this, a search sees what was written (OpenSearch: refresh)."""
        ...

    def drop(self) -> None: ...


class Embedded:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rag-search-")

    def open(self, *, embedder: str = EMBEDDER, dims: int = DIMS) -> SearchClient:
        from src.infra.search.embedded import EmbeddedSearch

        return EmbeddedSearch(Path(self._folder.name) / "data", embedder=embedder, dims=dims)

    async def settle(self) -> None:
        return

    def drop(self) -> None:
        self._folder.cleanup()


class Refreshing(OpenSearchClient):
    """What a test writes it finds: OpenSearch itself shows it within a second."""

    async def write(self, documents: Sequence[DocumentWrite]) -> None:
        await super().write(documents)
        await self.refresh()

    async def delete(self, document_ids: Sequence[str], scope: AccessScope) -> int:
        deleted = await super().delete(document_ids, scope)
        await self.refresh()
        return deleted


class OpenSearch:
    """An empty index behind an alias of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._prefix = f"test-{uuid.uuid4().hex[:12]}-"
        self.alias = f"{self._prefix}docs"
        body = index_body(dims=DIMS, embedder=EMBEDDER, replicas=0)
        # What is not refreshed by a test shall not be refreshed by the server in the middle of it.
        body["settings"]["index"]["refresh_interval"] = "-1"
        answer = cluster.request("PUT", f"/{self.alias}-000001", {**body, "aliases": {self.alias: {}}})
        assert answer.status == 200, answer.text

    def open(self, *, embedder: str = EMBEDDER, dims: int = DIMS, **more: Any) -> SearchClient:
        return Refreshing(SearchCfg(host=self._cluster.url, index_alias=self.alias, replicas=0, **more), embedder=embedder, dims=dims)

    async def settle(self) -> None:
        self._cluster.request("POST", f"/{self.alias}/_refresh")

    def empty(self) -> None:
        """Without the 150 ms that a new index takes."""
        answer = self._cluster.request("POST", f"/{self.alias}/_delete_by_query?refresh=true", {"query": {"match_all": {}}})
        assert answer.status == 200, answer.text

    def drop(self) -> None:
        self._cluster.forget(self._prefix)


@pytest.fixture(params=["embedded", "opensearch"])
def make_engine(request: pytest.FixtureRequest) -> Callable[[], Engine]:
    """Makes an empty store of one kind."""
    if request.param == "embedded":
        return Embedded
    cluster = request.getfixturevalue("opensearch")
    return lambda: OpenSearch(cluster)


@pytest.fixture
def engine(make_engine: Callable[[], Engine]) -> Iterator[Engine]:
    store = make_engine()
    yield store
    store.drop()


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[SearchClient]:
    """A client on an empty store."""
    opened = engine.open()
    yield opened
    await opened.aclose()


@pytest.fixture
def run_with_client(make_engine: Callable[[], Engine]) -> Iterator[Callable[[Callable[[SearchClient], Awaitable[None]]], None]]:
    """Runs one example of a property on an empty store."""
    kept: list[OpenSearch] = []

    def run(check: Callable[[SearchClient], Awaitable[None]]) -> None:
        store = kept[0] if kept else make_engine()

        async def body() -> None:
            opened = store.open()
            try:
                await check(opened)
            finally:
                await opened.aclose()

        coroutine: Coroutine[Any, Any, None] = body()
        try:
            asyncio.run(coroutine)
        finally:
            if isinstance(store, OpenSearch):
                store.empty()
                kept[:] = [store]
            else:
                store.drop()

    yield run
    for store in kept:
        store.drop()
