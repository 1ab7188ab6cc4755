"""A journal in the database of the checkpoints."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..postgres.connections import Connection
from ..postgres.database import Database
from . import MAX_ENTRIES, PURGED_AT_ONCE, Addition, Entry, Key, Part

T = TypeVar("T")

# Others may be purging the same rows: each takes those that nobody else holds. Parts go with their entry.
_PURGE = "DELETE FROM rag_journal WHERE ctid = ANY(ARRAY(SELECT ctid FROM rag_journal WHERE expires_at <= now() LIMIT %s FOR UPDATE SKIP LOCKED))"
_SURPLUS = """
DELETE FROM rag_journal WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM rag_journal WHERE tenant = %s AND user_id = %s AND key <> %s ORDER BY created_at DESC, key OFFSET %s FOR UPDATE SKIP LOCKED
))
"""
_OWN_PAST = "DELETE FROM rag_journal WHERE tenant = %s AND user_id = %s AND key = %s AND expires_at <= now()"
# A statement whose connection broke off is sent once more: the same claim is no other one.
_BEGIN = """
INSERT INTO rag_journal AS held (tenant, user_id, key, head, claim, thread_id, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, now() + make_interval(secs => %s))
ON CONFLICT (tenant, user_id, key) DO UPDATE SET claim = EXCLUDED.claim WHERE held.claim = EXCLUDED.claim
"""
_RENEW = """
UPDATE rag_journal SET expires_at = now() + make_interval(secs => %s), thread_id = coalesce(%s, thread_id)
WHERE tenant = %s AND user_id = %s AND key = %s AND expires_at > now()
"""
_ADD = "INSERT INTO rag_journal_parts (tenant, user_id, key, seq, body) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
_HEAD = "SELECT head FROM rag_journal WHERE tenant = %s AND user_id = %s AND key = %s AND expires_at > now()"
_PARTS = "SELECT seq, body FROM rag_journal_parts WHERE tenant = %s AND user_id = %s AND key = %s AND seq > %s ORDER BY seq"
_REMOVE = "DELETE FROM rag_journal WHERE tenant = %s AND user_id = %s AND key = %s"


class PostgresJournal:
    """`Journal` in two tables of the migrations; time is the database's own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, key: Key, head: bytes, ttl_s: float, thread_id: str | None = None) -> bool:
        claim = uuid.uuid4().hex

        def work(connection: Connection) -> bool:
            connection.execute(_PURGE.encode(), (PURGED_AT_ONCE,))
            connection.execute(_SURPLUS.encode(), (*_row(key), MAX_ENTRIES - 1))
            connection.execute(_OWN_PAST.encode(), _row(key))
            return connection.execute(_BEGIN.encode(), (*_row(key), head, claim, thread_id, ttl_s)).rowcount > 0

        return await self._run(work)

    async def append(self, key: Key, parts: Sequence[Part], ttl_s: float, thread_id: str | None = None) -> bool:
        def work(connection: Connection) -> bool:
            with connection.transaction():
                return _add(connection, Addition(key, parts, ttl_s, thread_id))

        return await self._run(work)

    async def append_all(self, additions: Sequence[Addition]) -> None:
        def work(connection: Connection) -> None:
            with connection.transaction():
                for one in additions:
                    _add(connection, one)

        await self._run(work)

    async def read(self, key: Key, after: int = 0) -> Entry | None:
        def work(connection: Connection) -> Entry | None:
            head = connection.execute(_HEAD.encode(), _row(key)).fetchone()
            if head is None:
                return None
            found = connection.execute(_PARTS.encode(), (*_row(key), after)).fetchall()
            return Entry(bytes(head["head"]), tuple((row["seq"], bytes(row["body"])) for row in found))

        return await self._run(work)

    async def remove(self, key: Key) -> None:
        await self._run(lambda connection: connection.execute(_REMOVE.encode(), _row(key)).rowcount)

    async def forget_thread(self, thread_id: str) -> None:
        await self._run(lambda connection: connection.execute(b"DELETE FROM rag_journal WHERE thread_id = %s", (thread_id,)).rowcount)

    async def forget_user(self, tenant: str, user: str) -> int:
        query = b"DELETE FROM rag_journal WHERE tenant = %s AND user_id = %s"
        return await self._run(lambda connection: connection.execute(query, (tenant, user)).rowcount)

    async def _run(self, work: Callable[[Connection], T]) -> T:
        def connected() -> T:
            with self._database.connection() as connection:
                return work(connection)

        return await self._database.run(connected)


def _add(connection: Connection, what: Addition) -> bool:
    with connection.cursor() as cursor:
        if not cursor.execute(_RENEW.encode(), (what.ttl_s, what.thread_id, *_row(what.key))).rowcount:
            return False
        if what.parts:
            cursor.executemany(_ADD.encode(), [(*_row(what.key), *part) for part in what.parts])
    return True


def _row(key: Key) -> tuple[str, str, str]:
    return (key.tenant, key.user, key.name)
