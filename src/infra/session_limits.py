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

_ends: ContextVar[float] = ContextVar("_ends", default=float("inf"))


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
        self._ends = ends
        self.closed_there = False
        """The other side has said that nothing more comes."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the exchange took longer than it may")
        silence = self._sock.gettimeout()
        if silence is None or silence > left:
            self._sock.settimeout(left)
        try:
            count = self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(silence)
        self.closed_there = count == 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _LimitedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.reading = _Reading(self.fp.detach(), sock, _ends.get())
        self.fp = io.BufferedReader(self.reading)


class _Connection(HTTPConnection):
    response_class = _LimitedResponse


class _TunnelConnection(HTTPSConnection):
    """What fails before the proxy has opened the way is the proxy's failure, and nothing later is.

    urllib3 says the former only of connecting to it, and the latter also of a host that breaks off: closing forgets that the way was open.
    """

    _way_is_open = False
    _answer: _LimitedResponse | None = None

    def response_class(self, *args: Any, **more: Any) -> _LimitedResponse:  # type: ignore[override]  # it is called, never looked into
        self._answer = _LimitedResponse(*args, **more)
        return self._answer

    def connect(self) -> None:
        self._way_is_open = False
        super().connect()

    @property
    def has_connected_to_proxy(self) -> bool:
        return self._way_is_open

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
            if self._answer is not None and self._answer.reading.closed_there:
                raise ConnectionResetError("closed within its answer")
        except (OSError, HTTPException) as error:
            raise ProxyError("The proxy did not open the way.", error) from error
        self._way_is_open = True


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TunnelPool(HTTPSConnectionPool):
    ConnectionCls = _TunnelConnection


POOLS = {"http": _Pool, "https": _TunnelPool}
"""For urllib3's managers."""
