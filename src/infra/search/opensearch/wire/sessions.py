"""The connections of all event loops that use a client, and what it means when one goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from ....hops import Hop, error_of
from ....network.faults import Fault, fault_of
from ....network.policy import CONNECT_SHARE
from .connection import MAX_ANSWER, AnswerTooLargeError, HostConnection
from .credentials import header_of, secret_of
from .failures import Failure, not_opensearch, opensearch_hop
from .hosts import Host

if TYPE_CHECKING:
    from ....config import SearchCfg
    from ....network import NetworkPolicy


class Sessions:
    """One `HostConnection` for each event loop and host: a connection belongs to the loop that opened it.

    Each loop closes its own when it ends: `asyncio.run` and its kin finalize asynchronous generators, and `_kept` is one.
    """

    failures: tuple[type[Exception], ...] = (aiohttp.ClientError, HttpProcessingError, OSError, asyncio.IncompleteReadError)
    """What an exchange can fail with and `explain` knows."""

    def __init__(self, cfg: SearchCfg, network: NetworkPolicy, *, signed: bool = False) -> None:
        self._cfg = cfg
        self._network = network
        self._context = network.ssl_context
        self._headers = {} if signed else _authorization(cfg)
        self._lock = threading.Lock()
        self._open: dict[asyncio.AbstractEventLoop, dict[Host, HostConnection]] = {}
        self._keepers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def connection(self, host: Host) -> HostConnection:
        """The running loop's connections to a host."""
        loop = asyncio.get_running_loop()
        try:
            return self._open[loop][host]
        except KeyError:
            return self._make(loop, host)

    async def aclose(self) -> None:
        """Close the running loop's connections now, those of other loops when these turn."""
        here = asyncio.get_running_loop()
        with self._lock:
            keepers = list(self._keepers.items())
            self._keepers.clear()
        for loop, keeper in keepers:
            if loop is here:
                await keeper.aclose()
            elif loop.is_closed():
                self._abandon(loop)
            else:
                loop.call_soon_threadsafe(self._start_closing, loop, keeper)

    def _start_closing(self, loop: asyncio.AbstractEventLoop, keeper: AsyncGenerator[None]) -> None:
        task = loop.create_task(keeper.aclose())
        self._closing.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._closing.discard)

    def _make(self, loop: asyncio.AbstractEventLoop, host: Host) -> HostConnection:
        made = HostConnection(
            host,
            self._network,
            context=self._context,
            pool_size=self._cfg.pool_size,
            connect_timeout_s=min(self._cfg.connect_timeout_s, self._cfg.timeout_s * CONNECT_SHARE),
            timeout_s=self._cfg.timeout_s,
            headers=self._headers,
        )
        with self._lock:
            gone = [other for other in self._open if other.is_closed()]
            known = loop in self._open
            self._open.setdefault(loop, {})[host] = made
        for other in gone:
            self._abandon(other)
        if not known:
            self._keepers[loop] = keeper = self._kept(loop)
            with contextlib.suppress(StopIteration):
                keeper.__anext__().send(None)  # to its `yield`, where the loop takes note of it
        return made

    async def _kept(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            with self._lock:
                connections = self._open.pop(loop, {})
                self._keepers.pop(loop, None)
            for connection in connections.values():
                await connection.close()

    def _abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go of a loop that was closed without its end being announced: its sockets went with it."""
        with self._lock:
            connections = self._open.pop(loop, {})
            self._keepers.pop(loop, None)
        for connection in connections.values():
            connection.abandon()

    def explain(self, error: Exception, host: str) -> Failure:
        """The failure that an exchange ended with."""
        if isinstance(error, AnswerTooLargeError):
            return Failure(not_opensearch(host, f"more than {MAX_ANSWER // 2**20} MiB"))
        connecting = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ClientConnectorCertificateError, aiohttp.ConnectionTimeoutError))
        fault = fault_of(error)
        if fault.tls and not connecting and fault.kind != "tls-client-certificate":
            fault = Fault("reset")  # it was good once, and then something in between broke it
        found = error_of(fault, self._hop(host))
        if fault.tls:
            return Failure(found, unsent=connecting, unknown=True)  # not counted: an open breaker would hide what is wrong
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return Failure(found, unsent=True)
        if connecting:
            return Failure(found, transient=True, counts=True, unsent=True, silence=1.0 if fault.kind == "connect-timeout" else None)
        if fault.kind == "not-http":
            return Failure(found)
        if fault.kind == "reset" and host.startswith("http:"):
            found.hint = "Try again; check whether the port wants https (search.host), and look at what lies before the cluster."
        return Failure(found, transient=True, counts=True)

    def _hop(self, host: str) -> Hop:
        parts = urlsplit(host)
        proxy = self._network.proxy_for(parts.hostname or "", parts.port, parts.scheme)
        return opensearch_hop(host).through(proxy)


def _authorization(cfg: SearchCfg) -> dict[str, str]:
    secret = secret_of(cfg)
    return {} if secret is None else {"authorization": header_of(cfg, secret.get_secret_value())}
