"""Work on texts one by one, on a few threads: the texts of one call side by side, short calls before long ones."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")

SHORT = 4
"""A call of up to this many texts overtakes longer ones: a question waits for the text that is being worked on (10 ms), not
for an ingestion."""


class _Call(Generic[T]):
    """The texts of one call, what has come of them, and the promise that waits for the last."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.taken = 0
        self.left = len(texts)
        self.results: dict[int, T] = {}
        self.done: Future[None] = Future()


class TextQueue(Generic[T]):
    """Threads that take text after text, without asking the event loop in between: to go through it for every text cost
    2% of the processor's time, and threads stood still meanwhile.

    Args:
        threads: texts worked on at once.
        work: what is done with a text, in a thread.
        closed: the error of calls that closing cuts off.
    """

    def __init__(self, threads: int, work: Callable[[str], T], closed: Callable[[], Exception]) -> None:
        self._threads = threads
        self._work = work
        self._closed_error = closed
        self._lock = threading.Lock()
        self._short: deque[_Call[T]] = deque()
        self._long: deque[_Call[T]] = deque()
        self._executor: ThreadPoolExecutor | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """Texts that no thread has taken yet."""
        with self._lock:
            return sum(len(call.texts) - call.taken for calls in (self._short, self._long) for call in calls)

    async def run(self, texts: Sequence[str]) -> list[T]:
        """What ``work`` makes of each text, in order. Cancelled, it leaves out what has not begun.

        Raises:
            Exception: what ``work`` raises, or ``closed`` gives.
        """
        call: _Call[T] = _Call(texts)
        if texts:
            self._add(call)
            await asyncio.wrap_future(call.done)
        return [call.results[place] for place in range(len(texts))]

    def close(self) -> None:
        """End the threads; waits for the texts that are being worked on. Again is harmless."""
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
            calls = [*self._short, *self._long]
            self._short.clear()
            self._long.clear()
        for call in calls:
            _settle(call, self._closed_error())
        if executor is not None:
            executor.shutdown()

    def _add(self, call: _Call[T]) -> None:
        with self._lock:
            if self._closed:
                raise self._closed_error()
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="rag-embed")
            (self._short if len(call.texts) <= SHORT else self._long).append(call)
            for _ in range(min(self._threads, len(call.texts))):
                self._executor.submit(self._drain)

    def _drain(self) -> None:
        """Take texts until none is left; every call brings a drain for each thread that it can use."""
        while (taken := self._take()) is not None:
            call, place = taken
            try:
                result = self._work(call.texts[place])
            except Exception as error:  # noqa: BLE001 - belongs to whoever waits for the call, whatever it is
                _settle(call, error)
                continue
            with self._lock:
                call.results[place] = result
                call.left -= 1
                last = call.left == 0
            if last:
                _settle(call, None)

    def _take(self) -> tuple[_Call[T], int] | None:
        with self._lock:
            for calls in (self._short, self._long):
                while calls:
                    call = calls[0]
                    if call.taken < len(call.texts) and not call.done.done():
                        call.taken += 1
                        return call, call.taken - 1
                    calls.popleft()
        return None


def _settle(call: _Call[T], error: Exception | None) -> None:
    with suppress(InvalidStateError):  # cancelled meanwhile, or failed already
        if error is None:
            call.done.set_result(None)
        else:
            call.done.set_exception(error)
