"""How much a request may send and how long it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import DeadlineExceededError, PayloadTooLargeError, RagError, ServiceUnavailableError
from .problems import respond_to

LimitOf = Callable[[Scope], tuple[int, str]]
"""The largest body of a request in bytes, and the setting that says so."""


class BodyLimit:
    """Refuses bodies over the limit with 413: by their ``Content-Length`` at once, else as soon as the bytes counted pass it."""

    def __init__(self, app: ASGIApp, limit_of: LimitOf) -> None:
        self.app = app
        self.limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit, setting = self.limit_of(scope)
        error = PayloadTooLargeError(f"The request is larger than {limit} bytes.", setting=setting, hint="Send less at once, or raise the setting.")
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
            await respond_to(error, scope)(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                # Only this kind of exception passes through the framework's reading of a body; the handler looks at its cause.
                raise HTTPException(413) from error
            return message

        await self.app(scope, counted, send)


class Stopping:
    """Lets what is waited for know that the server stops before it is ready."""

    def __init__(self) -> None:
        self.told = False
        self._timers: set[asyncio.Timeout] = set()

    @contextmanager
    def ends(self, timer: asyncio.Timeout) -> Iterator[None]:
        """Within the timer's block: have it run out at once when the server stops."""
        self._timers.add(timer)
        if self.told:
            timer.reschedule(0)
        try:
            yield
        finally:
            self._timers.discard(timer)

    def tell(self) -> None:
        """The server stops: all timers run out, except those that were switched off."""
        self.told = True
        for timer in self._timers:
            if timer.when() is not None and not timer.expired():
                timer.reschedule(0)

    def late(self, seconds: float) -> RagError:
        """Why a timer ran out: the server stops, or it was the time of a request."""
        return server_stopped() if self.told else deadline_error(seconds)


class Deadline:
    """Ends a request that has not begun to answer in time with 504, or with 503 when the server stops. Streams mind both themselves once they run."""

    def __init__(self, app: ASGIApp, seconds: float, stopping: Stopping | None = None) -> None:
        self.app = app
        self.seconds = seconds
        self.stopping = stopping or Stopping()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        timer = asyncio.timeout(self.seconds)

        async def begun(message: Message) -> None:
            if message["type"] == "http.response.start" and not timer.expired():
                timer.reschedule(None)
            await send(message)

        try:
            async with timer:
                with self.stopping.ends(timer):
                    await self.app(scope, receive, begun)
        except TimeoutError:
            if not timer.expired():
                raise
            await respond_to(self.stopping.late(self.seconds), scope)(scope, receive, send)


def deadline_error(seconds: float) -> DeadlineExceededError:
    """What a request that took too long is told."""
    return DeadlineExceededError(
        f"The request took longer than {seconds:g} seconds.", setting="api.request_timeout_s", hint="Ask for less at once, or raise the setting."
    )


class ServerStoppedError(ServiceUnavailableError):
    """The server stops; ``reason`` tells a client that the question can be asked again once it is back."""

    reason = "stopped"


def server_stopped() -> ServiceUnavailableError:
    """What is told of an answer that was not ready when the server stopped."""
    return ServerStoppedError("The server stopped before the answer was ready.", hint="Ask again.")
