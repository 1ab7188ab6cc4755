"""Servers of the emulators, beside a test that may block: an event loop in a thread of its own, or a thread for each connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextmanager
def listening(
    serve: Serve, writers: set[asyncio.StreamWriter], *tls: ssl.SSLContext | None, port: int = 0, path: Path | None = None
) -> Iterator[tuple[int, ...]]:
    """The ports of one server for each TLS context (None: plain); at the end connections in ``writers`` are cut.

    ``port``: of the first, instead of a free one. ``path``: a unix socket that is served as well, without TLS.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers: list[asyncio.Server] = []
    try:
        for context in tls:
            start = asyncio.start_server(serve, "127.0.0.1", 0 if servers else port, ssl=context)
            servers.append(asyncio.run_coroutine_threadsafe(start, loop).result())
        ports = tuple(server.sockets[0].getsockname()[1] for server in servers)
        if path is not None:
            servers.append(asyncio.run_coroutine_threadsafe(asyncio.start_unix_server(serve, path), loop).result())
        yield ports
    finally:
        asyncio.run_coroutine_threadsafe(_stop(servers, writers), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _stop(servers: list[asyncio.Server], writers: set[asyncio.StreamWriter]) -> None:
    for server in servers:
        server.close()
    for writer in list(writers):
        writer.transport.abort()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def conversing(serve: Callable[[socket.socket], None], conversations: set[socket.socket]) -> Iterator[int]:
    """The port of a server that holds each conversation in a thread; at the end those in ``conversations`` are cut, and all threads are over."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    conversation, _ = listener.accept()
                    threads.append(threading.Thread(target=serve, args=(conversation,)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for conversation in list(conversations):
                with suppress(OSError):
                    conversation.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
