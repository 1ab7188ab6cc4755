"""The registry of everything that is expensive: built on first use, once, and closed in reverse order.

Infrastructure's own resources are listed in `factories.py`. Floors above announce theirs as entry points of the group
``founders_rag.resources`` (see `src/assembly.py`), so this file needs to import none of them.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import ConfigurationError, ConflictError, ResourceClosedError
from ..telemetry.logger import get_logger
from ..util.aio import run_sync
from ..util.registry import Registry

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore

    from .config import Settings
    from .health import HealthChecker
    from .network import NetworkPolicy
    from .providers.protocol import ChatModel, Embedder
    from .search.protocol import SearchClient

log = get_logger(__name__)

ENTRY_POINT_GROUP = "founders_rag.resources"


class ResourceFactory(Protocol):
    """Builds one resource. It may ask the manager for others; it must not connect to anything."""

    def __call__(self, resources: ResourceManager, /) -> object: ...


REGISTRY: Registry[ResourceFactory] = Registry("resource", ENTRY_POINT_GROUP)


class ResourceManager:
    """Builds resources lazily, one of each name, however many threads and tasks ask at once.

    Args:
        settings: the configuration; loaded on first use when left out.
        overrides: finished resources by name, used instead of building them (tests inject theirs here). They are the
            caller's to close.
    """

    def __init__(self, settings: Settings | None = None, *, overrides: Mapping[str, object] | None = None) -> None:
        # Reentrant: building the agent builds the retriever, which builds the engine. Factories do no I/O, so one lock
        # for all is held for milliseconds, and it makes the order of construction one order.
        self._lock = threading.RLock()
        self._settings = settings
        self._given = dict(overrides or {})
        self._built: dict[str, object] = {}
        self._building: list[str] = []
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def settings(self) -> Settings:
        """The configuration.

        Raises:
            ConfigurationError: it was not given and does not load.
        """
        with self._lock:
            self._check_open("settings")
            if self._settings is None:
                from .settings import load_settings

                self._settings = load_settings()
            return self._settings

    def get(self, name: str) -> Any:
        """The resource of a name, built now if it is the first time.

        Raises:
            ConfigurationError: there is no such resource, or what it needs is not configured.
            ResourceClosedError: the manager was closed.
        """
        with self._lock:
            self._check_open(name)
            if name in self._given:
                return self._given[name]
            if name not in self._built:
                self._built[name] = self._build(name)
            return self._built[name]

    @property
    def network(self) -> NetworkPolicy:
        return cast("NetworkPolicy", self.get("network"))

    @property
    def tokens(self) -> Any:
        """The provider of Entra tokens, or None where no identity is configured."""
        return self.get("tokens")

    @property
    def chat(self) -> ChatModel:
        return cast("ChatModel", self.get("chat"))

    @property
    def embedder(self) -> Embedder:
        return cast("Embedder", self.get("embedder"))

    @property
    def search(self) -> SearchClient:
        return cast("SearchClient", self.get("search"))

    @property
    def checkpointer(self) -> BaseCheckpointSaver[Any]:
        return cast("BaseCheckpointSaver[Any]", self.get("checkpointer"))

    @property
    def store(self) -> BaseStore:
        return cast("BaseStore", self.get("store"))

    @property
    def health(self) -> HealthChecker:
        return cast("HealthChecker", self.get("health"))

    def built(self) -> tuple[str, ...]:
        """Names of what has been built so far, in order of construction."""
        with self._lock:
            return tuple(self._built)

    async def aclose(self) -> None:
        """Close what was built, the latest first. Again is harmless; one that fails to close is logged and does not stop the rest."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            built = list(self._built.items())
            self._built.clear()
        for name, resource in reversed(built):
            try:
                await _close(resource)
            except Exception as error:
                log.error("a resource did not close", resource=name, error=type(error).__name__, exc_info=error)
        for name, resource in built:
            if name == "network":  # clients that callers made under it, beside those of the models
                from .clients import aclose_under

                await aclose_under(cast("NetworkPolicy", resource))

    def close(self) -> None:
        """`aclose` for synchronous callers."""
        run_sync(self.aclose())

    async def __aenter__(self) -> ResourceManager:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __enter__(self) -> ResourceManager:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _build(self, name: str) -> object:
        from . import factories  # noqa: F401 - registers infrastructure's own; here, so that importing stays light

        if name in self._building:
            raise ConfigurationError(f"Resource {name!r} needs itself: {' -> '.join([*self._building, name])}.")
        factory = REGISTRY.get(name)
        self._building.append(name)
        try:
            return factory(self)
        finally:
            self._building.pop()

    def _check_open(self, name: str) -> None:
        if self._closed:
            raise ResourceClosedError(f"Resource {name!r} was asked for after the ResourceManager was closed.", hint="Call get_resources() again.")


async def _close(resource: object) -> None:
    for method in ("aclose", "close"):
        closer = getattr(resource, method, None)
        if callable(closer):
            outcome = closer()
            if inspect.isawaitable(outcome):
                await outcome
            return


_current_lock = threading.Lock()
_current: ResourceManager | None = None


def get_resources(settings: Settings | None = None) -> ResourceManager:
    """The process's one manager; a new one after the last was closed.

    Raises:
        ConflictError: ``settings`` differ from those that the manager already works with.
    """
    global _current  # noqa: PLW0603 - one a process is the contract
    with _current_lock:
        if _current is None or _current.closed:
            _current = ResourceManager(settings)
        elif settings is not None and settings != _current.settings:
            raise ConflictError("The process already has resources with other settings.", hint="Close them first: get_resources().close().")
        return _current


def current_resources() -> ResourceManager | None:
    """The process's one manager, if there is one and it is open."""
    current = _current
    return None if current is None or current.closed else current


@contextmanager
def use_resources(manager: ResourceManager) -> Iterator[ResourceManager]:
    """Make ``manager`` the process's one inside the block: how tests inject theirs."""
    global _current  # noqa: PLW0603 - as above
    with _current_lock:
        before, _current = _current, manager
    try:
        yield manager
    finally:
        with _current_lock:
            _current = before
