"""Any embedder, with a memory: vectors kept on disk by model and text."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from cachetools import LRUCache

from ...errors import InputError, ResourceClosedError
from ...telemetry import metrics
from .protocol import Embedder
from .vector_file import VectorFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

MEMORY_ENTRIES = 1000
"""Vectors also held in memory: 1.5 MB at 384 dimensions. Repeated questions never touch the disk."""


class _Abandoned(Exception):  # noqa: N818 - a signal between callers, not an error
    """Whoever was embedding this text was cancelled; the next one does it."""


class CachedEmbedder:
    """An `Embedder` that asks the inner one only for what it has not seen.

    Keys are SHA-256 of model identity and text; the text itself is not kept. Identical texts that are asked for at once
    are embedded once. Entries are written behind the answer, so a question does not wait for the disk.

    Args:
        inner: the embedder; closed with this one.
        path: the cache file; several processes may share it.
        max_entries: vectors kept on disk, least recently used out first.
    """

    def __init__(self, inner: Embedder, path: Path, max_entries: int) -> None:
        self._inner = inner
        self._file = VectorFile(path, inner.dims, max_entries)
        self._lock = threading.Lock()
        self._memory: LRUCache[bytes, Vector] = LRUCache(max(1, min(MEMORY_ENTRIES, max_entries)))
        self._pending: dict[bytes, Future[Vector]] = {}
        self._writer: ThreadPoolExecutor | None = None
        self._closed = False

    @property
    def model(self) -> str:
        return self._inner.model

    @property
    def dims(self) -> int:
        return self._inner.dims

    @property
    def degraded(self) -> tuple[str, ...]:
        """Why the inner embedder's last vectors are not from where they should be."""
        reasons: tuple[str, ...] = getattr(self._inner, "degraded", ())
        return reasons

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the inner embedder; texts seen before come from the cache.

        Raises:
            InputError: something in ``texts`` is not a string.
            ResourceClosedError: after `aclose`.
            RagError: what the inner embedder raises.
        """
        import numpy as np

        if self._closed:
            raise ResourceClosedError("The embedder was used after it was closed.")
        keys = [_key(self.model, text) for text in _checked(texts)]
        wanted = dict(zip(keys, texts, strict=True))
        found: dict[bytes, Vector] = {}
        while len(found) < len(wanted):
            before = len(found)
            mine, others = self._claim([key for key in wanted if key not in found], found)
            _count("hit", len(wanted) - len(mine) - len(others) - before)
            if mine:
                await self._resolve({key: wanted[key] for key in mine}, mine, found)
            for key, future in others.items():
                try:
                    found[key] = await asyncio.shield(asyncio.wrap_future(future))
                except _Abandoned:
                    continue
        return np.stack([found[key] for key in keys]) if keys else np.empty((0, self.dims), np.float32)

    async def aclose(self) -> None:
        """Write what is still to be written and close, the inner embedder too. Again is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.to_thread(writer.shutdown)
        await asyncio.to_thread(self._file.close)
        await self._inner.aclose()

    def _claim(self, keys: Sequence[bytes], found: dict[bytes, Vector]) -> tuple[dict[bytes, Future[Vector]], dict[bytes, Future[Vector]]]:
        """Take from memory what is there; split the rest into what this caller embeds and what others already do."""
        mine: dict[bytes, Future[Vector]] = {}
        others: dict[bytes, Future[Vector]] = {}
        with self._lock:
            for key in keys:
                if key in self._memory:
                    found[key] = self._memory[key]
                elif key in self._pending:
                    others[key] = self._pending[key]
                else:
                    mine[key] = self._pending[key] = Future()
        return mine, others

    async def _resolve(self, texts: dict[bytes, str], mine: dict[bytes, Future[Vector]], found: dict[bytes, Vector]) -> None:
        """Read or embed what this caller claimed, and hand it to whoever waits for it."""
        failure: BaseException = _Abandoned()
        done: dict[bytes, Vector] = {}
        try:
            stored = await asyncio.to_thread(self._file.read, list(texts))
            fresh = await self._embed({key: text for key, text in texts.items() if key not in stored})
            done = stored | fresh
            _count("hit", len(stored))
            _count("miss", len(fresh))
            found |= done
            self._write_behind(fresh, list(stored))
        except Exception as error:
            failure = error
            raise
        finally:
            with self._lock:
                self._memory.update(done)
                for key in mine:
                    del self._pending[key]
            for key, future in mine.items():
                if key in done:
                    future.set_result(done[key])
                else:
                    future.set_exception(failure)

    async def _embed(self, texts: dict[bytes, str]) -> dict[bytes, Vector]:
        if not texts:
            return {}
        vectors = await self._inner.embed(list(texts.values()))
        return {key: vector.copy() for key, vector in zip(texts, vectors, strict=True)}

    def _write_behind(self, fresh: dict[bytes, Vector], touched: list[bytes]) -> None:
        with self._lock:
            if self._closed:
                return
            if self._writer is None:
                self._writer = ThreadPoolExecutor(1, thread_name_prefix="rag-embed-cache")
            self._writer.submit(self._file.write, fresh, touched)


def _count(outcome: str, texts: int) -> None:
    if texts:
        metrics.count("rag.cache.requests", texts, {"rag.cache": "embeddings", "rag.outcome": outcome})


def _key(model: str, text: str) -> bytes:
    return hashlib.sha256(f"{model}\0{text}".encode("utf-8", "surrogatepass")).digest()


def _checked(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str):
        raise InputError("embed() takes a list of texts, not one text.", hint="Wrap it in a list.")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"Text {place} of {len(texts)} to embed is of type {type(text).__name__}, not str.")
    return texts
