"""Where threads live: LangGraph's checkpointer and store, for memory, SQLite and PostgreSQL; nothing connects before first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import MissingExtraError
from .user_context import create_langgraph_config, extract_user_context, generate_thread_id

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore

    from ..config import Settings
    from .postgres.database import Database

THREADS_FILE = "threads.sqlite"
"""Threads, checkpoints and the store, inside the data folder."""


def get_checkpointer_and_store(settings: Settings | None = None) -> tuple[BaseCheckpointSaver[Any], BaseStore]:
    """Checkpointer and store that serve ``graph.invoke`` and ``graph.ainvoke`` alike, on every backend.

    Without ``settings`` they are those of the process's ResourceManager, which closes them. With ``settings`` they are new
    and the caller's to close.

    Raises:
        ConfigurationError: ``[persistence] backend = postgres`` without a usable connection string; keys that cannot be read.
        MissingExtraError: a package of the extra `postgres` is not installed.
    """
    if settings is None:
        from ..resource_manager import get_resources

        resources = get_resources()
        return resources.checkpointer, resources.store
    database = postgres_database(settings)
    return build_checkpointer(settings, database), build_store(settings, database)


def build_checkpointer(settings: Settings, database: Database | None = None) -> BaseCheckpointSaver[Any]:
    """The checkpointer of ``[persistence] backend``; for PostgreSQL on ``database``, or one of its own."""
    if settings.persistence.backend == "memory":
        from .memory import make_saver

        return make_saver()
    from .sealing import make_serializer

    serde = make_serializer(settings.persistence)
    database = database or postgres_database(settings)
    if database is not None:
        from .postgres.langgraph import PooledPostgresSaver

        return PooledPostgresSaver(database, serde)
    from .sqlite import LazySqliteSaver, SqliteFile

    return LazySqliteSaver(SqliteFile(settings.storage.path / THREADS_FILE), serde)


def build_store(settings: Settings, database: Database | None = None) -> BaseStore:
    """The store of ``[persistence] backend``; for PostgreSQL on ``database``, or one of its own."""
    if settings.persistence.backend == "memory":
        from .memory import make_store

        return make_store()
    database = database or postgres_database(settings)
    if database is not None:
        from .postgres.langgraph import PooledPostgresStore

        return PooledPostgresStore(database)
    from .sqlite import LazySqliteStore, SqliteFile

    return LazySqliteStore(SqliteFile(settings.storage.path / THREADS_FILE))


def postgres_database(settings: Settings, tokens: Any = None) -> Database | None:
    """The database of ``[persistence] backend = postgres``, not connected yet; None for the other backends.

    Args:
        tokens: called for the password of each new connection, as for a user of Entra ID; left out, ``use_azure_auth`` makes a
            provider of the `[azure]` identity.
    """
    cfg = settings.persistence
    if cfg.backend != "postgres":
        return None
    try:
        from .postgres.database import Database
    except ImportError as error:
        raise MissingExtraError(
            f"Threads in PostgreSQL need the optional packages of `postgres` ({error.name} is missing).",
            setting="persistence.backend",
            hint="Install founders-rag[postgres].",
        ) from None
    if tokens is None and cfg.use_azure_auth:
        tokens = _azure_tokens(settings)
        return Database(cfg, settings.network, tokens, tokens.close)
    return Database(cfg, settings.network, tokens)


def _azure_tokens(settings: Settings) -> Any:
    """Tokens of the `[azure]` identity for Azure Database: the same identity, another scope."""
    from ...errors import ConfigurationError
    from ..azure_auth import make_token_provider
    from ..network import NetworkPolicy

    azure = settings.azure.model_copy(update={"scope": settings.persistence.azure_scope})
    tokens = make_token_provider(azure, NetworkPolicy(settings.network))
    if tokens is None:
        raise ConfigurationError(
            "PostgreSQL should be used with an Entra identity, and [azure] configures none.", setting="persistence.use_azure_auth", hint="Configure one there."
        )
    return tokens


__all__ = [
    "THREADS_FILE",
    "build_checkpointer",
    "build_store",
    "create_langgraph_config",
    "extract_user_context",
    "generate_thread_id",
    "get_checkpointer_and_store",
    "postgres_database",
]
