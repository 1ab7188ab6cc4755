"""Where a PostgreSQL connection string leads to, without libpq and without what proves who we are. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

_PAIR = re.compile(r"(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S*))")


def parameters(dsn: str) -> Mapping[str, str]:
    """The parameters of a connection string that do not prove who we are; empty where it cannot be read."""
    if dsn.startswith(("postgres://", "postgresql://")):
        try:
            parts = urlsplit(dsn)
            found = {"host": unquote(parts.hostname or ""), "port": str(parts.port or ""), **dict(parse_qsl(parts.query))}
        except ValueError:
            return {}
    else:
        found = {match[1]: (match[2] or match[3] or "").replace("\\'", "'").replace("\\\\", "\\") for match in _PAIR.finditer(dsn)}
    return {key: value for key, value in found.items() if key in ("host", "port", "sslmode") and value}


def database_address(dsn: str) -> str:
    """``postgres://host:port`` of a single host over TCP; empty for a socket, several hosts, or a string that cannot be read."""
    found = parameters(dsn)
    host, port = found.get("host", ""), found.get("port", "5432")
    if not host or host.startswith(("/", "@")) or "," in host or not port.isdecimal():
        return ""
    return f"postgres://{f'[{host}]' if ':' in host else host}:{port}"
