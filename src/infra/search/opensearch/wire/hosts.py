"""The addresses of `[search] host`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from .....errors import ConfigurationError
from ....config.section import has_form

SETTING = "search.host"


@dataclass(frozen=True, slots=True)
class Host:
    """One address of the cluster. Never holds credentials."""

    scheme: str
    name: str
    port: int
    prefix: str = ""
    """Path that the cluster lies under, such as behind a gateway; without a slash at its end."""

    @property
    def authority(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port == _default_port(self.scheme) else f"{name}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


def parse_hosts(text: str | None) -> tuple[Host, ...]:
    """The hosts of a comma-separated list, in order, each once.

    Raises:
        ConfigurationError: an address cannot be used. The message does not repeat it where it may hold a password.
    """
    found = tuple(dict.fromkeys(_host(part.strip()) for part in (text or "").split(",") if part.strip()))
    if not found:
        raise ConfigurationError("No OpenSearch address is set.", setting=SETTING, hint="Write it as https://opensearch.example.com:9200.")
    return found


def _host(text: str) -> Host:
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        name, port = parts.hostname, parts.port
    except ValueError:
        name, port, parts = None, None, urlsplit("")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("The OpenSearch address holds credentials.", setting=SETTING, hint="Move them to [search] username and password.")
    if not name or parts.query or parts.fragment or not has_form(parts.geturl(), ("http", "https")):
        raise ConfigurationError("An OpenSearch address cannot be used.", setting=SETTING, hint="Write it as https://opensearch.example.com:9200.")
    return Host(parts.scheme, _ascii(name), port or _default_port(parts.scheme), parts.path.rstrip("/"))


def _ascii(name: str) -> str:
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        raise ConfigurationError(f"The OpenSearch host {name!r} is no host name.", setting=SETTING) from None


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
