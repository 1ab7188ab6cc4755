"""Embeddings on this machine: all-MiniLM-L6-v2 in int8 on onnxruntime, without torch."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError, ResourceClosedError
from ...telemetry import metrics
from ...telemetry.calls import embeddings_call
from .minilm import DIMS, GRAPH_FILE, MAX_TOKENS, MODEL, prepare_model
from .text_queue import TextQueue
from .tokenizer import LazyTokenizer, encodable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

MAX_THREADS = 4
MAX_CHARACTERS = 100_000
"""Read of a text at most, to bound the tokenizer's work; 256 tokens of real text take about 1,200."""


class LocalEmbedder:
    """An `Embedder` on the processor.

    A vector depends on its text alone, never on batch, order or number of threads: each text runs by itself on one
    thread, several texts side by side. That is also the faster way (two cores, chunks of 200 tokens: 170/s, against 155/s
    with two threads inside one text, which falls to a third of that when the cores are shared).

    The model reads the first 256 tokens of a text. The empty text has a vector too; lone surrogates read as U+FFFD.

    Args:
        cache_dir: where the prepared model lies, or is made on first use.
        threads: texts embedded side by side; 0 takes the machine's cores, 4 at most.
    """

    def __init__(self, cache_dir: Path, threads: int = 0) -> None:
        self._cache_dir = cache_dir
        self._threads = threads or min(_cores(), MAX_THREADS)
        self._tokenizer = LazyTokenizer(cache_dir, MAX_TOKENS)
        self._lock = threading.Lock()
        self._session: InferenceSession | None = None
        self._queue = TextQueue(self._threads, self._embed_text, _used_after_close)
        metrics.watch("rag.queue.depth", self._queue, lambda queue: [(queue.waiting, {"rag.queue": "embed"})])
        self._closed = False

    @property
    def model(self) -> str:
        return MODEL

    @property
    def dims(self) -> int:
        return DIMS

    @property
    def threads(self) -> int:
        return self._threads

    @embeddings_call
    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (len(texts), 384), rows of length 1, in order.

        Raises:
            InputError: something in ``texts`` is not a string, or ``texts`` is itself one.
            ResourceClosedError: after `aclose`.
        """
        import numpy as np

        rows = await self._queue.run(_checked(texts))
        return np.stack(rows) if rows else np.empty((0, DIMS), np.float32)

    @property
    def closed(self) -> bool:
        return self._closed

    async def aclose(self) -> None:
        """Let go of model and threads. Again is harmless; a call under way ends with its vectors or `ResourceClosedError`."""
        with self._lock:
            self._closed = True
            self._session = None
        await asyncio.to_thread(self._queue.close)

    def load(self) -> None:
        """Load model and tokenizer now instead of at the first text."""
        self._get_session()
        self._tokenizer.get()

    def _embed_text(self, text: str) -> NDArray[np.float32]:
        import numpy as np

        session, tokenizer = self._get_session(), self._tokenizer.get()
        ids = tokenizer.encode(encodable(text[:MAX_CHARACTERS])).ids
        vector: NDArray[np.float32] = session.run(["vector"], {"ids": np.array([ids], np.int64)})[0][0]
        return vector

    def _get_session(self) -> InferenceSession:
        session = self._session
        if session is not None:
            return session
        with self._lock:
            self._check_open()
            if self._session is None:
                self._session = _open_session(prepare_model(self._cache_dir) / GRAPH_FILE)
            return self._session

    def _check_open(self) -> None:
        if self._closed:
            raise _used_after_close()


def _used_after_close() -> ResourceClosedError:
    return ResourceClosedError("The local embedder was used after it was closed.")


def _open_session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # one thread a text; a call brings its own, so this also keeps vectors bit-equal
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; its warnings are about devices that this build does not use
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise InputError("embed() takes a list of texts, not one text.", hint="Wrap it in a list.")
    found = list(texts)
    for place, text in enumerate(found):
        if not isinstance(text, str):
            raise InputError(f"Text {place} of {len(found)} to embed is of type {type(text).__name__}, not str.")
    return found


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
