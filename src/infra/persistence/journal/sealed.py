"""A journal whose heads and parts are sealed: answers are as private here as in the threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from . import Addition, Entry, Journal, Key, Part

if TYPE_CHECKING:
    from ..sealing import SealedSerializer


class SealedJournal:
    """`Journal` around another. What cannot be opened raises ``StorageCorruptError``."""

    def __init__(self, inner: Journal, serializer: SealedSerializer) -> None:
        self._inner = inner
        self._serializer = serializer
        self.remove = inner.remove
        self.forget_thread = inner.forget_thread
        self.forget_user = inner.forget_user

    async def begin(self, key: Key, head: bytes, ttl_s: float, thread_id: str | None = None) -> bool:
        return await self._inner.begin(key, self._seal(head), ttl_s, thread_id)

    async def append(self, key: Key, parts: Sequence[Part], ttl_s: float, thread_id: str | None = None) -> bool:
        return await self._inner.append(key, self._sealed(parts), ttl_s, thread_id)

    async def append_all(self, additions: Sequence[Addition]) -> None:
        await self._inner.append_all([replace(one, parts=self._sealed(one.parts)) for one in additions])

    async def read(self, key: Key, after: int = 0) -> Entry | None:
        found = await self._inner.read(key, after)
        return None if found is None else Entry(self._open(found.head), tuple((number, self._open(body)) for number, body in found.parts))

    def _sealed(self, parts: Sequence[Part]) -> list[Part]:
        return [(number, self._seal(body)) for number, body in parts]

    def _seal(self, body: bytes) -> bytes:
        kind, data = self._serializer.dumps_typed(body)
        return kind.encode() + b"\n" + data

    def _open(self, sealed: bytes) -> bytes:
        kind, _, data = sealed.partition(b"\n")
        return bytes(self._serializer.loads_typed((kind.decode("utf-8", "replace"), data)))
