"""The connections of all event loops that use a client, and the words for what goes wrong with one."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from ....errors import ConfigurationError, TlsError, UnreachableError
from .connection import HostConnection, basic
from .failures import Failure, proxy_refused
from .hosts import Host

if TYPE_CHECKING:
    from ...config import SearchCfg
    from ...network import NetworkPolicy


class Sessions:
    """One `HostConnection` for each event loop and host: a connection belongs to the loop that opened it."""

    failures: tuple[type[Exception], ...] = (aiohttp.ClientError, HttpProcessingError, OSError, asyncio.IncompleteReadError)
    """What an exchange can fail with and `explain` knows."""

    def __init__(self, cfg: SearchCfg, network: NetworkPolicy, *, signed: bool = False) -> None:
        self._cfg = cfg
        self._network = network
        self._context = network.ssl_context
        self._headers = {} if signed else _authorization(cfg)
        self._lock = threading.Lock()
        self._open: dict[asyncio.AbstractEventLoop, dict[Host, HostConnection]] = {}
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
            taken, self._open = self._open, {}
        for loop, connections in taken.items():
            if loop is here:
                await _close(connections)
            elif loop.is_closed():
                _abandon(connections)
            else:
                loop.call_soon_threadsafe(self._start_closing, loop, connections)

    def _start_closing(self, loop: asyncio.AbstractEventLoop, connections: dict[Host, HostConnection]) -> None:
        task = loop.create_task(_close(connections))
        self._closing.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._closing.discard)

    def _make(self, loop: asyncio.AbstractEventLoop, host: Host) -> HostConnection:
        with self._lock:
            for gone in [other for other in self._open if other.is_closed()]:
                _abandon(self._open.pop(gone))
            made = self._open.setdefault(loop, {})[host] = HostConnection(
                host,
                self._network,
                context=self._context,
                pool_size=self._cfg.pool_size,
                connect_timeout_s=self._cfg.connect_timeout_s,
                timeout_s=self._cfg.timeout_s,
                headers=self._headers,
            )
            return made

    def explain(self, error: Exception, host: str) -> Failure:
        """The failure that an exchange ended with."""
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLError):
                return Failure(_tls(cause, host), unsent=True)  # not counted: an open breaker would hide what is wrong
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return Failure(proxy_refused(host, error.status), unsent=True)
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            why = f"The proxy on the way to OpenSearch cannot be reached: {_reason(error)}."
            return Failure(
                UnreachableError(why, hop=f"proxy to {host}", setting="network.proxy", hint="Check its address."), transient=True, counts=True, unsent=True
            )
        if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
            hint = "Check address and port, whether it runs, and whether a proxy is needed ([network] proxy)."
            return Failure(
                UnreachableError(f"OpenSearch cannot be reached: {_reason(error)}.", hop=host, setting="search.host", hint=hint),
                transient=True,
                counts=True,
                unsent=True,
            )
        if isinstance(error, (HttpProcessingError, aiohttp.ClientResponseError)):
            return Failure(ConfigurationError("What answered is not an HTTP server.", hop=host, setting="search.host", hint="Check address, port and https."))
        what = "broke off in the middle of its answer" if isinstance(error, aiohttp.ClientPayloadError) else "closed the connection without an answer"
        return Failure(
            UnreachableError(f"OpenSearch {what}.", hop=host, hint="Try again; look at the cluster and at what lies before it."), transient=True, counts=True
        )


def _authorization(cfg: SearchCfg) -> dict[str, str]:
    if cfg.bearer_token:
        value = f"Bearer {cfg.bearer_token.get_secret_value()}"
    elif cfg.username:
        value = basic(cfg.username, cfg.password.get_secret_value() if cfg.password else "")
    else:
        return {}
    if not value.isascii() or not value.isprintable():
        raise ConfigurationError("The token for OpenSearch holds a character that headers cannot.", setting="search.bearer_token")
    return {"authorization": value}


def _tls(error: ssl.SSLError, host: str) -> TlsError:
    if isinstance(error, ssl.SSLCertVerificationError):
        why, setting, hint = f"its certificate is not trusted: {error.verify_message}", "network.ca_bundle", "Add your company's certificate authority."
        if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            setting, hint = "search.host", "Use the name that its certificate is for."
        elif error.verify_code == 10:  # X509_V_ERR_CERT_HAS_EXPIRED
            setting, hint = "", "Renew the server's certificate."
    elif "CERTIFICATE" in (error.reason or "").upper():
        why, setting, hint = f"it refuses our client certificate, or the lack of one ({error.reason})", "network.client_certificate", "Check it and its key."
    else:
        why, setting, hint = f"no secure connection ({error.reason or type(error).__name__})", "search.host", "Check port and https or http."
    return TlsError(f"OpenSearch cannot be trusted: {why}.", hop=host, setting=setting, hint=hint)


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is unknown"
    if isinstance(error, TimeoutError):
        return str(error) or "no connection in time"
    inner = getattr(error, "os_error", None)
    text = getattr(inner, "strerror", None) or type(inner or error).__name__
    return str(text).lower()


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        inner = getattr(seen, "certificate_error", None) or getattr(seen, "os_error", None)
        if isinstance(inner, ssl.SSLError):
            yield inner
        seen = seen.__cause__ or seen.__context__


async def _close(connections: dict[Host, HostConnection]) -> None:
    for connection in connections.values():
        await connection.close()


def _abandon(connections: dict[Host, HostConnection]) -> None:
    for connection in connections.values():
        connection.abandon()
