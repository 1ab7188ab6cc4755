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
        tasks = {asyncio.create_task(work) for work in (self._pump(send), _gone(receive), _keep_alive(send))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._events) as events:
            async for chunk in events:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _keep_alive(send: Send) -> None:
    while True:
        await asyncio.sleep(KEEP_ALIVE_S)
        with suppress(OSError):
            await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})
