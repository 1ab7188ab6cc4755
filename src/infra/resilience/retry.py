"""Repeating what failed: full jitter, a cap on attempts, and a budget that keeps repeats from multiplying an outage.

Full jitter (a uniform draw between nothing and the exponential ceiling) spreads the repeats of many clients best: M. Brooker,
"Exponential Backoff and Jitter", AWS Architecture Blog, 2015. The budget is a share of the requests, as in Finagle and gRPC:
with plain attempts every layer multiplies the load on a service that has just failed.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from .deadline import remaining

BASE_S = 0.1
CAP_S = 5.0
MAX_RETRY_AFTER_S = 60.0
"""A server's `Retry-After` beyond this is not waited for."""


class _Switch:
    waits = True


@contextmanager
def without_waiting() -> Iterator[None]:
    """For tests: within it, in every thread, repeats follow at once. Attempts and budgets hold as ever."""
    before, _Switch.waits = _Switch.waits, False
    try:
        yield
    finally:
        _Switch.waits = before


def delay(attempt: int, uniform: Callable[[], float], *, base_s: float = BASE_S, cap_s: float = CAP_S) -> float:
    """Seconds to wait after the failed attempt number ``attempt`` (from 1): full jitter.

    Args:
        uniform: draws from [0, 1), such as `random.random`.
    """
    return uniform() * min(cap_s, base_s * 2.0 ** min(attempt - 1, 60))


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (seconds or an HTTP date); None where it is missing or unreadable.

    Args:
        now: seconds since the epoch.
    """
    text = (value or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now)


def half() -> float:
    """Draws from [0.5, 1), for waits on somebody else's work: a draw close to nothing would only ask once more in vain."""
    return 0.5 + random.random() / 2  # noqa: S311 - jitter is no secret


class RetryBudget:
    """How many repeats a client may afford: a share of its requests, and a trickle so that a quiet client may repeat too.

    However much fails, within ``t`` seconds and ``n`` requests at most ``reserve + share * n + per_s * t`` repeats are made.

    Args:
        share: repeats that each request pays for.
        per_s: repeats that each second pays for.
        reserve: repeats that can be saved up; there at the start.
    """

    def __init__(self, *, share: float = 0.1, per_s: float = 0.5, reserve: float = 20.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._share, self._per_s, self._reserve = share, per_s, reserve
        self._clock = clock
        self._saved = reserve
        self._since = clock()
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """One request is made. Without the lock: a deposit lost between threads costs a tenth of a repeat, a lock 0.1 µs a request."""
        if self._saved < self._reserve:
            self._saved = min(self._reserve, self._saved + self._share)

    def withdraw(self) -> bool:
        """May one more repeat be made?"""
        with self._lock:
            now = self._clock()
            saved = min(self._reserve, self._saved + (now - self._since) * self._per_s)
            self._since = now
            self._saved = saved - 1 if saved >= 1 else saved
            return saved >= 1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how far apart."""

    max_retries: int | None
    """None: without end; whoever asks ends it."""
    base_s: float = BASE_S
    cap_s: float = CAP_S
    uniform: Callable[[], float] = random.random
    patience_s: float = 0.0
    """Beyond `max_retries`, repeats go on for so long from `start`."""

    def start(self, budget: RetryBudget | None = None) -> Retries:
        """The repeats of one request.

        Args:
            budget: what they are paid from; None for those that nobody else's repeats come on top of.
        """
        return Retries(self, budget)


class Retries:
    """Counts and spaces the repeats of one request."""

    def __init__(self, policy: RetryPolicy, budget: RetryBudget | None = None) -> None:
        self._policy = policy
        self._budget = budget
        self._began = time.monotonic()
        self._left_out = 0.0
        self.made = 0
        self.waited_s = 0.0
        """All waits together."""

    def take(self) -> bool:
        """Claim one more repeat; False where attempts, patience or budget are spent."""
        if not self._may() or not (self._budget is None or self._budget.withdraw()):
            return False
        self.made += 1
        return True

    def _may(self) -> bool:
        most = self._policy.max_retries
        return most is None or self.made < most or time.monotonic() - self._began + self._left_out < self._policy.patience_s

    async def pause(self, after_s: float | None = None, *, within_s: float | None = None) -> bool:
        """Wait before the repeat that was taken; False, at once, where the wait alone would outlast the time that is left.

        Args:
            after_s: the least wait, as the server asked for it.
            within_s: seconds left for the whole request, beside the deadline of the context.
        """
        wait = delay(self.made, self._policy.uniform, base_s=self._policy.base_s, cap_s=self._policy.cap_s)
        wait = max(wait, after_s or 0.0)
        left = min((time_left for time_left in (within_s, remaining()) if time_left is not None), default=None)
        if wait > MAX_RETRY_AFTER_S or (left is not None and wait >= left):
            return False
        self.waited_s += wait
        if not _Switch.waits:  # patience is spent as if it had been waited for
            self._left_out += wait
        await asyncio.sleep(wait if _Switch.waits else 0)
        return True

    async def again(self, after_s: float | None = None, *, within_s: float | None = None) -> bool:
        """Claim one more repeat and wait for its turn; False, at once, where there is none. Arguments as of `pause`."""
        return self.take() and await self.pause(after_s, within_s=within_s)
