"""A journal in memory: gone with the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from . import MAX_ENTRIES, Addition, Entry, Key, Part


@dataclass(slots=True)
class _Kept:
    head: bytes
    expires_at: float
    thread_id: str | None = None
    parts: dict[int, bytes] = field(default_factory=dict)


class MemoryJournal:
    """`Journal` in a dictionary, the oldest entry first."""

    def __init__(self) -> None:
        self._kept: dict[Key, _Kept] = {}
        self._lock = threading.Lock()

    async def begin(self, key: Key, head: bytes, ttl_s: float, thread_id: str | None = None) -> bool:
        now = time.monotonic()
        with self._lock:
            for name in [name for name, kept in self._kept.items() if kept.expires_at <= now]:
                del self._kept[name]
            if key in self._kept:
                return False
            mine = [name for name in self._kept if (name.tenant, name.user) == (key.tenant, key.user)]
            for name in mine[: max(0, len(mine) + 1 - MAX_ENTRIES)]:
                del self._kept[name]
            self._kept[key] = _Kept(head, now + ttl_s, thread_id)
            return True

    async def append(self, key: Key, parts: Sequence[Part], ttl_s: float, thread_id: str | None = None) -> bool:
        with self._lock:
            kept = self._alive(key)
            if kept is None:
                return False
            kept.parts.update(parts)
            kept.expires_at = time.monotonic() + ttl_s
            kept.thread_id = thread_id or kept.thread_id
            return True

    async def append_all(self, additions: Sequence[Addition]) -> None:
        for one in additions:
            await self.append(one.key, one.parts, one.ttl_s, one.thread_id)

    async def read(self, key: Key, after: int = 0) -> Entry | None:
        with self._lock:
            kept = self._alive(key)
            return None if kept is None else Entry(kept.head, tuple((number, body) for number, body in sorted(kept.parts.items()) if number > after))

    async def remove(self, key: Key) -> None:
        with self._lock:
            self._kept.pop(key, None)

    async def forget_thread(self, thread_id: str) -> None:
        with self._lock:
            for key in [key for key, kept in self._kept.items() if kept.thread_id == thread_id]:
                del self._kept[key]

    async def forget_user(self, tenant: str, user: str) -> int:
        with self._lock:
            mine = [key for key in self._kept if (key.tenant, key.user) == (tenant, user)]
            for key in mine:
                del self._kept[key]
            return len(mine)

    def _alive(self, key: Key) -> _Kept | None:
        kept = self._kept.get(key)
        return kept if kept is not None and kept.expires_at > time.monotonic() else None


_BESIDE: WeakKeyDictionary[Any, MemoryJournal] = WeakKeyDictionary()


def memory_journal(checkpointer: Any) -> MemoryJournal:
    """The one journal beside a checkpointer in memory, whoever asks: what is kept together is forgotten together."""
    return _BESIDE.setdefault(checkpointer, MemoryJournal())
