"""Every engine that the conformance suite runs over. A further engine adds a name and a way to make it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from src.infra.search.protocol import SearchClient

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


ENGINES: dict[str, Callable[[], Engine]] = {"embedded": Embedded}


@pytest.fixture(params=sorted(ENGINES))
def make_engine(request: pytest.FixtureRequest) -> Callable[[], Engine]:
    """Makes an empty store of one kind."""
    return ENGINES[request.param]


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
def run_with_client(make_engine: Callable[[], Engine]) -> Callable[[Callable[[SearchClient], Awaitable[None]]], None]:
    """Runs one example of a property on a store of its own."""

    def run(check: Callable[[SearchClient], Awaitable[None]]) -> None:
        async def body() -> None:
            store = make_engine()
            opened = store.open()
            try:
                await check(opened)
            finally:
                await opened.aclose()
                store.drop()

        coroutine: Coroutine[Any, Any, None] = body()
        asyncio.run(coroutine)

    return run
