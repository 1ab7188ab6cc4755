"""Conversations: whose they are, what was said, and how they go away."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ...core.chat import ThreadSummary, Turn
from ...core.identity import Identity
from ...errors import ConflictError, InputError, NotFoundError, QueryError, RagError
from ...telemetry.audit import NO_AUDIT, AuditEvent, AuditTrail, changing, ended, reading
from ...telemetry.logger import get_logger
from ...util.clock import iso_now
from ...util.plain_text import one_line
from .backends import LOCKS_FOLDER, Locks, locks_of, rows_of
from .journal import journal_of
from .pruning import Keep, Prunes
from .rows import ThreadRow, ThreadRows, storable
from .titles import find, words_of
from .turns import TURNS, save_turns, turn_from_dict, turn_to_dict, turns_until
from .user_context import generate_thread_id

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from ..config import Settings

log = get_logger(__name__)

TITLE_CHARS = 80
MAX_PAGE = 200
SWEEP_WAIT_S = 1.0
"""A thread that is not free within that is being answered."""
INTERRUPT = "__interrupt__"
"""The channel to which LangGraph writes what a step waits for (`langgraph._internal._constants`, pinned by a test)."""
_BAD_CURSOR = "The cursor of the list of threads is not one that this server gave."


@dataclass(frozen=True, slots=True)
class ThreadPage:
    threads: tuple[ThreadSummary, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class ThreadExport:
    thread: ThreadSummary
    turns: tuple[Turn, ...]


class Beside(Protocol):
    """What is kept beside the checkpoints of a thread, and goes with it."""

    async def forget_thread(self, row: ThreadRow) -> None: ...


class ThreadService:
    """Threads of their owners. A thread of somebody else is not found, exactly like one that never was.

    Args:
        settings: read for nothing but which backend keeps the rows, and where.
        checkpointer: what `build_checkpointer` made of the same settings.
        beside: what else goes with a thread.
    """

    def __init__(self, settings: Settings, checkpointer: BaseCheckpointSaver[Any], beside: Sequence[Beside] = (), audit: AuditTrail = NO_AUDIT) -> None:
        self._checkpointer = checkpointer
        self._beside = beside
        self.audit = audit
        self._rows = rows_of(settings, checkpointer)
        self.journal = journal_of(settings, checkpointer)
        self._locks = locks_of(settings, checkpointer)

    async def list(self, identity: Identity, limit: int = 50, cursor: str | None = None, title: str = "") -> ThreadPage:
        """The caller's threads, the latest first.

        Args:
            title: words that titles have to hold, whatever their case and accents. Then a page may have fewer threads than ``limit``, or
                none, though ``next_cursor`` goes on.

        Raises:
            QueryError: the limit is out of range, or the cursor is not one of ours.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise QueryError(f"A page has 1 to {MAX_PAGE} threads, not {limit}.")
        before = _decode(cursor) if cursor else None
        page = partial(self._rows.page, identity.tenant, identity.user)
        if words := words_of(title):
            found, last = await find(page, words, limit, before)
        else:
            found = await page(limit + 1, before)
            last = found[limit - 1] if len(found) > limit else None
        return ThreadPage(tuple(_summary(row) for row in found[:limit]), _encode(last) if last else None)

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
        row = await self._owned(thread_id, identity)
        turns = await self._turns(thread_id)
        if len(turns) > row.turns:  # a process was killed after the turn's checkpoint, before its row
            await self._rows.touch(thread_id, turns[-1].created_at, len(turns))
        return turns

    async def rename(self, thread_id: str, identity: Identity, title: str) -> ThreadSummary:
        """Give a thread another title.

        Raises:
            InputError: the title is empty.
            NotFoundError: as `get`.
        """
        row = await self._owned(thread_id, identity)
        wanted = _title(title)
        if not wanted:
            raise InputError("A conversation's title must not be empty.", hint="Give it at least one character that can be seen.")
        if not await self._rows.rename(thread_id, wanted):
            raise _unknown()
        return _summary(replace(row, title=wanted))

    async def fork(self, thread_id: str, identity: Identity, message_id: str | None = None) -> ThreadSummary:
        """A new thread of the caller with the turns up to one of them, or with all; the old one stays as it is.

        Raises:
            NotFoundError: as `get`; or the thread has no such turn.
            InputError: there is no turn yet.
        """
        row = await self._owned(thread_id, identity)
        saved = await self._checkpointer.aget_tuple(_config(thread_id))
        turns = turns_until(saved.checkpoint["channel_values"].get(TURNS, []) if saved else [], message_id)
        if not turns:
            raise InputError("The conversation has no turn yet that another could begin with.")
        now = iso_now()
        copy = replace(row, thread_id=generate_thread_id(identity.user), created_at=now, updated_at=now, turns=len(turns))
        async with self._locks.hold(copy.thread_id):
            try:
                await save_turns(self._checkpointer, copy.thread_id, turns, identity)
                await self._rows.add(copy)
            except BaseException:
                await self._checkpointer.adelete_thread(copy.thread_id)
                raise
        return _summary(copy)

    async def export(self, thread_id: str, identity: Identity) -> ThreadExport:
        """All that a user said and was answered in a thread, with citations.

        Raises:
            NotFoundError: as `get`.
        """
        row = await self._owned(thread_id, identity)
        async with reading(self.audit, AuditEvent.by(identity, "thread.export", object=thread_id)):
            return ThreadExport(_summary(row), await self._turns(thread_id))

    async def delete(self, thread_id: str, identity: Identity) -> None:
        """Remove a thread and everything that was kept of it. A turn that is running, in whichever process, is waited for.

        Raises:
            NotFoundError: as `get`.
        """
        await self._owned(thread_id, identity)
        async with changing(self.audit, AuditEvent.by(identity, "thread.delete", object=thread_id)):
            await self.remove(thread_id)

    async def remove(self, thread_id: str, unused_since: str | None = None) -> bool:
        """`delete` without asking whose it is: for retention, which speaks for all. False, and nothing done, where it was used after ``unused_since``."""
        async with self._locks.hold(thread_id):
            row = await self._rows.get(thread_id)
            if row is not None and unused_since is not None and row.updated_at > unused_since:
                return False
            await self._remove(thread_id, row)
            return True

    async def _remove(self, thread_id: str, row: ThreadRow | None) -> None:
        if row is not None:
            for part in self._beside:
                await part.forget_thread(row)
        await self.journal.forget_thread(thread_id)
        # The row goes last: while anything is left, its owner can still find it and delete again.
        await self._checkpointer.adelete_thread(thread_id)
        await self._rows.delete(thread_id)

    async def sweep(self, thread_id: str, before: str | None = None) -> bool:
        """Remove a thread whose first answer a process that was killed left unfinished; False, and nothing done, where that is not so.

        It stays while anybody holds it, or where it waits for a person and was begun after ``before``. One whose turn is saved is put in the list.
        """
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(SWEEP_WAIT_S):
                    await stack.enter_async_context(self._locks.hold(thread_id))
            except TimeoutError:
                return False
            row = await self._rows.get(thread_id)
            if row is None or row.turns:
                return False
            saved = await self._checkpointer.aget_tuple(_config(thread_id))
            if saved is not None and (turns := saved.checkpoint["channel_values"].get(TURNS)):
                await self._rows.touch(thread_id, turn_from_dict(turns[-1]).created_at, len(turns))
                return False
            waits = saved is not None and any(channel == INTERRUPT for _, channel, _ in saved.pending_writes or ())
            if waits and (before is None or row.updated_at >= before):
                return False
            await self._remove(thread_id, row)
            return True

    async def prepare(self) -> None:
        """Have all tables made that `remove` looks into, so that space before and after compares: each new one takes a page in SQLite."""
        nobody = ThreadRow("none", "", "", "", "", "")
        await self._checkpointer.aget_tuple(_config(nobody.thread_id))
        await self.journal.forget_thread(nobody.thread_id)
        for part in self._beside:
            await part.forget_thread(nobody)

    async def prune(self, thread_id: str, keep: Keep = "latest") -> None:
        """Keep the latest checkpoint alone, in which all turns of the agent are; or, of somebody's own graph, those at the ends of turns.

        Raises:
            NotImplementedError: the thread uses one of LangGraph's delta channels.
        """
        async with self._locks.hold(thread_id):
            await self._prune(thread_id, keep)

    async def _prune(self, thread_id: str, keep: Keep) -> None:
        if isinstance(self._checkpointer, Prunes):
            await self._checkpointer.aprune_steps(thread_id, keep)
        elif keep == "latest":
            await self._checkpointer.aprune([thread_id], strategy="keep_latest")

    @property
    def rows(self) -> ThreadRows:
        """For retention; whoever else asks has to ask by identity."""
        return self._rows

    @property
    def locks(self) -> Locks:
        """For jobs that one replica at a time does."""
        return self._locks

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
        """Record that a turn ended, the thread's ``turns``-th, and let go of the steps on its way: all turns are in its last checkpoint.

        Raises:
            ConflictError: another process deleted the thread while the turn ran; nothing of it stays.
        """
        if not await self._rows.touch(thread_id, iso_now(), turns):
            await self._checkpointer.adelete_thread(thread_id)
            raise ConflictError("The conversation was deleted while it was being answered.", hint="Begin a new one.")
        try:
            await self._prune(thread_id, "latest")
        except (RagError, NotImplementedError) as error:  # the turn is saved; the next one prunes again
            log.warning("the steps of a turn could not be pruned", thread_id=thread_id, error=type(error).__name__, detail=str(error))

    async def _owned(self, thread_id: str, identity: Identity) -> ThreadRow:
        row = await self._rows.get(thread_id) if storable(thread_id) else None
        if row is None or (row.tenant, row.user) != (identity.tenant, identity.user):
            error = _unknown()
            await ended(self.audit, AuditEvent.by(identity, "thread.open", object=thread_id), error)
            raise error
        return row

    async def _turns(self, thread_id: str) -> tuple[Turn, ...]:
        saved = await self._checkpointer.aget_tuple(_config(thread_id))
        turns = saved.checkpoint["channel_values"].get(TURNS, []) if saved else []
        return tuple(turn_from_dict(turn) for turn in turns)


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such conversation.", hint="Leave thread_id out to begin a new one.")


def _config(thread_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id}}


def _summary(row: ThreadRow) -> ThreadSummary:
    return ThreadSummary(thread_id=row.thread_id, title=row.title, created_at=row.created_at, updated_at=row.updated_at, turns=row.turns)


def _title(question: str) -> str:
    """The first question on one line, cut at a word."""
    line = one_line(question)  # databases store no NUL, and one title must not change how the next looks
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


__all__ = ["LOCKS_FOLDER", "MAX_PAGE", "TITLE_CHARS", "TURNS", "ThreadExport", "ThreadPage", "ThreadService", "turn_from_dict", "turn_to_dict"]
