"""Work for an answer that is not streamed, ended when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..util.aio import stopped

T = TypeVar("T")

CLIENT_CLOSED = 499
"""What the access log says of a caller that did not wait (nginx's number; nobody receives it)."""


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of ``work``, which is cancelled, and waited for, once the caller has closed the connection.

    Raises:
        HTTPException: the caller is gone.
    """
    running = asyncio.create_task(work)
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((running, leaving), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return await running
        raise HTTPException(CLIENT_CLOSED, "The caller closed the connection.")
    finally:
        await stopped(running, leaving)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
