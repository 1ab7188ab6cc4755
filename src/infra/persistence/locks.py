"""One turn at a time on each thread, in this process and among all that share the data folder."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

POLL_S = 0.05
"""Seconds between two looks at a lock that another process holds; a turn takes seconds."""

Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class ThreadLocks:
    """A lock for each key that is in use; whoever waits is served in order, also across event loops.

    Args:
        folder: where a key that is held also has a lock file, for other processes; None where there can be none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._queues: dict[str, deque[Waiter]] = {}

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Wait until nobody else holds ``key``, then hold it. Among processes nobody is first in line.

        Raises:
            StorageError: kinds of it; the lock file cannot be made.
        """
        turn = self._enqueue(key)
        if turn is not None:
            try:
                await turn
            except BaseException:
                self._give_up(key, turn)
                raise
        try:
            async with _file_held(self._folder, key):
                yield
        finally:
            self._release(key)

    def _enqueue(self, key: str) -> asyncio.Future[None] | None:
        with self._guard:
            if key not in self._queues:
                self._queues[key] = deque()
                return None
            loop = asyncio.get_running_loop()
            turn: asyncio.Future[None] = loop.create_future()
            self._queues[key].append((loop, turn))
            return turn

    def _give_up(self, key: str, turn: asyncio.Future[None]) -> None:
        """Leave the queue; where the turn had come at the very moment of cancelling, pass it on."""
        with self._guard:
            queue = self._queues.get(key, deque())
            waiting = [item for item in queue if item[1] is turn]
            for item in waiting:
                queue.remove(item)
        if not waiting:
            self._release(key)

    def _release(self, key: str) -> None:
        with self._guard:
            queue = self._queues[key]
            while queue:
                loop, turn = queue.popleft()
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_wake, turn)
                    return
            del self._queues[key]


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


@asynccontextmanager
async def _file_held(folder: Path | None, key: str) -> AsyncIterator[None]:
    if folder is None:
        yield
        return
    path = folder / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    while (descriptor := await _uninterrupted(path)) is None:  # noqa: ASYNC110 - no event of ours tells that another process let go
        await asyncio.sleep(POLL_S)
    try:
        yield
    finally:
        _unlock(path, descriptor)


async def _uninterrupted(path: Path) -> int | None:
    """`_try_lock` in a thread; whoever is cancelled meanwhile leaves no lock behind."""
    attempt = asyncio.ensure_future(asyncio.to_thread(_try_lock, path))
    try:
        return await asyncio.shield(attempt)
    except asyncio.CancelledError:
        attempt.add_done_callback(lambda done: _unlock_result(path, done))
        raise


def _unlock_result(path: Path, done: asyncio.Future[int | None]) -> None:
    if not done.cancelled() and done.exception() is None and (descriptor := done.result()) is not None:
        _unlock(path, descriptor)


def _try_lock(path: Path) -> int | None:
    """The descriptor of a lock file that is ours now; None while another holds it. The kernel frees that of a dead process."""
    from .sqlite import storage_errors

    with storage_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass  # held, or removed by the one who just let go of it: the next attempt makes a new file
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    return None


def _unlock(path: Path, descriptor: int) -> None:
    """Nothing is awaited here: it must happen, whatever was cancelled. Removed while still held, so nobody's file is."""
    with suppress(OSError):
        path.unlink()
    os.close(descriptor)
