"""`ThreadRows` in PostgreSQL."""

from __future__ import annotations

from psycopg.rows import DictRow

from ..rows import ThreadRow
from .database import Database

# Dates and ids compare byte by byte, as in the other backends, whatever the database's collation is.
_ORDER = 'updated_at COLLATE "C" DESC, thread_id COLLATE "C" DESC'

_INSERT = (
    "INSERT INTO rag_threads (thread_id, tenant, user_id, title, created_at, updated_at, turns) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)


class PostgresThreadRows:
    """Thread rows in the database of the checkpoints."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, thread_id: str) -> ThreadRow | None:
        if "\0" in thread_id:
            return None  # PostgreSQL takes no such text, so no thread has such an id
        rows = await self._read("SELECT * FROM rag_threads WHERE thread_id = %s", (thread_id,))
        return rows[0] if rows else None

    async def page(self, tenant: str, user: str, limit: int, before: tuple[str, str] | None) -> list[ThreadRow]:
        query = "SELECT * FROM rag_threads WHERE tenant = %s AND user_id = %s AND turns > 0"
        values: tuple[str | int, ...] = (tenant, user)
        if before is not None:
            query, values = f'{query} AND (updated_at COLLATE "C", thread_id COLLATE "C") < (%s, %s)', (*values, *before)
        return await self._read(f"{query} ORDER BY {_ORDER} LIMIT %s", (*values, limit))

    async def add(self, row: ThreadRow) -> None:
        values = (row.thread_id, row.tenant, row.user, row.title, row.created_at, row.updated_at, row.turns)
        await self._write(_INSERT, values)

    async def touch(self, thread_id: str, updated_at: str, turns: int) -> bool:
        return await self._write("UPDATE rag_threads SET updated_at = %s, turns = %s WHERE thread_id = %s", (updated_at, turns, thread_id)) > 0

    async def delete(self, thread_id: str) -> None:
        await self._write("DELETE FROM rag_threads WHERE thread_id = %s", (thread_id,))

    async def _read(self, query: str, values: tuple[str | int, ...]) -> list[ThreadRow]:
        def work() -> list[ThreadRow]:
            with self._database.connection() as connection:
                return [_row(found) for found in connection.execute(query.encode(), values)]

        return await self._database.run(work)

    async def _write(self, query: str, values: tuple[str | int, ...]) -> int:
        def work() -> int:
            with self._database.connection() as connection:
                return connection.execute(query.encode(), values).rowcount

        return await self._database.run(work)


def _row(found: DictRow) -> ThreadRow:
    return ThreadRow(
        thread_id=found["thread_id"],
        tenant=found["tenant"],
        user=found["user_id"],
        title=found["title"],
        created_at=found["created_at"],
        updated_at=found["updated_at"],
        turns=found["turns"],
    )
