"""One host's connections in one event loop: opensearch-py's connection class under our outbound policy.

`HostConnection` is an opensearch-py `AsyncConnection`, so that ``AsyncOpenSearch(connection_class=…)`` works on it as well. Its
pool, DNS cache, proxy tunnels and HTTP parser are aiohttp's. What is left out is aiohttp's `ClientSession`, which spends
about half of a small request's client time on cookies, redirects, URL and header objects and, on Python 3.11, a task to write
the body: 105 µs and 98 of processor time a request against 65 and 51 here (10 hits from a stub that answers at once).
Nothing is read from the environment, nothing is redirected, and no credentials stand in an address.
"""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
import time
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp import hdrs
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from opensearchpy import AsyncConnection
from yarl import URL

from .....telemetry.metrics import watch_pool

if TYPE_CHECKING:
    from ....network import NetworkPolicy, ProxySettings
    from .hosts import Host

KEEP_ALIVE_S = 50.0
"""Idle connections are closed after this: below the 60 s after which cloud load balancers drop them silently."""
LARGE_BODY = 64 * 1024
"""Up to here head and body are sent in one piece, so in one packet where they fit; beyond it the copy costs more."""
MAX_ANSWER = 256 * 1024 * 1024
"""Bytes of an answer at most: some twenty times the largest that the engine asks for."""
_way_is_open: ContextVar[list[bool]] = ContextVar("_way_is_open")
"""Whether the connection that is being made has got past its proxy, if any."""
_PLAIN_TARGET = re.compile(r"[!-~]+")
_HEADER = re.compile(r"[\t -~\x80-\xff]*")


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    """Case does not matter."""
    body: bytes


class AnswerTooLargeError(aiohttp.ClientError):
    """More came than OpenSearch answers to anything that is asked of it."""


class _StaleError(aiohttp.ServerDisconnectedError):
    """A connection that was kept open had been closed by the other side."""


class _Connector(aiohttp.TCPConnector):
    """Holds the whole of connecting, name lookup, proxy and TLS included, to one limit; and tells the proxy's failures from the host's."""

    connect_timeout_s: float = 10.0

    async def _create_connection(self, req: ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout) -> Any:
        opened = _way_is_open.set([req.proxy is None])
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                return await super()._create_connection(req, traces, timeout)
        except TimeoutError as error:
            text = f"no connection within {self.connect_timeout_s:g} s"
            if _way_is_open.get()[0]:
                raise aiohttp.ConnectionTimeoutError(text) from error
            raise aiohttp.ClientProxyConnectionError(req.connection_key, OSError(errno.ETIMEDOUT, text)) from error
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            if _way_is_open.get()[0] or isinstance(error, (aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError)):
                raise
            raise aiohttp.ClientProxyConnectionError(req.connection_key, _failure_of_proxy(error)) from error
        finally:
            _way_is_open.reset(opened)

    def drop_idle(self, since: float) -> None:
        """Close connections that lie idle since before a moment (`time.monotonic`): what closed one of them has closed them all."""
        for kept in self._conns.values():
            for protocol, released_at in list(kept):
                if released_at <= since:
                    kept.remove((protocol, released_at))
                    protocol.close()

    def used(self) -> tuple[int, int]:
        """Connections in use, and idle ones."""
        return len(self._acquired), sum(map(len, self._conns.values()))

    async def _start_tls_connection(self, *args: Any, **more: Any) -> Any:
        _way_is_open.get()[0] = True  # TLS with the host begins: the proxy has done its part
        return await super()._start_tls_connection(*args, **more)


