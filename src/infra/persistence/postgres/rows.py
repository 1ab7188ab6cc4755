"""`ThreadRows` in PostgreSQL."""

from __future__ import annotations

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from ..rows import GraphThread, ThreadRow
from .database import Database

# Dates and ids compare byte by byte, as in the other backends, whatever the database's collation is.
_ORDER = 'updated_at COLLATE "C" DESC, thread_id COLLATE "C" DESC'

_INSERT = (
    "INSERT INTO rag_threads (thread_id, tenant, user_id, title, created_at, updated_at, turns) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)

_SURPLUS = """
SELECT thread_id FROM (
    SELECT thread_id, updated_at, row_number() OVER (PARTITION BY tenant ORDER BY updated_at COLLATE "C" DESC, thread_id COLLATE "C" DESC) AS place
    FROM rag_threads WHERE turns > 0 AND (%s::text IS NULL OR tenant = %s)
) ranked WHERE updated_at COLLATE "C" < %s OR (%s::int IS NOT NULL AND place > %s)
"""
# What a table's file takes does not shrink before it is vacuumed in full; what its rows take does.
_USED = """
SELECT (SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM checkpoints t) + (SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM checkpoint_blobs t)
     + (SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM checkpoint_writes t) + (SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM rag_threads t) AS bytes
"""
_GRAPH_THREADS = """
SELECT thread_id, metadata ->> 'tenant' AS tenant, max(checkpoint_id COLLATE "C") AS latest FROM checkpoints c
WHERE metadata ->> 'user_id' IS NOT NULL AND metadata ->> 'tenant' IS NOT NULL AND (%s::text IS NULL OR metadata ->> 'tenant' = %s)
AND NOT EXISTS (SELECT 1 FROM rag_threads t WHERE t.thread_id = c.thread_id)
GROUP BY thread_id, metadata ->> 'tenant'
"""


class PostgresThreadRows:
    """Thread rows in the database of the checkpoints."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, thread_id: str) -> ThreadRow | None:
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

    async def rename(self, thread_id: str, title: str) -> bool:
        return await self._write("UPDATE rag_threads SET title = %s WHERE thread_id = %s", (title, thread_id)) > 0

    async def delete(self, thread_id: str) -> None:
        await self._write("DELETE FROM rag_threads WHERE thread_id = %s", (thread_id,))

    async def of_user(self, tenant: str, user: str) -> list[str]:
        return await self._ids("SELECT thread_id FROM rag_threads WHERE tenant = %s AND user_id = %s", (tenant, user))

    async def surplus(self, tenant: str | None, before: str | None, keep: int | None) -> list[str]:
        return await self._ids(_SURPLUS, (tenant, tenant, before or "", keep, keep))

    async def all_ids(self, tenant: str | None) -> list[str]:
        return await self._ids("SELECT thread_id FROM rag_threads WHERE turns > 0 AND (%s::text IS NULL OR tenant = %s)", (tenant, tenant))

    async def unfinished(self, tenant: str | None) -> list[str]:
        return await self._ids("SELECT thread_id FROM rag_threads WHERE turns = 0 AND (%s::text IS NULL OR tenant = %s)", (tenant, tenant))

    async def runs_of(self, tenant: str, user: str) -> list[str]:
        return await self._ids("SELECT DISTINCT thread_id FROM checkpoints WHERE metadata @> %s", (Jsonb({"user_id": user, "tenant": tenant}),))

    async def graph_threads(self, tenant: str | None) -> list[GraphThread]:
        def work() -> list[GraphThread]:
            with self._database.connection() as connection:
                rows = connection.execute(_GRAPH_THREADS.encode(), (tenant, tenant))
                return [GraphThread(row["thread_id"], row["tenant"], row["latest"]) for row in rows]

        return await self._database.run(work)

    async def next_run(self, job: str) -> str | None:
        found = await self._ids("SELECT next_run AS thread_id FROM rag_jobs WHERE job = %s", (job,))
        return found[0] if found else None

    async def set_next_run(self, job: str, at: str) -> None:
        await self._write("INSERT INTO rag_jobs (job, next_run) VALUES (%s, %s) ON CONFLICT (job) DO UPDATE SET next_run = EXCLUDED.next_run", (job, at))

    async def used_bytes(self) -> int:
        def count() -> int:
            with self._database.connection() as connection:
                row = connection.execute(_USED).fetchone()
                return int(row["bytes"]) if row is not None else 0

        return await self._database.run(count)

    async def _ids(self, query: str, values: tuple[object, ...]) -> list[str]:
        def work() -> list[str]:
            with self._database.connection() as connection:
                return [found["thread_id"] for found in connection.execute(query.encode(), values)]

        return await self._database.run(work)

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
