"""The matcher of `no_proxy`: which hosts go round the proxy. One dialect for all hops, because those of the libraries differ."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable

from ...errors import ConfigurationError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Rule = Callable[[str, int | None], bool]
SETTING = "network.no_proxy"
_NUMBERS = re.compile(r"(\*\.)?\.?\d+(\.(\d+|\*))*\.?(-\d+(\.\d+)*)?|(\*\.)+\*")
"""Numbers and dots, also with `*`, or two of them: the top name of a host is never a number (RFC 1123)."""
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def direct_hosts(entries: Iterable[str]) -> Callable[[str, int | None], bool]:
    """Does a host (and port) go round the proxy?

    Entries, in any case: ``*`` (all), ``example.com`` (the host and everything below it), ``.example.com`` or
    ``*.example.com`` (only below it), an IP address, a network such as ``10.0.0.0/8``; each but networks may end in
    ``:port`` and then holds for that port alone; an IPv6 address stands in brackets before a port. Names are not resolved:
    an address matches addresses only, but ``localhost`` is also 127.0.0.0/8 and ::1. An IPv4 address that is written as an
    IPv6 one (``::ffff:10.0.0.1``) is both.

    Raises:
        ConfigurationError: an entry cannot be read.
    """
    rules = [_rule(entry.strip().lower()) for entry in entries if entry.strip()]

    def matches(host: str, port: int | None = None) -> bool:
        name = _ascii(host.strip("[]").rstrip(".").lower())
        return any(rule(name, port) for rule in rules)

    return matches


def _rule(entry: str) -> Rule:
    if entry == "*":
        return lambda _host, _port: True
    if "/" in entry:
        network = _network(entry)
        return lambda host, _port: any(address in network for address in _addresses(host))
    name, wanted = _split_port(entry)
    exact = _addresses(name)
    if exact:
        return lambda host, port: wanted in (None, port) and any(address in exact for address in _addresses(host))
    return _name_rule(entry, name, wanted)


def _name_rule(entry: str, name: str, wanted: int | None) -> Rule:
    if _NUMBERS.fullmatch(name):  # a part of an address, or a range: as a name it would never match
        raise ConfigurationError(f"{entry!r} is no whole address, and would never match.", setting=SETTING, hint=_network_hint(name))
    below = name.startswith((".", "*."))
    stem = _ascii((name[2:] if name.startswith("*.") else name.removeprefix(".")).rstrip("."))
    if not _NAME.fullmatch(stem):
        hint = "Write example.com, .example.com, *.example.com, 10.0.0.0/8 or an address, each with :port where needed."
        raise ConfigurationError(f"{entry!r} is no host, address or network.", setting=SETTING, hint=hint)
    local = stem == "localhost" and not below

    def rule(host: str, port: int | None) -> bool:
        named = host.endswith(f".{stem}") or (host == stem and not below)
        return wanted in (None, port) and (named or (local and any(address.is_loopback for address in _addresses(host))))

    return rule


def _network_hint(name: str) -> str:
    """How the network is written that was probably meant."""
    parts = [part for part in name.partition("-")[0].split(".") if part and part != "*"]
    if "-" in name or name.startswith((".", "*.")) or not 0 < len(parts) < 4 or not all(part.isascii() and int(part) < 256 for part in parts):
        return "Write a network as 10.0.0.0/8, an address as 10.1.2.3."
    return f"Write the network as {'.'.join([*parts, *['0'] * (4 - len(parts))])}/{8 * len(parts)}."


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        raise ConfigurationError(
            f"{entry!r} is not a network.", setting=SETTING, hint="Write it as 10.0.0.0/8; a host stands without scheme and path."
        ) from None


def _split_port(entry: str) -> tuple[str, int | None]:
    if _addresses(entry.strip("[]")):
        return entry.strip("[]"), None
    name, colon, port = entry.rpartition(":")
    if not colon:
        return entry, None
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536) or not name:
        raise ConfigurationError(f"{entry!r} is not a host with a port.", setting=SETTING, hint="Write it as host:443.")
    return name.strip("[]"), int(port)


def _addresses(text: str) -> tuple[Address, ...]:
    """The address that a text is, in both forms where it has two; empty for a name."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])  # without an IPv6 zone, which is a matter of this machine
    except ValueError:
        return ()
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (address,) if mapped is None else (address, mapped)


def _ascii(name: str) -> str:
    """A name as it goes over the wire."""
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        return name