class HostConnection(AsyncConnection):
    """Requests to one host, from the event loop that made it.

    Args:
        host: where to.
        network: proxy, authorities, client certificate.
        pool_size: connections at most; further requests wait for one.
        connect_timeout_s: for a new connection, TLS and proxy included.
        headers: sent with every request.
    """

    def __init__(
        self,
        host: Host,
        network: NetworkPolicy,
        *,
        context: ssl.SSLContext | None,
        pool_size: int,
        connect_timeout_s: float,
        timeout_s: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(host=host.name, port=host.port, use_ssl=host.scheme == "https", url_prefix=host.prefix, timeout=timeout_s)  # type: ignore[arg-type]  # its annotation says int; it takes any number
        self.loop = asyncio.get_running_loop()
        self._connector = _Connector(limit=pool_size, keepalive_timeout=KEEP_ALIVE_S, ssl=context or True, loop=self.loop)
        self._connector.connect_timeout_s = connect_timeout_s
        watch_pool("opensearch", self, lambda connection: connection._connector.used(), pool_size)  # noqa: SLF001 - its own
        self.places = asyncio.Semaphore(pool_size)
        """One for each connection of the pool. Who takes one first knows that time spent waiting was not the server's."""
        proxy = network.proxy_for(host.name, host.port, host.scheme)
        self._proxy_headers: dict[str, str] = {hdrs.HOST: host.authority}  # aiohttp adds it to these; their hash is part of the pool's key
        if proxy is not None and proxy.authorization:
            self._proxy_headers[hdrs.PROXY_AUTHORIZATION] = proxy.authorization
        self.proxy = proxy.url if proxy is not None else ""
        self._route = ClientRequest(
            "POST",
            URL(f"{host.scheme}://{host.authority}/"),
            headers=CIMultiDict({hdrs.HOST: host.authority}),
            loop=self.loop,
            ssl=context or True,
            proxy=URL(proxy.url) if proxy is not None else None,
            proxy_headers=self._proxy_headers if proxy is not None else None,
        )
        plain_proxy = proxy is not None and host.scheme == "http"
        # A proxy that forwards plain HTTP is asked for the whole address, with its credentials in the request itself.
        self._origin = (f"http://{host.authority}" if plain_proxy else "") + host.prefix
        self._own = {"host": host.authority, "user-agent": "founders-rag", "accept": "application/json", **(headers or {})}
        self._plain_proxy = plain_proxy
        self._static = self._head()
        self._changing_proxy = proxy if proxy is not None and proxy.changes else None
        self._limits = aiohttp.ClientTimeout(total=None)

    @property
    def shown(self) -> Mapping[str, str]:
        """The headers of every request."""
        return self._own

    def _head(self) -> bytes:
        shown = self._proxy_headers.get(hdrs.PROXY_AUTHORIZATION) if self._plain_proxy else None
        return b" HTTP/1.1\r\n" + header_lines({**self._own, **({"proxy-authorization": shown} if shown else {})})

    def _follow(self, proxy: ProxySettings) -> None:
        """Show the proxy its password of now; connections that it let through before stay."""
        value = proxy.authorization
        if value != self._proxy_headers.get(hdrs.PROXY_AUTHORIZATION):
            self._proxy_headers[hdrs.PROXY_AUTHORIZATION] = value
            self._route.proxy_headers = CIMultiDict(self._proxy_headers)
            self._static = self._head()

    def target(self, path: str, params: Mapping[str, Any] | None = None) -> str:
        """Path and query as they go over the wire."""
        return with_query(path, params)

    async def exchange(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        retry: bool = False,
    ) -> Answer:
        """One request and its whole answer. No timeout of its own but connecting: surround it with one; interrupted, it closes its connection.

        Args:
            target: path and query, percent-encoded.
            retry: a repeat changes nothing: where a connection that was kept open turns out to be closed, a new one is made.

        Raises:
            AnswerTooLargeError: more than `MAX_ANSWER` came.
        """
        began = time.monotonic()
        try:
            return await self._exchange(method, target, body, content_type, headers)
        except _StaleError:
            self._connector.drop_idle(began)
            if not retry:
                raise
        return await self._exchange(method, target, body, content_type, headers)

    async def _exchange(self, method: str, target: str, body: bytes | None, content_type: str, headers: Mapping[str, str] | None) -> Answer:
        if self._connector.closed:  # asked again, a closed connector waits for a place for ever
            raise aiohttp.ClientConnectionError("Connector is closed.")
        if self._changing_proxy is not None:
            self._follow(self._changing_proxy)
        conn = await self._connector.connect(self._route, [], self._limits)
        whole = False
        try:
            protocol = conn.protocol
            assert protocol is not None
            transport = protocol.transport
            if transport is None:
                raise _StaleError
            protocol.set_response_params(skip_payload=method == "HEAD", read_until_eof=True, max_line_size=65536, max_field_size=65536)
            self._write(transport, method, target, body, content_type, headers)
            try:
                message, payload = await protocol.read()
            except (aiohttp.ServerDisconnectedError, OSError) as error:
                if getattr(protocol, "served", False):
                    raise _StaleError from error
                raise
            while message.code < 200 and message.code != 101:
                message, payload = await protocol.read()
            data = await _read(message.headers, payload)
            protocol.served = True  # type: ignore[attr-defined]  # our own mark: it has answered, so it is one that was kept when it is used again
            whole = True
        finally:
            # Closing tells the server to cancel a search that is still running.
            conn.release() if whole else conn.close()
        return Answer(message.code, message.headers, data)

    def _write(self, transport: asyncio.Transport, method: str, target: str, body: bytes | None, content_type: str, headers: Mapping[str, str] | None) -> None:
        parts = [method.encode(), b" ", (self._origin + target).encode("ascii"), self._static]
        if headers:
            parts.append(header_lines(headers))
        if body is None:
            parts.append(b"\r\n" if method in ("GET", "HEAD", "DELETE") else b"content-length: 0\r\n\r\n")
        else:
            parts.append(b"content-type: %b\r\ncontent-length: %d\r\n\r\n" % (content_type.encode(), len(body)))
            if len(body) <= LARGE_BODY:
                parts.append(body)
        transport.write(b"".join(parts))
        if body is not None and len(body) > LARGE_BODY:
            transport.write(body)

    async def perform_request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
        ignore: Collection[int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """What opensearch-py's own transport calls; its errors, not ours."""
        from opensearchpy.exceptions import ConnectionError as Unreachable
        from opensearchpy.exceptions import ConnectionTimeout

        try:
            async with asyncio.timeout(self.timeout if timeout is None else timeout):
                given = dict(headers or {})
                kind = given.pop("content-type", "application/json")
                answer = await self.exchange(method, with_query(url, params), body, content_type=kind, headers=given)
        except TimeoutError as error:
            raise ConnectionTimeout("TIMEOUT", str(error), error) from error
        except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError) as error:
            raise Unreachable("N/A", str(error), error) from error
        text = answer.body.decode("utf-8", "surrogatepass")
        if not 200 <= answer.status < 300 and answer.status not in ignore:
            self._raise_error(answer.status, text, answer.headers.get("content-type"))
        return answer.status, answer.headers, text

    async def close(self) -> None:
        await self._connector.close()

    def abandon(self) -> None:
        """Let go of a loop that is closed: its sockets went with it."""
        # Called for its bookkeeping: on a closed loop it touches no socket, and without it the connector complains when collected.
        self._connector._close()  # noqa: SLF001 - `close` makes a task, which needs a loop that runs


def _failure_of_proxy(error: Exception) -> OSError:
    """What aiohttp says of a proxy that failed after it was connected to: TLS with it, or an answer that is none."""
    for inner in (getattr(error, "certificate_error", None), getattr(error, "os_error", None)):
        if isinstance(inner, ssl.SSLError):
            return inner
    return ConnectionResetError(errno.ECONNRESET, "closed the connection")


async def _read(headers: Mapping[str, str], payload: aiohttp.StreamReader) -> bytes:
    announced = headers.get(hdrs.CONTENT_LENGTH, "")
    if announced.isdigit() and int(announced) > MAX_ANSWER:
        raise AnswerTooLargeError
    parts, size = [], 0
    while part := await payload.readany():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER:
            raise AnswerTooLargeError
    return b"".join(parts)


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Headers as they go over the wire.

    Raises:
        ValueError: a value holds what ends a header line. The message does not repeat it.
    """
    lines = []
    for name, value in headers.items():
        if not _HEADER.fullmatch(value):
            raise ValueError(f"The header {name} holds a character that headers cannot.")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")


def with_query(path: str, params: Mapping[str, Any] | None) -> str:
    """Path and query as they go over the wire; what no URL may hold is percent-encoded, and an encoded path stays as it is."""
    if not _PLAIN_TARGET.fullmatch(path):
        path = quote(path, safe="/%:,*?&=+$!'()@;~-._<>", errors="surrogatepass")
    return f"{path}?{urlencode(params)}" if params else path
