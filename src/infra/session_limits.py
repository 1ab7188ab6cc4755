"""A limit to the whole of an exchange over urllib3, whose own time-outs begin anew with each byte.

A server that sends a byte a second would else hold its caller for ever: a thread that has waited cannot be cancelled.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ProxyError

if TYPE_CHECKING:
    import socket

    from _typeshed import WriteableBuffer

_ends: ContextVar[float | None] = ContextVar("_ends", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Hold the exchanges that begin inside, their answers' bodies included, to so many seconds."""
    before = _ends.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends.reset(before)


class _Reading(io.RawIOBase):
    """What a socket gives until a time."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, ends: float) -> None:
        self._raw = raw
        self._sock = sock
        self._end = ends

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the exchange took longer than it may")
        silence = self._sock.gettimeout()
        if silence is not None and silence <= left:
            return self._raw.readinto(buffer)
        self._sock.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(silence)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _LimitedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        ends = _ends.get()
        if ends is not None:
            self.fp = io.BufferedReader(_Reading(self.fp.detach(), sock, ends))


class _Connection(HTTPConnection):
    response_class = _LimitedResponse


class _TunnelConnection(HTTPSConnection):
    """What fails before the proxy has opened the way is the proxy's failure; urllib3 says so only of connecting to it."""

    response_class = _LimitedResponse

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
        except (OSError, HTTPException) as error:
            raise ProxyError("The proxy did not open the way.", error) from error


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TunnelPool(HTTPSConnectionPool):
    ConnectionCls = _TunnelConnection


POOLS = {"http": _Pool, "https": _TunnelPool}
"""For urllib3's managers."""
