"""Threads in memory: gone with the process."""

from __future__ import annotations

import threading

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from .rows import ThreadRow
from .sealing import strict_serializer


def make_saver() -> InMemorySaver:
    return InMemorySaver(serde=strict_serializer())


def make_store() -> InMemoryStore:
    return InMemoryStore()


class MemoryThreadRows:
    """`ThreadRows` in a dictionary."""

    def __init__(self) -> None:
        self._rows: dict[str, ThreadRow] = {}
        self._lock = threading.Lock()

    async def get(self, thread_id: str) -> ThreadRow | None:
        with self._lock:
            return self._rows.get(thread_id)

    async def page(self, tenant: str, user: str, limit: int, before: tuple[str, str] | None) -> list[ThreadRow]:
        with self._lock:
            mine = [row for row in self._rows.values() if (row.tenant, row.user) == (tenant, user) and row.turns > 0]
        mine.sort(key=lambda row: (row.updated_at, row.thread_id), reverse=True)
        return [row for row in mine if before is None or (row.updated_at, row.thread_id) < before][:limit]

    async def add(self, row: ThreadRow) -> None:
        with self._lock:
            self._rows.setdefault(row.thread_id, row)

    async def touch(self, thread_id: str, updated_at: str, turns: int) -> bool:
        with self._lock:
            row = self._rows.get(thread_id)
            if row is not None:
                self._rows[thread_id] = row.touched(updated_at, turns)
            return row is not None

    async def delete(self, thread_id: str) -> None:
        with self._lock:
            self._rows.pop(thread_id, None)
