"""A connection that is made step by step, so that each step can be told from the next."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
MAX_HEAD = 65_536
STAGGER_S = 0.25


class Channel:
    """Bytes to and from a peer; `wrapped` puts TLS around them, also around TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """What has come; empty at the end."""
        return await self._reader.read(65_536)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        """Let go at once: nothing is under way."""
        self._writer.transport.abort()


class TlsChannel(Channel):
    """TLS over another channel, driven by hand: so the certificates of a failed handshake can still be looked at."""

    def __init__(self, below: Channel, context: ssl.SSLContext, name: str) -> None:
        self._below = below
        self.name = name
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    async def handshake(self) -> None:
        """Agree on keys and verify the peer.

        Raises:
            ssl.SSLError: as OpenSSL found; ConnectionResetError: the peer hung up.
        """
        await self._drive(self.tls.do_handshake)

    async def read(self) -> bytes:
        return await self._drive(lambda: self.tls.read(65_536))

    async def write(self, data: bytes) -> None:
        await self._drive(lambda: self.tls.write(data))

    async def settled(self) -> None:
        """Take in what the peer sends after the handshake, once: its tickets, or why it does not want us."""
        data = await self._below.read()
        if not data:
            raise ConnectionResetError("closed after the handshake")
        self._incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.read(1)

    def close(self) -> None:
        self._below.close()

    async def _drive(self, act: Callable[[], T]) -> T:
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                pass
            finally:  # an alert too
                if self._outgoing.pending:
                    await self._below.write(self._outgoing.read())
            data = await self._below.read()
            if not data:
                raise ConnectionResetError("closed in the middle of TLS")
            self._incoming.write(data)


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, in the system's order.

    Raises:
        socket.gaierror: the name is not known.
    """
    found = await in_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def connect(addresses: Sequence[str], port: int) -> tuple[Channel, str]:
    """A connection to the first address that takes one, and that address; each next one is tried after a moment, as RFC 8305 says.

    Raises:
        OSError: none does; the refusal of the last.
    """

    async def attempt(place: int, address: str) -> tuple[Channel, str]:
        await asyncio.sleep(place * STAGGER_S)
        return Channel(*await asyncio.open_connection(address, port)), address

    attempts = [asyncio.ensure_future(attempt(place, address)) for place, address in enumerate(addresses)]
    refusal: OSError | None = None
    try:
        for finished in asyncio.as_completed(attempts):
            try:
                return await finished
            except OSError as error:
                refusal = error
    finally:
        for task in attempts:
            task.cancel()
            task.add_done_callback(_let_go)
    raise refusal or OSError("no address")


def _let_go(attempt: asyncio.Future[tuple[Channel, str]]) -> None:
    """Look at what became of an attempt that nobody waits for, so that nothing complains."""
    if not attempt.cancelled():
        attempt.exception()


async def in_thread(work: Callable[[], T]) -> T:
    """Run what blocks in a thread that nothing waits for at the end: the loop's own threads are waited for, however long a name takes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(outcome: T | None, error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(outcome)  # type: ignore[arg-type] # one of the two

    def run() -> None:
        outcome, failure = None, None
        try:
            outcome = work()
        except Exception as error:  # noqa: BLE001 - handed to the one who waits
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, outcome, failure)

    threading.Thread(target=run, name="rag-doctor", daemon=True).start()
    return await done
