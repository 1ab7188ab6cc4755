"""What a call to a model was waiting for: the `openai` client repeats by itself, so at the deadline nothing else can tell.

Without it a model without room (429) that is asked again until the time is over, an address where nobody listens, and an identity
that gives no token would all be "the model did not answer in time".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ..http_transport import PolicyTransport
from ..resilience.retry import retry_after

if TYPE_CHECKING:
    import httpx2

_current: ContextVar[Attempts | None] = ContextVar("_current", default=None)


@dataclass(slots=True)
class Attempts:
    """The attempts of one call.

    Args:
        ends: on the event loop's clock; no attempt is begun of which it is known that it would come later.
    """

    ends: float
    waiting: Literal["", "token", "answer"] = ""
    """What for; empty between two attempts."""
    identity: str = ""
    """The hop that was asked for a token."""
    status: int | None = None
    """Of the last answer, where one came."""
    retry_after: str = ""
    failure: Exception | None = field(default=None, repr=False)
    """What the last attempt failed with, where no answer came."""

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Around the call."""
        before = _current.set(self)
        try:
            yield
        finally:
            _current.reset(before)


@contextmanager
def asking_for_token(hop: str) -> Iterator[None]:
    """Around the wait for a token. Cancelled within, as at the deadline, the call goes on to wait for it."""
    attempts = _current.get()
    if attempts is None:
        yield
        return
    attempts.waiting, attempts.identity = "token", hop
    try:
        yield
    except Exception:
        attempts.waiting = ""
        raise
    attempts.waiting = ""


class NotingTransport(PolicyTransport):
    """A transport that notes how each attempt ended."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        attempts = _current.get()
        if attempts is None:
            return await super().handle_async_request(request)
        attempts.waiting, attempts.status, attempts.failure = "answer", None, None
        try:
            response = await super().handle_async_request(request)
        except Exception as error:
            attempts.waiting, attempts.failure = "", error
            raise
        if response.status_code >= 400:
            _note(attempts, response)
        return response


def _note(attempts: Attempts, response: httpx2.Response) -> None:
    attempts.waiting, attempts.status = "", response.status_code
    attempts.retry_after = response.headers.get("retry-after", "")
    wait_s = _milliseconds(response) or retry_after(attempts.retry_after, time.time())
    if wait_s is not None and wait_s >= attempts.ends - asyncio.get_running_loop().time():
        response.headers["x-should-retry"] = "false"  # the client's own word for it: the answer is told now, not when the time is over


def _milliseconds(response: httpx2.Response) -> float | None:
    """Seconds that Azure's own header asks for, which the client prefers."""
    text = response.headers.get("retry-after-ms", "")
    return float(text[:12]) / 1000 if text.isascii() and text.isdigit() else None
