"""Threads in one SQLite file: LangGraph's checkpoints, its store, and our thread rows.

LangGraph's own SQLite classes serve either synchronous or asynchronous callers, want an open connection, and commit what
was written before an error. These serve both, open on first use, and write a whole step or nothing.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple, DeltaChannelHistory
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.store.base import BaseStore, Op, Result
from langgraph.store.sqlite import SqliteStore

from ...errors import ResourceClosedError, StorageCorruptError, StorageError, StorageFullError, StorageLockedError, StorageReadOnlyError
from . import sqlite_blobs
from .held_writes import HeldWrites, Write, settle
from .pruning import Keep, check_strategy
from .user_context import with_namespace

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.serde.base import SerializerProtocol

T = TypeVar("T")

BUSY_S = 10.0
"""Seconds to wait for another process's write."""

_ROWS = """
CREATE TABLE IF NOT EXISTS rag_threads (
    thread_id TEXT PRIMARY KEY, tenant TEXT NOT NULL, user TEXT NOT NULL, title TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL, turns INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS rag_threads_mine ON rag_threads (tenant, user, updated_at DESC, thread_id DESC);
CREATE TABLE IF NOT EXISTS rag_jobs (job TEXT PRIMARY KEY, next_run TEXT NOT NULL);
"""


