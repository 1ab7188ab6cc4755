"""Which rows and locks belong to which checkpointer."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from .locks import ThreadLocks
from .rows import ThreadRows

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from ..config import Settings

LOCKS_FOLDER = "thread-locks"
"""Inside the data folder: which threads are held at present, by whichever process."""


class Locks(Protocol):
    def hold(self, key: str, /) -> AbstractAsyncContextManager[None]:
        """Wait until nobody else holds ``key``, then hold it."""
        ...


def rows_of(settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> ThreadRows:
    """The rows that lie where the checkpointer's checkpoints do, sealed as they are."""
    rows = _plain_rows_of(settings, checkpointer)
    if settings.persistence.encryption_keys is None or settings.persistence.backend == "memory":
        return rows
    from .sealed_rows import SealedThreadRows
    from .sealing import SealedSerializer

    serializer = checkpointer.serde
    return SealedThreadRows(rows, serializer) if isinstance(serializer, SealedSerializer) else rows


def _plain_rows_of(settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> ThreadRows:
    if settings.persistence.backend == "sqlite":
        from .sqlite import LazySqliteSaver
        from .sqlite_rows import SqliteThreadRows

        if isinstance(checkpointer, LazySqliteSaver):
            return SqliteThreadRows(checkpointer.file)
    if settings.persistence.backend == "postgres":
        from .postgres.langgraph import PooledPostgresSaver
        from .postgres.rows import PostgresThreadRows

        if isinstance(checkpointer, PooledPostgresSaver):
            return PostgresThreadRows(checkpointer.database)
    from .memory import MemorySaver, MemoryThreadRows

    return MemoryThreadRows(checkpointer if isinstance(checkpointer, MemorySaver) else None)


def locks_of(settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> Locks:
    """One turn at a time on each thread, among all that share the backend."""
    if settings.persistence.backend == "postgres":
        from .postgres.langgraph import PooledPostgresSaver
        from .postgres.leases import ThreadLeases

        if isinstance(checkpointer, PooledPostgresSaver):
            return ThreadLeases(checkpointer.database)
    return ThreadLocks(settings.storage.path / LOCKS_FOLDER if settings.persistence.backend == "sqlite" else None)
