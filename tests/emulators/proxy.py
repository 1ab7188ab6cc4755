"""A forward proxy over plain HTTP that asks for basic authentication, or for none: CONNECT for TLS, whole addresses for the rest."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager

from tests.emulators.listening import listening


class Proxy:
    """``hosts`` maps names to where they really are, so that tests can use names that only the proxy knows. Without ``user`` everyone may enter."""

    def __init__(self, user: str, password: str, hosts: dict[str, int]) -> None:
        self._expected = b"basic " + base64.b64encode(f"{user}:{password}".encode()) if user else None
        self._hosts = hosts
        self.asked: list[str] = []
        self.refused = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        with listening(self._serve, self._writers, None) as ports:
            (self.port,) = ports
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            sent = {line.partition(b":")[0].strip().lower(): line.partition(b":")[2].strip() for line in lines}
            _, target, _ = first.decode().split(" ")
            scheme, _, value = sent.get(b"proxy-authorization", b"").partition(b" ")
            if self._expected is not None and scheme.lower() + b" " + value != self._expected:
                self.refused += 1
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
                return
            self.asked.append(target)
            there, back = await asyncio.open_connection("127.0.0.1", self._hosts[target])
            self._writers.add(back)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_pipe(reader, back), _pipe(there, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
