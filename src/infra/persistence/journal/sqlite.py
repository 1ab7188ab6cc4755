"""A journal in the SQLite file of the checkpoints."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..sqlite import SqliteFile
from . import MAX_ENTRIES, PURGED_AT_ONCE, Addition, Entry, Key, Part

T = TypeVar("T")

_TABLES = """
CREATE TABLE IF NOT EXISTS rag_journal (
    tenant TEXT NOT NULL, user TEXT NOT NULL, key TEXT NOT NULL, head BLOB NOT NULL, thread_id TEXT, created_at REAL NOT NULL, expires_at REAL NOT NULL,
    PRIMARY KEY (tenant, user, key)
);
CREATE TABLE IF NOT EXISTS rag_journal_parts (
    tenant TEXT NOT NULL, user TEXT NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (tenant, user, key, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rag_journal_end ON rag_journal (expires_at);
CREATE INDEX IF NOT EXISTS rag_journal_thread ON rag_journal (thread_id);
"""
_MINE = "tenant = ? AND user = ? AND key = ?"
_PAST = "SELECT tenant, user, key FROM rag_journal WHERE expires_at <= ? LIMIT ?"
_SURPLUS = "SELECT tenant, user, key FROM rag_journal WHERE tenant = ? AND user = ? ORDER BY created_at DESC, key LIMIT -1 OFFSET ?"

Row = tuple[str, str, str]


class SqliteJournal:
    """`Journal` in two tables, made on first use. Processes on one file share its clock."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._made = False

    async def begin(self, key: Key, head: bytes, ttl_s: float, thread_id: str | None = None) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            now = time.time()
            past = connection.execute(_PAST, (now, PURGED_AT_ONCE)).fetchall()
            own = connection.execute(f"SELECT tenant, user, key FROM rag_journal WHERE {_MINE} AND expires_at <= ?", (*_row(key), now)).fetchall()  # noqa: S608 - a constant of ours
            surplus = connection.execute(_SURPLUS, (key.tenant, key.user, MAX_ENTRIES - 1)).fetchall()
            _delete(connection, [*past, *own, *[row for row in surplus if row != _row(key)]])
            values = (*_row(key), head, thread_id, now, now + ttl_s)
            return connection.execute("INSERT OR IGNORE INTO rag_journal VALUES (?, ?, ?, ?, ?, ?, ?)", values).rowcount > 0

        return await self._write(work)

    async def append(self, key: Key, parts: Sequence[Part], ttl_s: float, thread_id: str | None = None) -> bool:
        return await self._write(lambda connection: _add(connection, Addition(key, parts, ttl_s, thread_id)))

    async def append_all(self, additions: Sequence[Addition]) -> None:
        await self._write(lambda connection: [_add(connection, one) for one in additions])

    async def read(self, key: Key, after: int = 0) -> Entry | None:
        def work(connection: sqlite3.Connection) -> Entry | None:
            head = connection.execute(f"SELECT head FROM rag_journal WHERE {_MINE} AND expires_at > ?", (*_row(key), time.time())).fetchone()  # noqa: S608 - a constant of ours
            if head is None:
                return None
            query = f"SELECT seq, body FROM rag_journal_parts WHERE {_MINE} AND seq > ? ORDER BY seq"  # noqa: S608 - a constant of ours
            return Entry(head[0], tuple(connection.execute(query, (*_row(key), after)).fetchall()))

        return await self._file.run(self._with, work, False)

    async def remove(self, key: Key) -> None:
        await self._write(lambda connection: _delete(connection, [_row(key)]))

    async def forget_thread(self, thread_id: str) -> None:
        await self._write(lambda connection: _delete(connection, _rows(connection, "thread_id = ?", (thread_id,))))

    async def forget_user(self, tenant: str, user: str) -> int:
        return await self._write(lambda connection: _delete(connection, _rows(connection, "tenant = ? AND user = ?", (tenant, user))))

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._file.run(self._with, work, True)

    def _with(self, work: Callable[[sqlite3.Connection], T], write: bool) -> T:
        if not self._made:
            with self._file.connection(write=False) as connection:
                connection.executescript(_TABLES)
            self._made = True
        with self._file.connection(write=write) as connection:
            return work(connection)


def _add(connection: sqlite3.Connection, what: Addition) -> bool:
    now = time.time()
    query = f"UPDATE rag_journal SET expires_at = ?, thread_id = coalesce(?, thread_id) WHERE {_MINE} AND expires_at > ?"  # noqa: S608 - a constant of ours
    if not connection.execute(query, (now + what.ttl_s, what.thread_id, *_row(what.key), now)).rowcount:
        return False
    connection.executemany("INSERT OR REPLACE INTO rag_journal_parts VALUES (?, ?, ?, ?, ?)", [(*_row(what.key), *part) for part in what.parts])
    return True


def _row(key: Key) -> Row:
    return (key.tenant, key.user, key.name)


def _rows(connection: sqlite3.Connection, where: str, values: tuple[str, ...]) -> list[Row]:
    return connection.execute(f"SELECT tenant, user, key FROM rag_journal WHERE {where}", values).fetchall()  # noqa: S608 - a constant of ours


def _delete(connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
    for table in ("rag_journal_parts", "rag_journal"):
        connection.executemany(f"DELETE FROM {table} WHERE {_MINE}", rows)  # noqa: S608 - two names of ours
    return len(rows)
