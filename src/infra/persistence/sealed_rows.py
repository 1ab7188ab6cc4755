"""Thread rows whose titles are sealed: the first question of a conversation is as private as the rest."""

from __future__ import annotations

from dataclasses import replace

from .rows import ThreadRow, ThreadRows
from .sealing import SealedSerializer


class SealedThreadRows:
    """`ThreadRows` around others."""

    def __init__(self, inner: ThreadRows, serializer: SealedSerializer) -> None:
        self._inner = inner
        self._serializer = serializer
        self.touch = inner.touch
        self.delete = inner.delete
        self.of_user = inner.of_user
        self.surplus = inner.surplus
        self.all_ids = inner.all_ids
        self.unfinished = inner.unfinished
        self.runs_of = inner.runs_of
        self.used_bytes = inner.used_bytes
        self.graph_threads = inner.graph_threads
        self.next_run = inner.next_run
        self.set_next_run = inner.set_next_run

    async def get(self, thread_id: str) -> ThreadRow | None:
        row = await self._inner.get(thread_id)
        return None if row is None else self._opened(row)

    async def page(self, tenant: str, user: str, limit: int, before: tuple[str, str] | None) -> list[ThreadRow]:
        return [self._opened(row) for row in await self._inner.page(tenant, user, limit, before)]

    async def add(self, row: ThreadRow) -> None:
        await self._inner.add(replace(row, title=self._serializer.seal_text(row.title)))

    async def rename(self, thread_id: str, title: str) -> bool:
        return await self._inner.rename(thread_id, self._serializer.seal_text(title))

    def _opened(self, row: ThreadRow) -> ThreadRow:
        return replace(row, title=self._serializer.open_text(row.title))
