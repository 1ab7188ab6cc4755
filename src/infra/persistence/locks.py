"""One turn at a time on each thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class ThreadLocks:
    """A lock for each key that is in use; whoever waits is served in order, also across event loops."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._queues: dict[str, deque[Waiter]] = {}

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Wait until nobody else holds ``key``, then hold it."""
        turn = self._enqueue(key)
        if turn is not None:
            try:
                await turn
            except BaseException:
                self._give_up(key, turn)
                raise
        try:
            yield
        finally:
            self._release(key)

    def _enqueue(self, key: str) -> asyncio.Future[None] | None:
        with self._guard:
            if key not in self._queues:
                self._queues[key] = deque()
                return None
            loop = asyncio.get_running_loop()
            turn: asyncio.Future[None] = loop.create_future()
            self._queues[key].append((loop, turn))
            return turn

    def _give_up(self, key: str, turn: asyncio.Future[None]) -> None:
        """Leave the queue; where the turn had come at the very moment of cancelling, pass it on."""
        with self._guard:
            queue = self._queues.get(key, deque())
            waiting = [item for item in queue if item[1] is turn]
            for item in waiting:
                queue.remove(item)
        if not waiting:
            self._release(key)

    def _release(self, key: str) -> None:
        with self._guard:
            queue = self._queues[key]
            while queue:
                loop, turn = queue.popleft()
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_wake, turn)
                    return
            del self._queues[key]


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
