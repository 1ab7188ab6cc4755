"""One turn at a time on each thread, among all replicas on one database.

A lease is a row with a holder and an end, which its holder renews; that works behind poolers in transaction mode, where PostgreSQL's
advisory locks of a session do not, and takes no connection while a turn runs. A holder that was killed lets go when the lease
ends. One that only slept, and wakes up after another took its place, cannot write any more: each write of a checkpoint checks
the lease in its own transaction.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any

from psycopg import Cursor

from ....errors import RagError
from ....telemetry.logger import get_logger
from ..locks import ThreadLocks
from .database import Database
from .failures import lost_lease

log = get_logger(__name__)

LEASE_S = 15.0
"""How long a thread stays held after its holder was killed."""
RENEW_S = 5.0
POLL_S = 0.05
POLL_MOST_S = 0.5

_TAKE = """
INSERT INTO rag_thread_leases AS held (thread_id, holder, expires_at) VALUES (%s, %s, now() + make_interval(secs => %s))
ON CONFLICT (thread_id) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at WHERE held.expires_at < now() OR held.holder = EXCLUDED.holder
RETURNING holder
"""
_RENEW = "UPDATE rag_thread_leases SET expires_at = now() + make_interval(secs => %s) WHERE thread_id = %s AND holder = %s"
_LEAVE = "DELETE FROM rag_thread_leases WHERE thread_id = %s AND holder = %s"
# The row stays locked until the write is committed, so that nobody takes the lease in between; without a row it is a division by zero.
_FENCE = "SELECT 1 / (SELECT count(*) FROM (SELECT 1 FROM rag_thread_leases WHERE thread_id = %s AND holder = %s FOR SHARE) AS mine)"

held_leases: ContextVar[Mapping[str, str]] = ContextVar("held_leases", default={})  # noqa: B039 - never changed, only replaced
"""Holders by thread, of the turn that runs in this context."""


def fence(cursor: Cursor[Any]) -> None:
    """Make the transaction that is open on ``cursor`` fail with SQLSTATE 22012 unless the leases of this context still hold."""
    for thread_id, holder in held_leases.get().items():
        cursor.execute(_FENCE, (thread_id, holder))


class ThreadLeases:
    """`ThreadLocks` among replicas: waiting within the process is in order, between them it is not."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._local = ThreadLocks()

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Wait until nobody else holds ``key``, then hold it.

        Raises:
            ConflictError: the lease was lost while the block ran, which is cancelled then.
            RagError: the database fails; its kinds.
        """
        async with self._local.hold(key):
            holder = uuid.uuid4().hex
            try:
                await self._take(key, holder)
                async with self._renewed(key, holder):
                    yield
            finally:
                # A lease that cannot be given back ends by itself.
                with suppress(RagError):
                    await asyncio.shield(self._database.run(lambda: self._execute(_LEAVE, (key, holder))))

    async def _take(self, key: str, holder: str) -> None:
        pause = POLL_S
        while not await self._try(key, holder):
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, POLL_MOST_S)

    async def _try(self, key: str, holder: str) -> bool:
        """One attempt; who is cancelled meanwhile waits for its end, so that leaving comes after it."""
        attempt = asyncio.ensure_future(self._database.run(lambda: self._execute(_TAKE, (key, holder, LEASE_S))))
        try:
            return await asyncio.shield(attempt) > 0
        except asyncio.CancelledError:
            await asyncio.gather(attempt, return_exceptions=True)
            raise

    @asynccontextmanager
    async def _renewed(self, key: str, holder: str) -> AsyncIterator[None]:
        task, lost = asyncio.current_task(), False

        async def renew() -> None:
            nonlocal lost
            while True:
                await asyncio.sleep(RENEW_S)
                try:
                    if await self._database.run(lambda: self._execute(_RENEW, (LEASE_S, key, holder))):
                        continue
                except RagError as error:
                    log.warning("the lease of a thread could not be renewed; trying again", code=error.code)
                    continue
                lost = True
                if task is not None:
                    task.cancel()
                return

        renewal = asyncio.create_task(renew())
        token = held_leases.set({**held_leases.get(), key: holder})
        try:
            yield
        except asyncio.CancelledError:
            if lost and task is not None and task.uncancel() == 0:
                raise lost_lease(self._database.hop) from None
            raise
        finally:
            renewal.cancel()
            with suppress(ValueError):  # closed from another context, as when a generator is collected
                held_leases.reset(token)

    def _execute(self, statement: str, values: tuple[object, ...]) -> int:
        with self._database.connection() as connection:
            return connection.execute(statement.encode(), values).rowcount
