"""`ThreadRows` in the SQLite file of the checkpoints."""

from __future__ import annotations

from .rows import GraphThread, ThreadRow
from .sqlite import SqliteFile

_SURPLUS = """
SELECT thread_id FROM (
    SELECT thread_id, updated_at, row_number() OVER (PARTITION BY tenant ORDER BY updated_at DESC, thread_id DESC) AS place
    FROM rag_threads WHERE turns > 0 AND (?1 IS NULL OR tenant = ?2)
) WHERE updated_at < ?3 OR (?4 >= 0 AND place > ?4)
"""
_RUNS = """
SELECT DISTINCT thread_id FROM checkpoints
WHERE json_extract(CAST(metadata AS TEXT), '$.user_id') = ? AND json_extract(CAST(metadata AS TEXT), '$.tenant') = ?
"""
_GRAPH_THREADS = """
SELECT thread_id, json_extract(CAST(metadata AS TEXT), '$.tenant') AS tenant, max(checkpoint_id) FROM checkpoints AS c
WHERE json_extract(CAST(metadata AS TEXT), '$.user_id') IS NOT NULL AND tenant IS NOT NULL AND (?1 IS NULL OR tenant = ?1)
AND NOT EXISTS (SELECT 1 FROM rag_threads AS t WHERE t.thread_id = c.thread_id)
GROUP BY thread_id
"""


class SqliteThreadRows:
    """`ThreadRows` in the same file as the checkpoints."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def get(self, thread_id: str) -> ThreadRow | None:
        rows = await self._file.run(self._read, "SELECT * FROM rag_threads WHERE thread_id = ?", (thread_id,))
        return rows[0] if rows else None

    async def page(self, tenant: str, user: str, limit: int, before: tuple[str, str] | None) -> list[ThreadRow]:
        query = "SELECT * FROM rag_threads WHERE tenant = ? AND user = ? AND turns > 0"
        values: tuple[str | int, ...] = (tenant, user)
        if before is not None:
            query, values = f"{query} AND (updated_at, thread_id) < (?, ?)", (*values, *before)
        return await self._file.run(self._read, f"{query} ORDER BY updated_at DESC, thread_id DESC LIMIT ?", (*values, limit))

    async def add(self, row: ThreadRow) -> None:
        values = (row.thread_id, row.tenant, row.user, row.title, row.created_at, row.updated_at, row.turns)
        await self._file.run(self._write, "INSERT OR IGNORE INTO rag_threads VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    async def touch(self, thread_id: str, updated_at: str, turns: int) -> bool:
        query = "UPDATE rag_threads SET updated_at = ?, turns = ? WHERE thread_id = ?"
        return await self._file.run(self._write, query, (updated_at, turns, thread_id)) > 0

    async def rename(self, thread_id: str, title: str) -> bool:
        return await self._file.run(self._write, "UPDATE rag_threads SET title = ? WHERE thread_id = ?", (title, thread_id)) > 0

    async def delete(self, thread_id: str) -> None:
        await self._file.run(self._write, "DELETE FROM rag_threads WHERE thread_id = ?", (thread_id,))

    async def of_user(self, tenant: str, user: str) -> list[str]:
        return await self._file.run(self._ids, "SELECT thread_id FROM rag_threads WHERE tenant = ? AND user = ?", (tenant, user))

    async def surplus(self, tenant: str | None, before: str | None, keep: int | None) -> list[str]:
        return await self._file.run(self._ids, _SURPLUS, (tenant, tenant, before or "", -1 if keep is None else keep))

    async def all_ids(self, tenant: str | None) -> list[str]:
        return await self._file.run(self._ids, "SELECT thread_id FROM rag_threads WHERE turns > 0 AND (? IS NULL OR tenant = ?)", (tenant, tenant))

    async def unfinished(self, tenant: str | None) -> list[str]:
        return await self._file.run(self._ids, "SELECT thread_id FROM rag_threads WHERE turns = 0 AND (? IS NULL OR tenant = ?)", (tenant, tenant))

    async def runs_of(self, tenant: str, user: str) -> list[str]:
        return await self._file.run(self._runs, tenant, user)

    async def used_bytes(self) -> int:
        def count() -> int:
            with self._file.connection(write=False) as connection:
                pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
            return int((pages - free) * size)

        return await self._file.run(count)

    async def graph_threads(self, tenant: str | None) -> list[GraphThread]:
        def read() -> list[GraphThread]:
            if not self._has_checkpoints():
                return []
            with self._file.connection(write=False) as connection:
                return [GraphThread(*row) for row in connection.execute(_GRAPH_THREADS, (tenant,))]

        return await self._file.run(read)

    async def next_run(self, job: str) -> str | None:
        found = await self._file.run(self._ids, "SELECT next_run FROM rag_jobs WHERE job = ?", (job,))
        return found[0] if found else None

    async def set_next_run(self, job: str, at: str) -> None:
        await self._file.run(self._write, "INSERT OR REPLACE INTO rag_jobs VALUES (?, ?)", (job, at))

    def _runs(self, tenant: str, user: str) -> list[str]:
        return self._ids(_RUNS, (user, tenant)) if self._has_checkpoints() else []

    def _has_checkpoints(self) -> bool:
        """LangGraph makes its tables with the first checkpoint."""
        with self._file.connection(write=False) as connection:
            return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'").fetchone() is not None

    def _ids(self, query: str, values: tuple[str | int | None, ...]) -> list[str]:
        with self._file.connection(write=False) as connection:
            return [thread_id for (thread_id,) in connection.execute(query, values)]

    def _read(self, query: str, values: tuple[str | int, ...]) -> list[ThreadRow]:
        with self._file.connection(write=False) as connection:
            return [ThreadRow(*row) for row in connection.execute(query, values)]

    def _write(self, query: str, values: tuple[str | int, ...]) -> int:
        with self._file.connection(write=True) as connection:
            return connection.execute(query, values).rowcount
