"""httpx2 under the outbound policy: connections of each event loop kept apart, the proxy chosen host by host.

A connection belongs to the event loop that opened it. Clients here are shared by whoever asks for the same one, from the
server's loop, the background loop of synchronous callers, or a new loop for each command; so the pools lie one loop apart.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import httpx2

from ..telemetry.metrics import watch
from ..telemetry.otel import outgoing
from .network.policy import CONNECT_SHARE

if TYPE_CHECKING:
    from .network import NetworkPolicy, ProxySettings

MAX_IDLE = 20
"""Connections kept open between requests, of those that `[network] pool_size` allows."""
_LATE = "The exchange took longer than it may."
_PoolKey = tuple[asyncio.AbstractEventLoop, str]


class PolicyTransport(httpx2.AsyncBaseTransport):
    """Sends each request through the pool of its loop, by the proxy that the policy names.

    After `retire` requests are still served, but no connection is kept: pools close whenever nothing is in flight.

    Args:
        total_s: seconds that an exchange may take, its body included.
        read_s: longest silence; a call that asks for a longer one has that time for the whole, if it is more.
    """

    def __init__(self, policy: NetworkPolicy, total_s: float, read_s: float) -> None:
        self._policy = policy
        self._total_s = total_s
        self._read_s = read_s
        self._lock = threading.RLock()  # reentrant: the garbage collector, which may run under it, retires the transports of clients that nobody holds
        self._pools: dict[_PoolKey, httpx2.AsyncHTTPTransport] = {}
        self._in_flight: dict[asyncio.AbstractEventLoop, int] = {}
        self._retired = False
        self._closing: set[asyncio.Task[None]] = set()
        self._keepers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None]] = {}
        watch("rag.pool.connections", self, lambda transport: [(transport.in_flight, {"rag.pool": "models", "rag.state": "used"})])
        watch("rag.pool.limit", self, lambda _: [(policy.limits.pool_size, {"rag.pool": "models"})])

    def proxy_for(self, url: httpx2.URL) -> ProxySettings | None:
        """The proxy on the way to an address."""
        return self._policy.proxy_for(url.host, url.port, url.scheme)

    @property
    def in_flight(self) -> int:
        """Requests whose response is not finished."""
        with self._lock:
            return sum(self._in_flight.values())

    @property
    def pools(self) -> int:
        """Open pools."""
        with self._lock:
            return len(self._pools)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        loop = asyncio.get_running_loop()
        request.headers.update(outgoing())
        ends = loop.time() + self._seconds(request)
        if not self._pools:
            await asyncio.to_thread(lambda: self._policy.ssl_context)  # reads files: not on the loop
        proxy = self.proxy_for(request.url)
        pool = self._enter(loop, proxy)
        connect_s = self._hold_to_connect_limit(request)
        limit = asyncio.timeout_at(ends)
        try:
            async with limit, _Opening(request, connect_s) if proxy is not None else nullcontext():
                response = await pool.handle_async_request(request)
        except BaseException as error:
            await self._leave(loop)
            if isinstance(error, TimeoutError) and limit.expired():
                raise httpx2.ReadTimeout(_LATE, request=request) from error
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        stream = _Body(response.stream, self, loop, min(ends, self._body_ends()))
        return httpx2.Response(response.status_code, headers=response.headers, stream=stream, extensions=response.extensions)

    def _seconds(self, request: httpx2.Request) -> float:
        asked = request.extensions.get("timeout", {}).get("read") or 0.0
        return max(self._total_s, asked) if asked > self._read_s else self._total_s

    def _body_ends(self) -> float:
        """When a body must have arrived, on the loop's clock, where it is known to be sooner than the exchange's own limit."""
        return math.inf

    def _hold_to_connect_limit(self, request: httpx2.Request) -> float:
        """Connecting has the policy's limit whatever the client says: `openai` makes its one timeout that of every phase."""
        limits = request.extensions.get("timeout", {})
        asked, most = limits.get("connect"), self._policy.limits.connect_s
        connect_s = most if asked is None else min(asked * CONNECT_SHARE, most)
        request.extensions["timeout"] = {**limits, "connect": connect_s}
        return connect_s

    def retire(self) -> None:
        """Keep no idle connection from now on; from any thread. What is in flight ends undisturbed."""
        with self._lock:
            self._retired = True
            loops = {loop for loop, _ in self._pools}
        for loop in loops:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._start_closing, loop)

    async def close_idle(self) -> None:
        """Close the running loop's pools now, unless something is in flight there."""
        await self._close_pools(self._take(asyncio.get_running_loop(), idle_only=True))

    async def aclose(self) -> None:
        """Close the running loop's pools now, and let those of other loops go when nothing is in flight."""
        self.retire()
        await self._close_pools(self._take(asyncio.get_running_loop(), idle_only=False))

    def _enter(self, loop: asyncio.AbstractEventLoop, proxy: ProxySettings | None) -> httpx2.AsyncHTTPTransport:
        key = (loop, "" if proxy is None else proxy.url)
        with self._lock:
            self._in_flight[loop] = self._in_flight.get(loop, 0) + 1
            if key in self._pools:
                return _following(self._pools[key], proxy)
            for old in [old for old in self._pools if old[0].is_closed()]:  # its end was not announced; their sockets went with it
                del self._pools[old]
                self._in_flight.pop(old[0], None)
                self._keepers.pop(old[0], None)
        try:
            pool = self._new_pool(proxy)
        except BaseException:
            with self._lock:
                self._in_flight[loop] -= 1
            raise
        with self._lock:
            pool = self._pools.setdefault(key, pool)
        if loop not in self._keepers:
            self._keepers[loop] = keeper = self._kept(loop)
            with suppress(StopIteration):
                keeper.__anext__().send(None)  # to its `yield`, where the loop takes note of it
        return pool

    async def _kept(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None]:
        """Closes a loop's pools when it ends: `asyncio.run` and its kin finalize asynchronous generators, and this is one."""
        try:
            yield
        finally:
            await self._close_pools(self._take(loop, idle_only=False))

    def _new_pool(self, proxy: ProxySettings | None) -> httpx2.AsyncHTTPTransport:
        context = self._policy.ssl_context
        hop = None
        if proxy is not None:
            headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else None
            hop = httpx2.Proxy(proxy.url, headers=headers, ssl_context=context if proxy.url.startswith("https") else None)
        most = self._policy.limits.pool_size
        limits = httpx2.Limits(max_connections=most, max_keepalive_connections=min(MAX_IDLE, most))
        return httpx2.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits, proxy=hop)

    async def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._in_flight[loop] = max(0, self._in_flight.get(loop, 0) - 1)
            retired = self._retired
        if retired:
            await self._close_pools(self._take(loop, idle_only=True))

    def _take(self, loop: asyncio.AbstractEventLoop, *, idle_only: bool) -> list[httpx2.AsyncHTTPTransport]:
        with self._lock:
            if idle_only and self._in_flight.get(loop, 0):
                return []
            self._in_flight.pop(loop, None)
            self._keepers.pop(loop, None)
            return [self._pools.pop(key) for key in list(self._pools) if key[0] is loop]

    def _start_closing(self, loop: asyncio.AbstractEventLoop) -> None:
        pools = self._take(loop, idle_only=True)
        if pools:
            task = loop.create_task(self._close_pools(pools))
            self._closing.add(task)  # the loop itself keeps only a weak reference
            task.add_done_callback(self._closing.discard)

    async def _close_pools(self, pools: list[httpx2.AsyncHTTPTransport]) -> None:
        for pool in pools:
            await pool.aclose()


