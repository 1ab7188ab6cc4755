"""As much HTTP/1.1 as a proxy needs: whole messages, read from and written to asyncio streams."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass, field, replace

LIMIT = 64 * 1024 * 1024
"""Longest line, in bytes, that a stream reads."""


@dataclass(frozen=True)
class Message:
    """A request or an answer. ``start``: its first line; header names are lower case; ``body`` is free of chunking, not of compression."""

    start: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def method(self) -> str:
        return self.start.split(" ")[0]

    @property
    def path(self) -> str:
        return self.start.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    @property
    def text(self) -> str:
        """The body, decompressed."""
        return (gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body).decode()

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"

    def with_body(self, body: bytes) -> Message:
        """The same with another, uncompressed body."""
        headers = {name: value for name, value in self.headers.items() if name not in ("content-encoding", "content-length")}
        return replace(self, headers=headers | {"content-length": str(len(body))}, body=body)

    def encode(self) -> bytes:
        """The bytes on the wire, always with a length instead of chunks."""
        headers = dict(self.headers)
        if headers.pop("transfer-encoding", None) or self.body:
            headers["content-length"] = str(len(self.body))
        lines = [self.start, *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message | None:
    """The next request of a connection; None once the client has closed it."""
    head = await _read_head(reader)
    if head is None:
        return None
    if head.headers.pop("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return replace(head, body=await _read_body(reader, head))


async def read_answer(reader: asyncio.StreamReader, method: str) -> Message:
    """The answer to a request with ``method``."""
    head = await _read_head(reader)
    if head is None:
        raise ConnectionResetError("closed before an answer")
    if method == "HEAD" or head.status in (204, 304):
        return head
    if "content-length" in head.headers or "transfer-encoding" in head.headers:
        return replace(head, body=await _read_body(reader, head))
    return replace(head, headers=head.headers | {"connection": "close"}, body=await reader.read())


async def _read_head(reader: asyncio.StreamReader) -> Message | None:
    start = (await reader.readline()).decode("latin-1").rstrip("\r\n")
    if not start:
        return None
    headers: dict[str, str] = {}
    while line := (await reader.readline()).decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Message(start, headers)


async def _read_body(reader: asyncio.StreamReader, head: Message) -> bytes:
    if "chunked" not in head.headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(head.headers.get("content-length", 0)))
    parts = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():  # trailers
        pass
    return b"".join(parts)