class SqliteFile:
    """One SQLite file behind one connection and one lock, opened on first use.

    Asynchronous callers share one thread, so their operations keep the order in which they were asked for, also when a
    caller is cancelled while its write is under way.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._starting = threading.Lock()
        """Held for moments, never with a transaction: event loops take it."""
        self._connection: sqlite3.Connection | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._closed = False

    @contextmanager
    def connection(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone; with ``write`` inside a transaction that is undone on any error: this one, or the one around it.

        Raises:
            StorageError: kinds of it, for what SQLite and the operating system raise.
            ResourceClosedError: after `close`.
        """
        with self._lock, storage_errors(self.path):
            connection = self._open()
            if not write or connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            with _ended(connection):
                yield connection

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Cursor]:
        """A cursor that reads one state of the file, whatever other processes commit meanwhile; raises as `connection`."""
        with self._lock, storage_errors(self.path):
            connection = self._open()
            connection.execute("BEGIN")
            with _ended(connection), closing(connection.cursor()) as cursor:
                yield cursor

    @contextmanager
    def cursor(self, *, write: bool) -> Iterator[sqlite3.Cursor]:
        """A cursor on the `connection`, closed at the end."""
        with self.connection(write=write) as connection, closing(connection.cursor()) as cursor:
            yield cursor

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Run blocking work on the file's thread."""
        with self._starting:
            self._check_open()
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="rag-threads")
            executor = self._executor
        return await asyncio.get_running_loop().run_in_executor(executor, work, *args)

    async def aclose(self) -> None:
        """Finish what is under way and close. Again is harmless."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        with self._starting:
            self._closed = True
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True)
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._check_open()
            self._connection = _connect(self.path)
        return self._connection

    def _check_open(self) -> None:
        if self._closed:
            raise ResourceClosedError("The threads' file was used after it was closed.")


@contextmanager
def _ended(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Conversations are private: only this user may read the file; SQLite gives its -wal and -shm files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA secure_delete=ON")
        connection.executescript(_ROWS + sqlite_blobs.TABLE)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns what SQLite and the operating system raise about ``path`` into kinds of `StorageError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _from_sqlite(error, path) from error
    except PermissionError as error:
        raise _read_only(path) from error
    except OSError as error:
        raise StorageError(f"Threads cannot be kept at {path}: {error.strerror or error}.", setting="storage.path") from error


def _read_only(path: Path) -> StorageReadOnlyError:
    return StorageReadOnlyError(f"Threads cannot be written to {path}.", setting="storage.path", hint="Give this user write permission to file and folder.")


def _from_sqlite(error: sqlite3.Error, path: Path) -> StorageError:
    extended: int = getattr(error, "sqlite_errorcode", 0) or 0
    code = extended & 0xFF  # the primary result code is the low byte
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StorageCorruptError(
            f"The threads' file {path} is damaged: {error}.", setting="storage.path", hint="Nothing was overwritten. Restore it, or move it away to begin anew."
        )
    if code == sqlite3.SQLITE_FULL or extended == sqlite3.SQLITE_IOERR_WRITE:
        return StorageFullError(f"No space is left for the threads' file {path}.", setting="storage.path", hint="Free space and ask again.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return _read_only(path)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StorageLockedError(f"Another process has held the threads' file {path} for {BUSY_S:.0f} s.", setting="storage.path", hint="Try again.")
    return StorageError(f"The threads' file {path} failed: {error}.", setting="storage.path")


class LazySqliteSaver(SqliteSaver):
    """LangGraph's SQLite checkpointer over a `SqliteFile`, for synchronous and asynchronous graphs alike."""

    def __init__(self, file: SqliteFile, serde: SerializerProtocol) -> None:
        # Not SqliteSaver's own constructor: it wants an open connection.
        BaseCheckpointSaver.__init__(self, serde=serde)
        self.file = file
        self.is_setup = False
        self._held = HeldWrites(lambda writes: file.run(self._put_all_writes, writes))

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        self._make_ready()
        with self.file.cursor(write=transaction) as cursor:
            yield cursor

    def _make_ready(self) -> None:
        with self.file.connection(write=False) as connection:
            self.conn = connection
            self.setup()

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        self._make_ready()
        with self.file.snapshot() as cursor:
            found = super().get_tuple(with_namespace(config))
            return None if found is None else sqlite_blobs.with_values(cursor, self.serde, found)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph names it so
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        self._make_ready()
        with self.file.snapshot() as cursor:
            found = [*super().list(config, filter=filter, before=before, limit=limit)]
            listed = [sqlite_blobs.with_values(cursor, self.serde, one) for one in found]
        # Read to the end first: the lock must not be held while the caller looks at each.
        yield from listed

    def put(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions) -> RunnableConfig:
        config = with_namespace(config)
        kept, apart = sqlite_blobs.split(checkpoint)
        where = (str(config["configurable"]["thread_id"]), config["configurable"]["checkpoint_ns"])
        with self.cursor() as cursor:  # one transaction with that of LangGraph's own statement
            sqlite_blobs.write_values(cursor, self.serde, where, apart, checkpoint["channel_versions"], new_versions)
            return super().put(config, cast("Checkpoint", kept), metadata, new_versions)

    def put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        super().put_writes(with_namespace(config), writes, task_id, task_path)

    def delete_thread(self, thread_id: str) -> None:
        with self.cursor() as cursor:
            super().delete_thread(thread_id)
            cursor.execute("DELETE FROM checkpoint_blobs WHERE thread_id = ?", (str(thread_id),))

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        found = super().get_delta_channel_history(config=config, channels=channels)
        unseeded = [name for name in channels if "seed" not in found[name]]
        where = str(config["configurable"]["thread_id"]), config["configurable"].get("checkpoint_ns", "")
        with self.cursor(transaction=False) as cursor:
            apart = sqlite_blobs.has_values(cursor, *where, unseeded)
        # A channel that was none of LangGraph's delta channels before has a value apart, which its own statements do not see.
        return BaseCheckpointSaver.get_delta_channel_history(self, config=config, channels=channels) if apart else found

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self.file.run(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph names it so
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for item in await self.file.run(lambda: [*self.list(config, filter=filter, before=before, limit=limit)]):
            yield item

    async def aput(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions) -> RunnableConfig:
        held = self._held.take(config)
        work = self.file.run(self._put_with, [one.write for one in held], config, checkpoint, metadata, new_versions)
        return await settle(held, work)

    def _put_with(
        self, writes: Sequence[Write], config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        with self.cursor():  # one transaction
            self._put_all_writes(writes)
            return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        await self._held.put((config, writes, task_id, task_path))

    def _put_all_writes(self, writes: Sequence[Write]) -> None:
        with self.cursor():
            for write in writes:
                self.put_writes(*write)

    async def adelete_thread(self, thread_id: str) -> None:
        await self.file.run(self.delete_thread, thread_id)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """As LangGraph's PostgreSQL checkpointer: ``keep_latest`` keeps the latest checkpoint of each namespace, with its writes."""
        check_strategy(thread_ids, strategy)
        for thread_id in thread_ids:
            if strategy == "delete":
                self.delete_thread(thread_id)
                continue
            self.prune_steps(thread_id, "latest")

    def prune_steps(self, thread_id: str, keep: Keep) -> None:
        """Keep a thread's latest checkpoint, or those at the ends of its turns.

        Raises:
            NotImplementedError: the thread uses one of LangGraph's delta channels.
        """
        with self.cursor() as cursor:
            sqlite_blobs.prune(cursor, self.serde, thread_id, keep)

    async def aprune_steps(self, thread_id: str, keep: Keep) -> None:
        await self.file.run(self.prune_steps, thread_id, keep)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await self.file.run(lambda: self.prune(thread_ids, strategy=strategy))

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        return await self.file.run(lambda: self.get_delta_channel_history(config=config, channels=channels))

    async def aclose(self) -> None:
        await self.file.aclose()

    def close(self) -> None:
        self.file.close()


class _TransactionalStore(SqliteStore):
    """LangGraph's SQLite store whose batches are undone on an error instead of committed half."""

    file: SqliteFile

    @contextmanager
    def _cursor(self, *, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        self.setup()
        with self.file.cursor(write=transaction) as cursor:
            yield cursor


class LazySqliteStore(BaseStore):
    """LangGraph's SQLite store over a `SqliteFile`, for synchronous and asynchronous callers alike."""

    def __init__(self, file: SqliteFile) -> None:
        self.file = file
        self._inner: _TransactionalStore | None = None

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        with self.file.connection(write=False) as connection:
            if self._inner is None:
                self._inner = _TransactionalStore(connection)
                self._inner.file = self.file
            return self._inner.batch(ops)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        return await self.file.run(self.batch, [*ops])

    async def aclose(self) -> None:
        await self.file.aclose()

    def close(self) -> None:
        self.file.close()