def _following(pool: httpx2.AsyncHTTPTransport, proxy: ProxySettings | None) -> httpx2.AsyncHTTPTransport:
    """A pool whose next connection shows the proxy its password of now; those that the proxy let through before stay."""
    if proxy is not None and proxy.changes:
        pool._pool._proxy_headers = [(b"Proxy-Authorization", proxy.authorization.encode())]  # type: ignore[attr-defined] # noqa: SLF001 - there is no public way; tested against the installed version
    return pool


class _Body(httpx2.AsyncByteStream):
    """A response's body, which must have arrived by a time on the loop's clock; tells the transport once when it is done."""

    def __init__(self, inner: httpx2.AsyncByteStream, transport: PolicyTransport, loop: asyncio.AbstractEventLoop, ends: float) -> None:
        self._inner = inner
        self._transport = transport
        self._loop = loop
        self._ends = ends
        self._done = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._inner)
        while True:
            limit = asyncio.timeout_at(self._ends)  # around each piece: what the reader does in between is not interrupted
            try:
                async with limit:
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                if not limit.expired():
                    raise
                raise httpx2.ReadTimeout(_LATE) from error
            yield piece

    async def aclose(self) -> None:
        if self._done:
            return
        self._done = True
        try:
            await self._inner.aclose()
        finally:
            await self._transport._leave(self._loop)  # noqa: SLF001 - the other half of this file's pair


class _Opening:
    """Opening the way through a proxy: held to one limit, and what fails before it is open is the proxy's failure.

    httpcore counts the wait for the answer to CONNECT as reading, which for a model may take minutes, and says of no error
    whether it came from the proxy or from the host behind it. Its trace tells.
    """

    def __init__(self, request: httpx2.Request, connect_s: float) -> None:
        self._request = request
        self._connect_s = connect_s
        self._tunnel = request.url.scheme == "https"
        self._place: Literal["", "proxy", "host"] = ""
        """Where a connection is being made to; empty while none is."""
        self._limit = asyncio.timeout(None)
        request.extensions["trace"] = self._trace

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        cause = error
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            cause = httpx2.ConnectTimeout("No connection in time.", request=self._request)
            if self._place != "proxy":
                raise cause from None
        if self._place == "proxy" and isinstance(cause, httpx2.TransportError) and not isinstance(cause, httpx2.ProxyError):
            raise httpx2.ProxyError("The proxy did not open the way.", request=self._request) from cause

    async def _trace(self, event: str, _info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.started":
            self._place = "proxy"
            self._limit.reschedule(asyncio.get_running_loop().time() + self._connect_s)
        elif event == "proxy.start_tls.started":
            self._place = "host"
        elif event == ("proxy.start_tls.complete" if self._tunnel else "connection.connect_tcp.complete"):
            self._place = ""
            self._limit.reschedule(None)


def make_async_client(policy: NetworkPolicy, timeout_s: float | None = None, kind: type[PolicyTransport] | None = None) -> httpx2.AsyncClient:
    """An httpx2 client under the policy, usable from any event loop. It follows no redirect: a prompt goes to the host that was named, or nowhere.

    Args:
        timeout_s: seconds that an exchange may take, its body and all silence included; None takes both limits from the policy.
        kind: of transport, where it is to do more.
    """
    limits = policy.limits
    read_s, total_s = (limits.read_s, limits.total_s) if timeout_s is None else (timeout_s, timeout_s)
    transport = (kind or PolicyTransport)(policy, total_s, read_s)
    timeout = httpx2.Timeout(read_s, connect=min(limits.connect_s, read_s))
    return httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False, follow_redirects=False)
