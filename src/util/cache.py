"""In-memory caches: bounded in size and time, safe between threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, cast

from cachetools import TTLCache as _TTLCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Evicting(_TTLCache[K, V]):
    """A `cachetools.TTLCache` that reports what leaves for want of room or time."""

    def __init__(self, maxsize: int, ttl: float, timer: Callable[[], float], on_evict: Callable[[K, V], None] | None) -> None:
        super().__init__(maxsize, ttl, timer)
        self._on_evict = on_evict

    def popitem(self) -> tuple[K, V]:
        key, value = super().popitem()
        if self._on_evict:
            self._on_evict(key, value)
        return key, value

    def expire(self, time: float | None = None) -> list[tuple[K, V]]:
        expired: list[tuple[K, V]] = super().expire(time)
        if self._on_evict:
            for key, value in expired:
                self._on_evict(key, value)
        return expired


class TTLCache(Generic[K, V]):
    """Entries live `ttl` seconds; the least recently used leaves first.

    Args:
        max_entries: room.
        ttl: seconds that an entry lives.
        on_evict: told of each entry that leaves by itself (not of those deleted by hand).
        timer: seconds that never run backwards.
    """

    def __init__(
        self,
        max_entries: int = 1000,
        ttl: float = 300.0,
        on_evict: Callable[[K, V], None] | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.RLock()
        self._entries: _Evicting[K, V] = _Evicting(max_entries, ttl, timer, on_evict)
        self.hits = 0
        self.misses = 0

    def get(self, key: K, default: V | None = None) -> V | None:
        with self._lock:
            try:
                value = self._entries[key]
            except KeyError:
                self.misses += 1
                return default
            self.hits += 1
            return value

    def set(self, key: K, value: V) -> None:
        with self._lock:
            self._entries[key] = value

    def delete(self, key: K) -> bool:
        """Remove an entry; False if there was none."""
        with self._lock:
            return self._entries.pop(key, None) is not None

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def expire(self) -> int:
        """Drop what is too old now; returns how many."""
        with self._lock:
            return len(self._entries.expire())

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def __contains__(self, key: K) -> bool:
        with self._lock:
            return key in self._entries


class CacheService:
    """Named caches of one process, made on first use with the same bounds."""

    def __init__(self, max_entries: int = 1000, ttl: float = 300.0) -> None:
        self._lock = threading.Lock()
        self._max_entries = max_entries
        self._ttl = ttl
        self._caches: dict[str, TTLCache[Hashable, object]] = {}

    def cache(self, name: str) -> TTLCache[Hashable, object]:
        with self._lock:
            if name not in self._caches:
                self._caches[name] = TTLCache(self._max_entries, self._ttl)
            return self._caches[name]

    def get_or_compute(self, name: str, key: Hashable, compute: Callable[[], V]) -> V:
        """The cached value, or the computed one, which is then kept. Two callers at once may both compute."""
        cache = self.cache(name)
        missing = object()
        found = cache.get(key, missing)
        if found is not missing:
            return cast("V", found)
        value = compute()
        cache.set(key, value)
        return value

    def stats(self) -> dict[str, dict[str, int]]:
        with self._lock:
            return {name: {"entries": len(c), "hits": c.hits, "misses": c.misses} for name, c in self._caches.items()}
