"""Where threads live: LangGraph's checkpointer and store, for memory and SQLite; nothing connects before first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import UnsupportedFeatureError
from .user_context import create_langgraph_config, extract_user_context, generate_thread_id

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore

    from ..config import Settings

THREADS_FILE = "threads.sqlite"
"""Threads, checkpoints and the store, inside the data folder."""


def get_checkpointer_and_store(settings: Settings | None = None) -> tuple[BaseCheckpointSaver[Any], BaseStore]:
    """Checkpointer and store that serve ``graph.invoke`` and ``graph.ainvoke`` alike, on every backend.

    Without ``settings`` they are those of the process's ResourceManager, which closes them. With ``settings`` they are new
    and the caller's to close.

    Raises:
        UnsupportedFeatureError: ``[persistence] backend = postgres``, which is not part of this release.
    """
    if settings is None:
        from ..resource_manager import get_resources

        resources = get_resources()
        return resources.checkpointer, resources.store
    return build_checkpointer(settings), build_store(settings)


def build_checkpointer(settings: Settings) -> BaseCheckpointSaver[Any]:
    """The checkpointer of ``[persistence] backend``."""
    if _backend(settings) == "memory":
        from .memory import make_saver

        return make_saver()
    from .sqlite import LazySqliteSaver, SqliteFile

    return LazySqliteSaver(SqliteFile(settings.storage.path / THREADS_FILE))


def build_store(settings: Settings) -> BaseStore:
    """The store of ``[persistence] backend``."""
    if _backend(settings) == "memory":
        from .memory import make_store

        return make_store()
    from .sqlite import LazySqliteStore, SqliteFile

    return LazySqliteStore(SqliteFile(settings.storage.path / THREADS_FILE))


def _backend(settings: Settings) -> str:
    backend = settings.persistence.backend
    if backend == "postgres":
        raise UnsupportedFeatureError(
            "Threads in Postgres are not part of this release.", setting="persistence.backend", hint="Use `sqlite` (the default) or `memory`."
        )
    return backend


__all__ = [
    "THREADS_FILE",
    "build_checkpointer",
    "build_store",
    "create_langgraph_config",
    "extract_user_context",
    "generate_thread_id",
    "get_checkpointer_and_store",
]
