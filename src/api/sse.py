"""Server-sent events: a response that stops its source as soon as the client is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

KEEP_ALIVE_S = 15.0
"""Proxies commonly close a connection that is silent for 60 s; a model may think longer."""
STILL_HERE = b": still here\n\n"


def event(name: str, data: Any, identifier: str = "") -> bytes:
    """One event. JSON holds no raw line break, so one ``data`` line is enough."""
    line = f"id: {identifier}\n" if identifier else ""
    return f"{line}event: {name}\ndata: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n".encode("utf-8", "replace")


def data_event(data: Any) -> bytes:
    """An event without a name, as OpenAI's streams have them."""
    return f"data: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n".encode("utf-8", "replace")


async def next_before(stream: AsyncIterator[T], due: float) -> T | None:
    """The next item, None at the end.

    Raises:
        TimeoutError: it has not come before ``due``, a time of the running loop.
    """
    async with asyncio.timeout_at(due):
        return await anext(stream, None)


class EventStream(Response):
    """Sends the events of a generator, which is closed before this returns: at its end, on an error, and on a disconnect."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(send)
        tasks = {asyncio.create_task(work) for work in (self._pump(body), _gone(receive), body.keep_alive())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _pump(self, body: _Body) -> None:
        await body.begin(self.status_code, self.raw_headers)
        async with aclosing(self._events) as events:
            async for chunk in events:
                await body.write(chunk)
        await body.end()


class _Body:
    """One response, one message at a time: its pieces, a sign of life when none has come for `KEEP_ALIVE_S`, and nothing outside of its two ends."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._turn = asyncio.Lock()
        self._open = False
        self._written_at = asyncio.get_running_loop().time()

    async def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        async with self._turn:
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            self._open = True

    async def write(self, piece: bytes) -> None:
        async with self._turn:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            self._written_at = asyncio.get_running_loop().time()

    async def end(self) -> None:
        async with self._turn:
            self._open = False
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def keep_alive(self) -> None:
        """Until cancelled. A client that is gone is for others to notice."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._written_at + KEEP_ALIVE_S - loop.time())
            async with self._turn:
                if loop.time() < self._written_at + KEEP_ALIVE_S:
                    continue
                if self._open:
                    with suppress(OSError):
                        await self._send({"type": "http.response.body", "body": STILL_HERE, "more_body": True})
                self._written_at = loop.time()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
