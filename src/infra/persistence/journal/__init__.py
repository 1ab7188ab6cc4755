"""What was answered, part by part, kept for a while where the threads lie: so that it can be told again, once, by any replica.

An entry is one claim of a key (who begins it first has it), a head, and numbered parts. Each belongs to a user of a tenant,
lives for the seconds that its writer says, and is gone with its thread or user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..backends import database_of, file_of, sealer_of

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from ...config import Settings

MAX_ENTRIES = 1000
"""Of one user; the oldest give way."""
PURGED_AT_ONCE = 100
"""Entries past their time that each new one removes at most: more than come, so that they cannot pile up."""

Part = tuple[int, bytes]
"""Its number, from 1, and what it holds."""


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of one user. ``name`` is ours and plain ASCII, never a text of the caller's."""

    tenant: str
    user: str
    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    head: bytes
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Addition:
    """Parts for one entry, none to renew it alone; the entry lives ``ttl_s`` from now, and goes with its thread."""

    key: Key
    parts: Sequence[Part]
    ttl_s: float
    thread_id: str | None = None


class Journal(Protocol):
    """Where entries are kept. Raises ``StorageError`` and ``ServiceUnavailableError`` kinds."""

    async def begin(self, key: Key, head: bytes, ttl_s: float, thread_id: str | None = None) -> bool:
        """Claim a key; False where an entry of it lives.

        Args:
            thread_id: the entry goes with this thread.
        """
        ...

    async def append(self, key: Key, parts: Sequence[Part], ttl_s: float, thread_id: str | None = None) -> bool:
        """Add parts, none to renew it alone; the entry lives ``ttl_s`` from now. False where it is gone.

        Args:
            thread_id: the entry goes with this thread.
        """
        ...

    async def append_all(self, additions: Sequence[Addition]) -> None:
        """`append` to several entries at once, in one transaction; those that are gone are passed over."""
        ...

    async def read(self, key: Key, after: int = 0) -> Entry | None:
        """The entry with its parts of higher numbers, in order; None where there is none, or not any more."""
        ...

    async def remove(self, key: Key) -> None: ...

    async def forget_thread(self, thread_id: str) -> None:
        """Remove what was answered in a thread."""
        ...

    async def forget_user(self, tenant: str, user: str) -> int:
        """Remove all entries of a user; returns how many there were."""
        ...


def journal_of(settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> Journal:
    """The journal that lies where the checkpointer's checkpoints do, sealed as they are."""
    journal = _plain_journal_of(settings, checkpointer)
    serializer = sealer_of(settings, checkpointer)
    if serializer is None:
        return journal
    from .sealed import SealedJournal

    return SealedJournal(journal, serializer)


def _plain_journal_of(settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> Journal:
    if (file := file_of(settings, checkpointer)) is not None:
        from .sqlite import SqliteJournal

        return SqliteJournal(file)
    if (database := database_of(settings, checkpointer)) is not None:
        from .postgres import PostgresJournal

        return PostgresJournal(database)
    from .memory import MemoryJournal, memory_journal

    return memory_journal(checkpointer) if settings.persistence.backend == "memory" else MemoryJournal()
