"""What a call to a model was waiting for: the `openai` client repeats by itself, so at the deadline nothing else can tell.

Without it a model without room (429) that is asked again until the time is over, an address where nobody listens, and an identity
that gives no token would all be "the model did not answer in time".
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ..http_transport import PolicyTransport
from ..resilience.retry import retry_after

if TYPE_CHECKING:
    import httpx2
    from pydantic import SecretStr

CLIENT_WAITS_S = 120.0
"""The `openai` client repeats nothing after which it was asked to wait longer; the rest is waited for here."""
_current: ContextVar[Attempts | None] = ContextVar("_current", default=None)


@dataclass(slots=True)
class Attempts:
    """The attempts of one call.

    Args:
        ends: on the event loop's clock; no attempt is begun of which it is known that it would come later.
        max_retries: what the client may repeat.
    """

    ends: float
    max_retries: int = 0
    waiting: Literal["", "token", "secret", "answer"] = ""
    """What for; empty between two attempts."""
    identity: str = ""
    """The hop that was asked for a token."""
    secret: SecretStr | None = None
    """What its vault was asked for."""
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
    attempts.identity = hop
    with _waiting(attempts, "token"):
        yield


@contextmanager
def asking_for_secret(secret: SecretStr) -> Iterator[None]:
    """Around the wait for a secret that a vault may have to give, likewise."""
    attempts = _current.get()
    if attempts is None:
        yield
        return
    attempts.secret = secret
    with _waiting(attempts, "secret"):
        yield


@contextmanager
def _waiting(attempts: Attempts, what: Literal["token", "secret"]) -> Iterator[None]:
    attempts.waiting = what
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
            await _note(attempts, request, response)
        return response

    def _body_ends(self) -> float:
        """A call's time goes on from its first attempt: a streamed answer ends with it, without a timer of its own for each piece."""
        attempts = _current.get()
        return super()._body_ends() if attempts is None else attempts.ends


async def _note(attempts: Attempts, request: httpx2.Request, response: httpx2.Response) -> None:
    attempts.waiting, attempts.status = "", response.status_code
    attempts.retry_after = response.headers.get("retry-after", "")
    wait_s = asked_wait(response.headers, time.time())
    if wait_s is None:
        return
    if wait_s >= attempts.ends - asyncio.get_running_loop().time():
        response.headers["x-should-retry"] = "false"  # the client's own word for it: the answer is told now, not when the time is over
    elif wait_s > CLIENT_WAITS_S and _is_repeated(attempts, request, response):
        await response.aread()  # so that its connection is free meanwhile
        await asyncio.sleep(wait_s - CLIENT_WAITS_S)
        response.headers["retry-after-ms"] = str(CLIENT_WAITS_S * 1000)


def _is_repeated(attempts: Attempts, request: httpx2.Request, response: httpx2.Response) -> bool:
    """Whether the client will send the request again, but for the wait."""
    taken = request.headers.get("x-stainless-retry-count", "")
    left = attempts.max_retries > (int(taken) if taken.isdecimal() else 0)
    said = response.headers.get("x-should-retry")
    return left and said != "false" and (said == "true" or response.status_code in (408, 409, 429) or response.status_code >= 500)


def asked_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that an answer asks to wait, read as the client reads them: milliseconds (Azure's own header) before seconds, decimals in
    both, then a date; None where nothing readable is asked.

    Args:
        now: seconds since the epoch.
    """
    for name, divisor in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers[name]) / divisor
        except (KeyError, ValueError):
            continue
        return None if math.isnan(seconds) else max(0.0, seconds)
    return retry_after(headers.get("retry-after"), now)
