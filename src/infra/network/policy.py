"""The one outbound policy: certificate authorities, client certificate, proxy, and which hosts go round the proxy.

Every client of this package gets its TLS context and its proxy from here, so all hops behave alike. TLS verification is
never off. The environment is not read: `SSL_CERT_FILE`, `HTTPS_PROXY` and their kin change nothing.
"""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from ..errors import ConfigurationError, UnsupportedFeatureError

if TYPE_CHECKING:
    import httpx2

    from .config import NetworkCfg

SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """A proxy. Its address holds no credentials, so that it may stand in logs and errors."""

    url: str
    username: str = ""
    password: SecretStr = field(default_factory=lambda: SecretStr(""))


def split_proxy(url: SecretStr, username: str | None = None, password: SecretStr | None = None) -> ProxySettings:
    """A proxy's address and credentials; keys of their own beat what stands in the address.

    Raises:
        ConfigurationError: not an http or https address with a host. The message does not repeat the address.
    """
    try:
        text = url.get_secret_value().strip()
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, None
    if parts is None or not host or parts.scheme not in ("http", "https"):
        raise ConfigurationError("The proxy's address cannot be used.", setting="network.proxy", hint="Write it as http://host:port.")
    host = f"[{host}]" if ":" in host else host
    return ProxySettings(
        url=f"{parts.scheme}://{host}" + (f":{port}" if port is not None else ""),
        username=username if username is not None else unquote(parts.username or ""),
        password=password if password is not None else SecretStr(unquote(parts.password or "")),
    )


def direct_hosts(entries: Iterable[str]) -> Callable[[str, int | None], bool]:
    """The matcher of `no_proxy`: does a host (and port) go round the proxy?

    Entries, in any case: ``*`` (all), ``example.com`` (the host and everything below it), ``.example.com`` or
    ``*.example.com`` (only below it), an IP address, a network such as ``10.0.0.0/8``; each but networks may end in
    ``:port`` and then holds for that port alone. Names are not resolved: an address matches addresses only.

    Raises:
        ConfigurationError: a network or a port cannot be read.
    """
    rules = [_rule(entry.strip().lower()) for entry in entries if entry.strip()]

    def matches(host: str, port: int | None = None) -> bool:
        name = host.strip("[]").rstrip(".").lower()
        return any(rule(name, port) for rule in rules)

    return matches


def _rule(entry: str) -> Callable[[str, int | None], bool]:
    if entry == "*":
        return lambda _host, _port: True
    if "/" in entry:
        network = _network(entry)
        return lambda host, _port: (address := _address(host)) is not None and address in network
    name, wanted = _split_port(entry)
    exact = _address(name)
    if exact is not None:
        return lambda host, port: _address(host) == exact and wanted in (None, port)
    below = name.startswith((".", "*."))
    stem = name.removeprefix("*").strip(".")
    return lambda host, port: (host.endswith(f".{stem}") or (host == stem and not below)) and wanted in (None, port)


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        raise ConfigurationError(f"{entry!r} is not a network.", setting="network.no_proxy", hint="Write it as 10.0.0.0/8.") from None


def _split_port(entry: str) -> tuple[str, int | None]:
    if _address(entry.strip("[]")) is not None:
        return entry.strip("[]"), None
    name, colon, port = entry.rpartition(":")
    if not colon:
        return entry, None
    if not port.isdecimal() or not name:
        raise ConfigurationError(f"{entry!r} is not a host with a port.", setting="network.no_proxy", hint="Write it as host:443.")
    return name.strip("[]"), int(port)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


class NetworkPolicy:
    """What `[network]` means for each hop. Reads its files on first use.

    Raises:
        ConfigurationError: the proxy's address or an entry of `no_proxy` cannot be read.
    """

    def __init__(self, cfg: NetworkCfg) -> None:
        self._cfg = cfg
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._direct = direct_hosts(cfg.no_proxy)
        self._proxy = split_proxy(cfg.proxy, cfg.proxy_username, cfg.proxy_password) if cfg.proxy else None

    def proxy_for(self, host: str, port: int | None = None) -> ProxySettings | None:
        """The proxy on the way to a host; None where it is reached directly."""
        return None if self._proxy is None or self._direct(host, port) else self._proxy

    @property
    def configured_proxy(self) -> ProxySettings | None:
        return self._proxy

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """The shared TLS context, built once: building one takes 17 to 88 ms."""
        with self._lock:
            if self._context is None:
                self._context = self.new_ssl_context()
            return self._context

    def new_ssl_context(self) -> ssl.SSLContext:
        """A context of its own, for a library that changes what it is handed (requests).

        Raises:
            ConfigurationError: a certificate file cannot be read, or no authority is known at all.
            UnsupportedFeatureError: `trust_env` is on.
        """
        if self._cfg.trust_env:
            raise UnsupportedFeatureError(
                "Outbound settings from the environment are not part of this release.",
                setting="network.trust_env",
                hint="Set [network] proxy, no_proxy and ca_bundle instead.",
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name, TLS 1.2 or later
        bundle = next((path for path in SYSTEM_BUNDLES if Path(path).is_file()), None)
        if bundle is None and self._cfg.ca_bundle is None:
            raise ConfigurationError("This system has no list of certificate authorities.", setting="network.ca_bundle", hint="Name a PEM file.")
        if bundle:
            context.load_verify_locations(bundle)
        if self._cfg.ca_bundle:
            _load("network.ca_bundle", self._cfg.ca_bundle, context.load_verify_locations)
        if self._cfg.client_certificate:
            secret = self._cfg.client_key_password
            # An empty password keeps OpenSSL from asking for one on the terminal.
            password = secret.get_secret_value() if secret else ""
            _load("network.client_certificate", self._cfg.client_certificate, lambda path: context.load_cert_chain(path, self._cfg.client_key, password))
        return context

    def async_client(self, timeout_s: float) -> httpx2.AsyncClient:
        """An httpx2 client under this policy, usable from any event loop. It follows no redirect: a prompt goes to the host that was named."""
        from .http_transport import make_async_client

        return make_async_client(self, timeout_s)


def _load(setting: str, path: Path, load: Callable[[Path], None]) -> None:
    try:
        load(path)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else "not usable PEM, or its key or password does not fit"
        raise ConfigurationError(f"{path} cannot be used: {reason}.", setting=setting, hint="It must be a PEM file.") from error
