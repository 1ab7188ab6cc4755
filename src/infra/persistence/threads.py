"""Conversations: whose they are, what was said, and how they go away."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ...core.chat import Citation, ThreadSummary, Turn
from ...core.identity import Identity
from ...errors import ConflictError, NotFoundError, QueryError
from ...util.clock import iso_now
from .locks import ThreadLocks
from .rows import ThreadRow, ThreadRows
from .user_context import generate_thread_id

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from ..config import Settings

TITLE_CHARS = 80
MAX_PAGE = 200
LOCKS_FOLDER = "thread-locks"
"""Inside the data folder: which threads are held at present, by whichever process."""
_BAD_CURSOR = "The cursor of the list of threads is not one that this server gave."
TURNS = "turns"
"""The channel of the agent's state that holds a thread's finished turns, each as `turn_to_dict` makes it."""


@dataclass(frozen=True, slots=True)
class ThreadPage:
    threads: tuple[ThreadSummary, ...]
    next_cursor: str | None = None


def turn_to_dict(turn: Turn) -> dict[str, Any]:
    """Plain data for a checkpoint."""
    return asdict(turn)


def turn_from_dict(data: Mapping[str, Any]) -> Turn:
    """The turn that `turn_to_dict` wrote."""
    citations = tuple(Citation(**citation) for citation in data["citations"])
    return Turn(**{**data, "citations": citations, "degraded": tuple(data["degraded"])})


class ThreadService:
    """Threads of their owners. A thread of somebody else is not found, exactly like one that never was.

    Args:
        settings: read for nothing but which backend keeps the rows, and where.
        checkpointer: what `build_checkpointer` made of the same settings.
    """

    def __init__(self, settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> None:
        self._checkpointer = checkpointer
        self._rows = _rows_of(settings, checkpointer)
        self._locks = ThreadLocks(settings.storage.path / LOCKS_FOLDER if settings.persistence.backend == "sqlite" else None)

    async def list(self, identity: Identity, limit: int = 50, cursor: str | None = None) -> ThreadPage:
        """The caller's threads, the latest first.

        Raises:
            QueryError: the limit is out of range, or the cursor is not one of ours.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise QueryError(f"A page has 1 to {MAX_PAGE} threads, not {limit}.")
        rows = await self._rows.page(identity.tenant, identity.user, limit + 1, _decode(cursor) if cursor else None)
        more = _encode(rows[limit - 1]) if len(rows) > limit else None
        return ThreadPage(tuple(_summary(row) for row in rows[:limit]), more)

    async def get(self, thread_id: str, identity: Identity) -> ThreadSummary:
        """One thread of the caller.

        Raises:
            NotFoundError: it does not exist, or is not the caller's.
        """
        return _summary(await self._owned(thread_id, identity))

    async def history(self, thread_id: str, identity: Identity) -> tuple[Turn, ...]:
        """The finished turns of a thread, the first one first.

        Raises:
            NotFoundError: as `get`.
        """
        await self._owned(thread_id, identity)
        return await self._turns(thread_id)

    async def delete(self, thread_id: str, identity: Identity) -> None:
        """Remove a thread and everything that was kept of it. A turn that is running, in whichever process, is waited for.

        Raises:
            NotFoundError: as `get`.
        """
        await self._owned(thread_id, identity)
        async with self._locks.hold(thread_id):
            # The row goes last: while anything is left, its owner can still find it and delete again.
            await self._checkpointer.adelete_thread(thread_id)
            await self._rows.delete(thread_id)

    @asynccontextmanager
    async def turn(self, thread_id: str | None, identity: Identity, question: str) -> AsyncIterator[str]:
        """Hold a thread for one turn, a new one where none is named, and yield its id.

        Turns of one thread run one after the other, also those of several processes on one data folder. A new thread whose first turn fails is removed again.

        Raises:
            NotFoundError: as `get`, also when the thread was deleted while this turn waited for it.
        """
        if thread_id is not None:
            await self._owned(thread_id, identity)
            async with self._locks.hold(thread_id):
                await self._owned(thread_id, identity)
                yield thread_id
            return
        created = generate_thread_id(identity.user)
        now = iso_now()
        async with self._locks.hold(created):
            await self._rows.add(ThreadRow(created, identity.tenant, identity.user, _title(question), now, now))
            try:
                yield created
            except BaseException:
                await self._checkpointer.adelete_thread(created)
                await self._rows.delete(created)
                raise

    async def finished(self, thread_id: str, turns: int) -> None:
        """Record that a turn ended, the thread's ``turns``-th.

        Raises:
            ConflictError: another process deleted the thread while the turn ran; nothing of it stays.
        """
        if not await self._rows.touch(thread_id, iso_now(), turns):
            await self._checkpointer.adelete_thread(thread_id)
            raise ConflictError("The conversation was deleted while it was being answered.", hint="Begin a new one.")

    async def _owned(self, thread_id: str, identity: Identity) -> ThreadRow:
        row = await self._rows.get(thread_id)
        if row is None or (row.tenant, row.user) != (identity.tenant, identity.user):
            raise NotFoundError("There is no such conversation.", hint="Leave thread_id out to begin a new one.")
        return row

    async def _turns(self, thread_id: str) -> tuple[Turn, ...]:
        saved = await self._checkpointer.aget_tuple({"configurable": {"thread_id": thread_id}})
        turns = saved.checkpoint["channel_values"].get(TURNS, []) if saved else []
        return tuple(turn_from_dict(turn) for turn in turns)


def _rows_of(settings: Settings, checkpointer: BaseCheckpointSaver[Any]) -> ThreadRows:
    if settings.persistence.backend == "sqlite":
        from .sqlite import LazySqliteSaver, SqliteThreadRows

        if isinstance(checkpointer, LazySqliteSaver):
            return SqliteThreadRows(checkpointer.file)
    if settings.persistence.backend == "postgres":
        from .postgres.langgraph import PooledPostgresSaver
        from .postgres.rows import PostgresThreadRows

        if isinstance(checkpointer, PooledPostgresSaver):
            return PostgresThreadRows(checkpointer.database)
    from .memory import MemoryThreadRows

    return MemoryThreadRows()


def _summary(row: ThreadRow) -> ThreadSummary:
    return ThreadSummary(thread_id=row.thread_id, title=row.title, created_at=row.created_at, updated_at=row.updated_at, turns=row.turns)


def _title(question: str) -> str:
    """The first question on one line, cut at a word."""
    line = " ".join(question.split())
    if len(line) <= TITLE_CHARS:
        return line
    cut = line[: TITLE_CHARS - 1]
    return f"{cut[: cut.rfind(' ')] if ' ' in cut[TITLE_CHARS // 2 :] else cut}…"


def _encode(row: ThreadRow) -> str:
    return base64.urlsafe_b64encode(json.dumps([row.updated_at, row.thread_id]).encode()).decode()


def _decode(cursor: str) -> tuple[str, str]:
    try:
        updated_at, thread_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if isinstance(updated_at, str) and isinstance(thread_id, str):
            f"{updated_at}{thread_id}".encode()  # JSON can spell lone surrogates, which no database takes
            return updated_at, thread_id
    except (ValueError, TypeError, RecursionError) as error:  # whatever was put into it
        raise QueryError(_BAD_CURSOR) from error
    raise QueryError(_BAD_CURSOR)
