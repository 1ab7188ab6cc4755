"""The connections of all event loops that use a client, and the words for what goes wrong with one."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import AsyncGenerator, Iterator
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
            connect_timeout_s=self._cfg.connect_timeout_s,
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
        connecting = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ClientConnectorCertificateError, aiohttp.ConnectionTimeoutError))
        # aiohttp's own kinds of SSLError lack what OpenSSL said.
        tls = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError) and not isinstance(cause, aiohttp.ClientError)), None)
        if tls is not None and (connecting or "CERTIFICATE" in (tls.reason or "").upper()):
            return Failure(_tls(tls, host), unsent=connecting, silent=True)  # not counted: an open breaker would hide what is wrong
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return Failure(proxy_refused(host, error.status), unsent=True)
        if connecting:
            return Failure(_unreachable(error, host), transient=True, counts=True, unsent=True)
        if isinstance(error, (HttpProcessingError, aiohttp.ClientResponseError)):
            return Failure(ConfigurationError("What answered is not an HTTP server.", hop=host, setting="search.host", hint="Check address, port and https."))
        what = "broke off in the middle of its answer" if isinstance(error, aiohttp.ClientPayloadError) else "closed the connection without an answer"
        # In TLS 1.3 a server looks at the client's certificate after the client has begun to send, and some then just hang up.
        certificate = ", and whether it wants a client certificate" if host.startswith("https") else ""
        hint = f"Try again; look at the cluster and what lies before it{certificate}."
        return Failure(UnreachableError(f"OpenSearch {what}.", hop=host, hint=hint), transient=True, counts=True)


def _unreachable(error: Exception, host: str) -> UnreachableError:
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        why = f"The proxy on the way to OpenSearch cannot be reached: {_reason(error)}."
        return UnreachableError(why, hop=f"proxy to {host}", setting="network.proxy", hint="Check its address.")
    hint = "Check address and port, whether it runs, and whether a proxy is needed ([network] proxy)."
    return UnreachableError(f"OpenSearch cannot be reached: {_reason(error)}.", hop=host, setting="search.host", hint=hint)


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
