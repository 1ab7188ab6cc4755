"""A forward proxy over plain HTTP that asks for basic authentication, or for none: CONNECT for TLS, whole addresses for the rest."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.emulators.listening import listening


class Proxy:
    """``hosts`` maps names to where they really are, so that tests can use names that only the proxy knows; any other is a 502.

    Without ``user`` everyone may enter. ``forbidden``: targets that get a 403.
    """

    def __init__(self, user: str, password: str, hosts: dict[str, int]) -> None:
        self._expected = b"basic " + base64.b64encode(f"{user}:{password}".encode()) if user else None
        self._hosts = hosts
        self.asked: list[str] = []
        self.opened: list[str] = []
        """Of those, what a tunnel led to."""
        self.heads: list[bytes] = []
        """Of all requests, as they came."""
        self.forbidden: set[str] = set()
        self.refused = 0
        self.ports: set[int] = set()
        """Of its own ends of the connections behind it."""
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @contextmanager
    def running(self, port: int = 0, path: Path | None = None) -> Iterator[Proxy]:
        """``path``: a unix socket that leads in as well, from where no network does."""
        with listening(self._serve, self._writers, None, port=port, path=path) as ports:
            (self.port,) = ports
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        back: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
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
            if target in self.forbidden or target not in self._hosts:
                status = b"403 Forbidden" if target in self.forbidden else b"502 Bad Gateway"
                writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._hosts[target])
            self._writers.add(back)
            self.ports.add(back.get_extra_info("sockname")[1])
            self.opened.append(target)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_pipe(reader, back), _pipe(there, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, *([back] if back else [])):
                self._writers.discard(end)
                end.transport.abort()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Its end ends one direction alone: closing would reset a connection on which the other side still sends, and lose what came last."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
