"""What lies beside a checkpointer: where its checkpoints are, and what seals them; its rows and locks."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from .locks import ThreadLocks
from .rows import ThreadRows

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from ..config import Settings
    from .postgres.database import Database
    from .sealing import SealedSerializer
    from .sqlite import SqliteFile

LOCKS_FOLDER = "thread-locks"
"""Inside the data folder: which threads are held at present, by whichever process."""


class Locks(Protocol):
    def hold(self, key: str, /) -> AbstractAsyncContextManager[None]:
        """Wait until nobody else holds ``key``, then hold it."""
        ...


def rows_of(settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> ThreadRows:
    """The rows that lie where the checkpointer's checkpoints do, sealed as they are."""
    rows = _plain_rows_of(settings, checkpointer)
    serializer = sealer_of(settings, checkpointer)
    if serializer is None:
        return rows
    from .sealed_rows import SealedThreadRows

    return SealedThreadRows(rows, serializer)


def _plain_rows_of(settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> ThreadRows:
    if (file := file_of(settings, checkpointer)) is not None:
        from .sqlite_rows import SqliteThreadRows

        return SqliteThreadRows(file)
    if (database := database_of(settings, checkpointer)) is not None:
        from .postgres.rows import PostgresThreadRows

        return PostgresThreadRows(database)
    from .memory import MemorySaver, MemoryThreadRows

    return MemoryThreadRows(checkpointer if isinstance(checkpointer, MemorySaver) else None)


def locks_of(settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> Locks:
    """One turn at a time on each thread, among all that share the backend."""
    if (database := database_of(settings, checkpointer)) is not None:
        from .postgres.leases import ThreadLeases

        return ThreadLeases(database)
    return ThreadLocks(settings.storage.path / LOCKS_FOLDER if settings.persistence.backend == "sqlite" else None)


def file_of(settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> SqliteFile | None:
    """The file that the checkpointer keeps its checkpoints in, where it is ours on SQLite."""
    if settings.persistence.backend != "sqlite":
        return None
    from .sqlite import LazySqliteSaver

    return checkpointer.file if isinstance(checkpointer, LazySqliteSaver) else None


def database_of(settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> Database | None:
    """The database that the checkpointer keeps its checkpoints in, where it is ours on PostgreSQL."""
    if settings.persistence.backend != "postgres":
        return None
    from .postgres.langgraph import PooledPostgresSaver

    return checkpointer.database if isinstance(checkpointer, PooledPostgresSaver) else None


def sealer_of(settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> SealedSerializer | None:
    """What seals the checkpoints, so that what lies beside them is sealed as well; None where nothing does."""
    if settings.persistence.encryption_keys is None or settings.persistence.backend == "memory":
        return None
    from .sealing import SealedSerializer

    serializer = checkpointer.serde
    return serializer if isinstance(serializer, SealedSerializer) else None
