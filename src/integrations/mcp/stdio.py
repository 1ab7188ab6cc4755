"""MCP over standard input and output: one client, which started this process, under one identity."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from ..extras import needs_extra

if TYPE_CHECKING:
    from ...core.identity import Identity
    from ...infra.resource_manager import ResourceManager

_BLOCK = 65536


class Lines:
    """Lines of a file descriptor as they come, until its end or `end`.

    Read by a thread of its own that nobody waits for: the library's reader holds the process until the client's next
    line, whatever signal it was sent.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        threading.Thread(target=self._read, name="rag-mcp-stdin", daemon=True).start()

    def end(self) -> None:
        """No more lines, as if the client had closed its side."""
        self._queue.put_nowait(None)

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> str:
        line = await self._queue.get()
        if line is None:
            raise StopAsyncIteration
        return line

    def _read(self) -> None:
        kept: list[bytes] = []
        with suppress(OSError, RuntimeError):  # RuntimeError: the loop is closed, and nobody listens any more
            while block := os.read(self._descriptor, _BLOCK):
                *whole, rest = block.split(b"\n")
                for piece in whole:
                    self._put(b"".join([*kept, piece]).decode("utf-8", "replace"))
                    kept = []
                kept.append(rest)
        with suppress(RuntimeError):
            self._put(None)

    def _put(self, line: str | None) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, line)


async def serve_stdio(resources: ResourceManager, identity: Identity) -> None:
    """Serve until the client closes its side, or SIGTERM or Ctrl-C. Standard output is the protocol's alone.

    Raises:
        MissingExtraError: the extra ``mcp`` is not installed.
    """
    with needs_extra("mcp", "The MCP server"):
        from mcp.server.stdio import stdio_server

        from .server import build_server
    server = build_server(resources, lambda: identity)
    with _private_stdin() as descriptor:
        lines = Lines(descriptor)
        with _ended_by_signals(lines):
            async with stdio_server(stdin=cast("Any", lines)) as (incoming, outgoing):  # of a file it takes the lines alone
                await server.run(incoming, outgoing, server.create_initialization_options())


@contextmanager
def _private_stdin() -> Iterator[int]:
    """A descriptor of the client's side; what else reads standard input in here finds its end."""
    private = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    try:
        yield private
    finally:
        os.dup2(private, 0)  # `private` itself stays open: the thread may still read from it


@contextmanager
def _ended_by_signals(lines: Lines) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, lines.end)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
