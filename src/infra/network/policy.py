"""The one outbound policy: certificate authorities, client certificate, proxies, which hosts go round them, and limits.

Every client of this package gets its TLS context, its proxy and its limits from here, so all hops behave alike. TLS verification is
never off. The environment is not read here: with `[network] trust_env`, `settings.py` has put its `HTTPS_PROXY`,
`SSL_CERT_FILE` and their kin into the configuration.
"""

from __future__ import annotations

import ssl
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .bypass import direct_hosts
from .proxies import DEFAULT_PORTS, ProxySettings, proxies_of
from .tls import make_context

if TYPE_CHECKING:
    from ..config import NetworkCfg
    from .files import TlsFiles


CONNECT_SHARE = 0.8
"""Of the time that a whole call has, connecting takes this much at most: so what cannot be connected to, the proxy or the host, is told,
and not that the call took too long."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for hops that have none of their own."""

    connect_s: float
    read_s: float
    """Longest silence within an exchange."""
    total_s: float
    pool_size: int
    """Connections of a client."""


class NetworkPolicy:
    """What `[network]` means for each hop. Reads its files on first use.

    Raises:
        ConfigurationError: the proxy's address or an entry of `no_proxy` cannot be read.
        UnsupportedFeatureError: the proxy is a proxy auto-config file, or a SOCKS proxy.
    """

    def __init__(self, cfg: NetworkCfg) -> None:
        self._cfg = cfg
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._requests_context: ssl.SSLContext | None = None
        self._direct = direct_hosts(cfg.no_proxy)
        self._proxies = proxies_of(cfg)
        self.limits = Limits(cfg.connect_timeout_s, cfg.read_timeout_s, cfg.total_timeout_s, cfg.pool_size)

    def proxy_for(self, host: str, port: int | None = None, scheme: str = "https") -> ProxySettings | None:
        """The proxy on the way to a host; None where it is reached directly.

        Args:
            port: left out, the scheme's own.
        """
        proxy = self._proxies.get(scheme)
        return None if proxy is None or self._direct(host, DEFAULT_PORTS.get(scheme) if port is None else port) else proxy

    @property
    def proxies(self) -> tuple[ProxySettings, ...]:
        """The configured ones, each once."""
        return tuple(dict.fromkeys(proxy for proxy in self._proxies.values() if proxy is not None))

    @property
    def tls_min_version(self) -> str:
        """As `[network] tls_min_version`, for what takes no context."""
        return self._cfg.tls_min_version

    def tls_files(self) -> AbstractContextManager[TlsFiles]:
        """Trust and client certificate as files, for what takes no context: see `tls_files`."""
        from .files import tls_files

        return tls_files(self._cfg)

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """The context that httpx2, aiohttp and urllib3 share, built once: building one takes 17 to 88 ms.

        Raises:
            ConfigurationError: see `make_context`.
        """
        with self._lock:
            if self._context is None:
                self._context = make_context(self._cfg)
            return self._context

    @property
    def requests_context(self) -> ssl.SSLContext:
        """The context that sessions of `requests` share: it changes the one that it gets.

        Raises:
            ConfigurationError: see `make_context`.
        """
        with self._lock:
            if self._requests_context is None:
                self._requests_context = make_context(self._cfg)
            return self._requests_context
