"""The database of threads: connected and migrated on first use, shared by checkpointer, store and thread rows."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg import Cursor
from psycopg.rows import DictRow

from ....errors import RagError, ResourceClosedError
from ....telemetry.logger import get_logger
from .connections import Connection, Pool, alone
from .failures import error_of, is_lost, root_of
from .migrations import State, current_state, migrate, with_rights
from .target import Password, Target

if TYPE_CHECKING:
    from ...config import NetworkCfg, PersistenceCfg

log = get_logger(__name__)

T = TypeVar("T")


class LostError(Exception):
    """The connection broke off under a statement; ``error`` is what to tell whoever does not try again."""

    def __init__(self, error: RagError) -> None:
        super().__init__(str(error))
        self.error = error


class Database:
    """One database. Synchronous work runs where it is called, asynchronous on threads of its own, a connection for each.

    Args:
        password: gives the password of each new connection; a provider of Entra tokens, for instance.
        on_close: called at the end, as to close that provider.
    """

    def __init__(self, cfg: PersistenceCfg, network: NetworkCfg, password: Password | None = None, on_close: Callable[[], None] | None = None) -> None:
        self._cfg = cfg
        self._on_close = on_close
        self._target = Target(cfg, network, password)
        self.hop = self._target.hop
        self._pool = Pool(self._target.connect, size=cfg.pool_size, wait_s=cfg.pool_timeout_s, hop=self.hop)
        self._lock = threading.Lock()
        self._migrating = threading.Lock()
        self._ready = False
        self._attempts = 0
        self._failure: RagError | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for this block, on a migrated database.

        Raises:
            RagError: `failures.error_of` says which.
            LostError: inside `again`, where the connection broke off.
        """
        self._make_ready()
        with self._mapped(), self._pool.connection() as connection:
            yield connection

    @contextmanager
    def cursor(self, *, pipeline: bool = False) -> Iterator[Cursor[DictRow]]:
        """A cursor of a connection for this block; with ``pipeline`` what is executed is sent at once, and is one transaction."""
        with self.connection() as connection, connection.cursor(binary=True) as cursor:
            if pipeline:
                with connection.pipeline():
                    yield cursor
            else:
                yield cursor

    def again(self, work: Callable[[], T]) -> T:
        """Do work that may be done twice; once more on a new connection where the first one broke off."""
        try:
            return work()
        except LostError as lost:
            log.info("a connection to PostgreSQL broke off; trying once more", hop=self.hop, code=lost.error.code)
        self._pool.drop_idle()  # whatever ended the one has likely ended the others
        try:
            return work()
        except LostError as lost:
            error = lost.error
        raise error

    async def run(self, work: Callable[[], T]) -> T:
        """`again` on one of the database's own threads. A caller that is cancelled leaves work that began to its end."""
        queued = time.monotonic()

        def begin() -> T:
            if time.monotonic() - queued > self._cfg.pool_timeout_s:
                raise self._pool.none_free()
            return self.again(work)

        context = contextvars.copy_context()  # which leases the caller holds
        return await asyncio.get_running_loop().run_in_executor(self._threads(), context.run, begin)

    def inspect(self) -> State:
        """Server version, migration state and rights, on a connection of its own; changes nothing.

        Raises:
            RagError: as `connection`.
        """
        try:
            with self._mapped(), alone(self._target.connect) as connection:
                return with_rights(connection, current_state(connection))
        except LostError as lost:
            error = lost.error
        raise error

    def touch(self) -> None:
        """Ask the database for nothing; raises as `connection`."""
        with self.connection() as connection:
            connection.execute("SELECT 1")

    async def ping(self) -> None:
        """`touch` for asynchronous callers; raises no `LostError`."""
        await self.run(self.touch)

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Finish what is under way and close. Again is harmless."""
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
        if executor is not None and self._pid == os.getpid():
            executor.shutdown(wait=True)
        self._pool.close()
        if self._on_close is not None:
            self._on_close()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """psycopg's errors as ours. They are not chained: their details may hold rows."""
        found: Exception
        try:
            yield
            return
        except psycopg.Error as raised:
            error = root_of(raised)
            found = error_of(error, self.hop)
            log.debug("PostgreSQL failed", sqlstate=error.sqlstate or "", kind=type(error).__name__)
            if is_lost(error):
                found = LostError(found)
        raise found

    def _make_ready(self) -> None:
        if self._ready:
            return
        attempts = self._attempts
        with self._migrating:
            if attempts == self._attempts:
                self._migrate()
            elif self._failure is not None:
                # Whoever waited for an attempt that failed shares its outcome: else ten callers would wait for ten of them in turn.
                raise copy.copy(self._failure) from None

    def _migrate(self) -> None:
        self._check_open()
        self._failure = None
        try:
            with self._mapped():
                migrate(self._target.connect, allowed=self._cfg.auto_migrate, hop=self.hop)
            self._ready = True
        except LostError as lost:
            self._failure = lost.error
        except RagError as error:
            self._failure = error
        finally:
            self._attempts += 1
        if self._failure is not None:
            raise copy.copy(self._failure) from None

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            self._check_open()
            if self._executor is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._executor = ThreadPoolExecutor(self._cfg.pool_size, thread_name_prefix="rag-postgres")
            return self._executor

    def _check_open(self) -> None:
        if self._closed:
            raise ResourceClosedError("The database of threads was used after it was closed.")
