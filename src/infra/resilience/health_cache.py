"""A check that many may ask for and few pay for: kept for a while, one flight at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from .deadline import detached, enforced

T = TypeVar("T")


class HealthCache(Generic[T]):
    """Keeps the outcome of a check, an error as well, for ``ttl_s`` seconds.

    While a check runs, others in the same event loop wait for it instead of starting their own. Who gives up waiting, or whose
    deadline passes, ends only their own wait: the check has no deadline but its own. A cancelled check is not kept.

    Args:
        check: returns what there is to know, or raises.
        failed_ttl_s: seconds that an error is kept; by default ``ttl_s``, with 0 only those who waited for it get it.
    """

    def __init__(
        self,
        check: Callable[[], Awaitable[T]],
        ttl_s: float,
        *,
        failed_ttl_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._check = check
        self._ttl_s = ttl_s
        self._failed_ttl_s = ttl_s if failed_ttl_s is None else failed_ttl_s
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[float, T | None, Exception | None] | None = None
        self._flights: dict[asyncio.AbstractEventLoop, asyncio.Task[T]] = {}

    async def get(self) -> T:
        """What the check found, now or up to ``ttl_s`` seconds ago; raises what it raised.

        Raises:
            DeadlineExceededError: the caller's deadline passed before the check ended.
        """
        kept = self._kept
        if kept is not None and self._clock() < kept[0]:
            if kept[2] is not None:
                raise kept[2].with_traceback(None)
            return kept[1]  # type: ignore[return-value]  # T may itself include None
        async with enforced("waiting for a check of the service"):
            return await asyncio.shield(self._flight())

    def forget(self) -> None:
        """The next `get` checks anew."""
        self._kept = None

    def _flight(self) -> asyncio.Task[T]:
        loop = asyncio.get_running_loop()
        with self._lock:
            for gone in [other for other in self._flights if other.is_closed()]:
                del self._flights[gone]
            if loop not in self._flights:
                task = self._flights[loop] = loop.create_task(self._run(loop), context=detached())
                task.add_done_callback(_seen)
            return self._flights[loop]

    async def _run(self, loop: asyncio.AbstractEventLoop) -> T:
        try:
            found = await self._check()
        except Exception as error:
            self._kept = (self._clock() + self._failed_ttl_s, None, error)
            raise
        else:
            self._kept = (self._clock() + self._ttl_s, found, None)
            return found
        finally:
            with self._lock:
                self._flights.pop(loop, None)


def _seen(task: asyncio.Task[T]) -> None:
    """Take note of the error, so that asyncio does not report one for which nobody waits any more."""
    if not task.cancelled():
        task.exception()
