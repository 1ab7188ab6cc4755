"""A pool of connections to PostgreSQL: each operation has its own, made when it is needed, by whoever needs it.

psycopg_pool makes them in the background and tells a caller no more than that none came in time. Here the caller connects,
and so learns why it cannot; nothing runs while nobody asks.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.rows import DictRow, dict_row

from ....errors import OverloadedError, ResourceClosedError
from ....telemetry.metrics import watch_pool
from .failures import POOL

MAX_AGE_S = 1800.0
"""Connections are replaced after this long: credentials rotate, names come to mean other machines, poolers are rebalanced."""
CHECK_AFTER_S = 15.0
"""A connection that was idle for longer is asked before it is used: firewalls forget connections without a word."""
KEEP_IDLE_S = 300.0
"""One that was idle for longer is closed instead: cheaper than asking what is probably gone."""
CANCEL_S = 1.0


class Connection(psycopg.Connection[DictRow]):
    """A connection on which no answer is waited for longer than `answer_s`.

    ``SET statement_timeout`` would be no help: behind a pooler it stays with a server connection that others get next, and a
    server that hangs keeps no time.
    """

    answer_s: float = 30.0

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        return super().wait(gen, interval, self.answer_s if timeout is None else timeout)


class Pool:
    """Connections that are shared by threads; the one used last is used first.

    Args:
        connect: makes one.
        size: most that are open at once.
        wait_s: longest that a caller waits for one to come free.
        hop: for messages.
    """

    def __init__(self, connect: Callable[[], Connection], *, size: int, wait_s: float, hop: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._connect = connect
        self._wait_s = wait_s
        self._hop = hop
        self._clock = clock
        self._size = size
        self._begin()
        self._closed = False
        watch_pool("postgres", self, Pool.used, size)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._free = threading.BoundedSemaphore(self._size)
        self._lock = threading.Lock()
        self._idle: list[tuple[Connection, float, float]] = []  # with when it was made and when it was last used
        self._lent = 0

    def used(self) -> tuple[int, int]:
        """Connections that are lent, and idle ones."""
        return self._lent, len(self._idle)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for this block alone, in autocommit mode; it goes back only if nothing is left open on it.

        Raises:
            OverloadedError: none came free in time.
            ResourceClosedError: after `close`.
            psycopg.Error: as connecting does.
        """
        if self._pid != os.getpid():
            self._begin()  # a forked child shares the parent's sockets, and must not even close them; psycopg leaves them alone
        if self._closed:
            raise ResourceClosedError("The database's connections were used after they were closed.")
        if not self._free.acquire(timeout=self._wait_s):
            raise self.none_free()
        with self._lock:
            self._lent += 1
        try:
            connection, made = self._take()
            try:
                yield connection
            finally:
                self._give(connection, made)
        finally:
            with self._lock:
                self._lent -= 1
            self._free.release()

    def none_free(self) -> OverloadedError:
        text = f"None of the {self._size} connections to PostgreSQL came free within {self._wait_s:g} s."
        return OverloadedError(text, hop=self._hop, setting=POOL, hint="Raise it, or look at what keeps the database busy.")

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back. Again is harmless."""
        self._closed = True
        self.drop_idle()

    def drop_idle(self) -> None:
        """Close what is idle; the next caller makes a new connection."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _, _ in idle:
            _discard(connection)

    def _take(self) -> tuple[Connection, float]:
        while True:
            with self._lock:
                found = self._idle.pop() if self._idle else None
            if found is None:
                return self._connect(), self._clock()
            connection, made, used = found
            if self._usable(connection, self._clock() - made, self._clock() - used):
                return connection, made
            _discard(connection)

    def _usable(self, connection: Connection, age: float, idle: float) -> bool:
        if age > MAX_AGE_S or idle > KEEP_IDLE_S or connection.closed:
            return False
        # Something to read on an idle connection is its end, or a notice: one look costs 2 microseconds, a question a round trip.
        poll = select.poll()
        poll.register(connection.pgconn.socket, select.POLLIN)
        if not poll.poll(0) and idle <= CHECK_AFTER_S:
            return True
        with suppress(psycopg.Error):
            connection.execute("SELECT 1")
            return True
        return False

    def _give(self, connection: Connection, made: float) -> None:
        clean = not connection.closed and connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        clean = clean and connection.pgconn.pipeline_status == psycopg.pq.PipelineStatus.OFF
        with self._lock:
            if clean and not self._closed:
                self._idle.append((connection, made, self._clock()))
                return
        _discard(connection)


@contextmanager
def alone(connect: Callable[[], Connection]) -> Iterator[Connection]:
    """A connection of one's own for this block; a statement that is given up within is ended on the server."""
    connection = connect()
    try:
        yield connection
    finally:
        _discard(connection)


def _discard(connection: Connection) -> None:
    with suppress(psycopg.Error):
        if connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=CANCEL_S)  # a statement that nobody waits for any more should not go on
    with suppress(psycopg.Error):
        connection.close()


def connect(params: dict[str, Any], answer_s: float) -> Connection:
    """A connection in autocommit mode without prepared statements: poolers in transaction mode hand the next statement to another server connection."""
    connection = Connection.connect(**params, autocommit=True, prepare_threshold=None, row_factory=dict_row)
    connection.answer_s = answer_s
    return connection
