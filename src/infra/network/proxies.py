"""The proxies of `[network]`: their addresses, their credentials, and which of them serves which scheme."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import SecretStr

from ...errors import ConfigurationError, UnsupportedFeatureError
from ..config.section import has_form
from ..secrets.live import LiveSecret

if TYPE_CHECKING:
    from ..config import NetworkCfg

DIRECT = "direct"
"""The value of `http_proxy` or `https_proxy` that means: no proxy for this scheme, whatever `proxy` says."""
PROXY_KEYS = ("proxy", "http_proxy", "https_proxy")
"""The keys of `[network]` that hold an address."""
DEFAULT_PORTS = {"http": 80, "https": 443}


_FORM = (
    "Write it as http://host:port; within user and password / is %2F, # is %23, ? is %3F, @ is %40, : is %3A, % is %25,"
    " or put them into network.proxy_username and network.proxy_password as they are."
)


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """A proxy. Its address holds no credentials, so that it may stand in logs and errors."""

    url: str
    username: str = ""
    password: SecretStr = field(default_factory=lambda: SecretStr(""))
    setting: str = field(default="network.proxy", compare=False)
    """The key that holds its address."""

    @property
    def changes(self) -> bool:
        """Whether the password may be another one later."""
        return isinstance(self.password, LiveSecret)

    @property
    def authorization(self) -> str:
        """The value of `Proxy-Authorization`, in UTF-8; empty where the proxy has no user."""
        if not self.username:
            return ""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password.get_secret_value()}".encode()).decode("ascii")


def proxies_of(cfg: NetworkCfg) -> dict[str, ProxySettings | None]:
    """The proxy for addresses of each scheme; None where it has none.

    Raises:
        ConfigurationError: an address cannot be used.
        UnsupportedFeatureError: it names a proxy auto-config file, or a SOCKS proxy.
    """
    return {scheme: _proxy_of(cfg, scheme, own) for scheme, own in (("http", cfg.http_proxy), ("https", cfg.https_proxy))}


def _proxy_of(cfg: NetworkCfg, scheme: str, own: SecretStr | None) -> ProxySettings | None:
    chosen, setting = (own, f"network.{scheme}_proxy") if own is not None else (cfg.proxy, "network.proxy")
    if chosen is None or chosen.get_secret_value().strip().lower() == DIRECT:
        return None
    return split_proxy(chosen, cfg.proxy_username, cfg.proxy_password, setting=setting)


def split_proxy(url: SecretStr, username: str | None = None, password: SecretStr | None = None, *, setting: str = "network.proxy") -> ProxySettings:
    """A proxy's address and credentials; keys of their own beat what stands in the address.

    Raises:
        ConfigurationError: not an http or https address with a host and nothing behind it. The message does not repeat the address.
        UnsupportedFeatureError: the address of a proxy auto-config file, or of a SOCKS proxy.
    """
    text = url.get_secret_value().strip()
    address = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, None
    _refuse_unsupported(text, parts, setting)
    # A `/`, `?` or `#` ends the host: of a password that holds one, the rest would be looked up, and shown, as host and path.
    if parts is None or not host or parts.path not in ("", "/") or parts.query or parts.fragment or not has_form(address.replace(" ", "%20"), DEFAULT_PORTS):
        raise ConfigurationError("The proxy's address cannot be used.", setting=setting, hint=_FORM)
    host = f"[{host}]" if ":" in host else host
    return ProxySettings(
        url=f"{parts.scheme}://{host}" + (f":{port}" if port is not None else ""),
        username=username if username is not None else unquote(parts.username or ""),
        password=password if password is not None else _password_in(url),
        setting=setting,
    )


def _password_in(url: SecretStr) -> SecretStr:
    """The password within an address, also where the address may be another one later: its password is then, its host is not."""
    return url.derived(_password_of) if isinstance(url, LiveSecret) else SecretStr(_password_of(url.get_secret_value()))


def _password_of(address: str) -> str:
    text = address.strip()
    try:
        return unquote(urlsplit(text if "://" in text else f"http://{text}").password or "")
    except ValueError:
        return ""


def _refuse_unsupported(text: str, parts: SplitResult | None, setting: str) -> None:
    scheme = text.lower().partition("://")[0] if "://" in text else ""
    path = (parts.path if parts is not None else text).lower()
    if scheme.startswith("pac") or scheme == "file" or path.endswith((".pac", "wpad.dat")):
        raise UnsupportedFeatureError(
            "Proxy auto-config (PAC) files are not supported: they are programs, which decide host by host.",
            setting=setting,
            hint="Open the file; write the proxy that it returns as http://host:port, and the hosts it sends DIRECT to [network] no_proxy.",
        )
    if scheme.startswith("socks"):
        raise UnsupportedFeatureError("SOCKS proxies are not supported.", setting=setting, hint="Name an HTTP proxy, as http://host:port.")
