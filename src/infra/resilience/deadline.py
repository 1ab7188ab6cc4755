"""A deadline that travels: set once at the edge, seen by every layer and task below.

It lies in a context variable, so tasks and `asyncio.to_thread` inherit it. A deadline within a deadline can only shorten.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass

from ...errors import DeadlineExceededError

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on a clock, and what was to be done by then."""

    at: float
    seconds: float
    doing: str
    clock: Clock = time.monotonic

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - self.clock()

    def error(self, doing: str = "") -> DeadlineExceededError:
        """The error to raise once it has passed."""
        what = f"{self.doing} did not end within {self.seconds:g} s" if self.doing else f"The deadline of {self.seconds:g} s has passed"
        return DeadlineExceededError(f"{what}{f'; it was {doing}' if doing else ''}.", hint="Try again, or allow more time.")


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def sooner(outer: Deadline | None, inner: Deadline) -> Deadline:
    """Which of two holds: the one that has less time left."""
    return outer if outer is not None and outer.remaining() <= inner.remaining() else inner


@contextmanager
def deadline(seconds: float, doing: str = "", *, clock: Clock = time.monotonic) -> Iterator[Deadline]:
    """Within it nothing may take longer; yields the deadline that holds, which may be an outer one.

    It interrupts nothing by itself: clients ask `remaining` and `clip`, and `enforced` interrupts what it surrounds.

    Args:
        doing: what the time is for, as the beginning of the error's sentence: ``The search``.
    """
    holds = sooner(_current.get(), Deadline(clock() + seconds, seconds, doing, clock))
    token = _current.set(holds)
    try:
        yield holds
    finally:
        _current.reset(token)


def current() -> Deadline | None:
    """The deadline that holds here."""
    return _current.get()


def detached() -> Context:
    """This context without its deadline: for work that several wait for, which must not end with the first one's time."""
    context = copy_context()
    context.run(_current.set, None)
    return context


def remaining() -> float | None:
    """Seconds left, at least 0; None where there is no deadline."""
    holds = _current.get()
    return None if holds is None else max(0.0, holds.remaining())


def clip(seconds: float, doing: str = "") -> float:
    """Seconds that a step may take: what it would like, or what the deadline leaves.

    Raises:
        DeadlineExceededError: nothing is left.
    """
    holds = _current.get()
    if holds is None:
        return seconds
    left = holds.remaining()
    if left <= 0:
        raise holds.error(doing)
    return min(seconds, left)


def check(doing: str = "") -> None:
    """Raise `DeadlineExceededError` if the deadline has passed."""
    holds = _current.get()
    if holds is not None and holds.remaining() <= 0:
        raise holds.error(doing)


@asynccontextmanager
async def enforced(doing: str = "") -> AsyncIterator[None]:
    """Interrupt what is within at the deadline.

    Raises:
        DeadlineExceededError: it was interrupted.
    """
    holds = _current.get()
    if holds is None:
        yield
        return
    limit = asyncio.timeout(max(0.0, holds.remaining()))
    try:
        async with limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise holds.error(doing) from None
        raise
