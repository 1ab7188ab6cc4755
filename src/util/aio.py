"""One background event loop, shared by all synchronous callers."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_inherited: list[asyncio.AbstractEventLoop] = []
"""Loops of the processes that this one was forked from: without a thread here, and never let go of, because what Python would
clear up with them (selector, sockets) is shared with the parent, which goes on."""


def _after_fork() -> None:
    """A forked child has the parent's loop, but not the thread that turns it; nor the one that may have held the lock."""
    global _lock, _loop  # noqa: PLW0603 - see `background_loop`
    _lock = threading.Lock()
    if _loop is not None:
        _inherited.append(_loop)
        _loop = None


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_after_fork)


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop, started on first use in a daemon thread; a forked child starts its own."""
    global _loop  # noqa: PLW0603 - one loop a process is the point
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="rag-aio", daemon=True).start()
        return _loop


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and wait for its result.

    Raises:
        RuntimeError: called from that loop itself, which would wait for ever.
    """
    loop = background_loop()
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if running is loop:
        coroutine.close()
        raise RuntimeError("run_sync was called from the background loop; await the coroutine instead")
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def stopped(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, once, and wait until they have cleaned up; their outcomes are theirs to read.

    However often the caller is cancelled meanwhile, they are not: `asyncio.gather` would pass each cancel on to them, and anyio, under
    which MCP's calls run, cancels again at every turn of the loop. The caller's own is raised when they have ended.
    """
    for task in tasks:
        task.cancel()
    again: asyncio.CancelledError | None = None
    while going := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(going)
        except asyncio.CancelledError as error:
            again = error
    if again is not None:
        raise again
