"""Names of headers, as the keys `user_header` give them."""

from __future__ import annotations

import re

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
"""A token of RFC 9110."""
_TAKEN = frozenset({"authorization", "api-key", "host", "content-type", "content-length", "accept", "connection", "cookie", "transfer-encoding"})


def header_name(value: str | None) -> str | None:
    """The same name.

    Raises:
        ValueError: it is no name of a header, or one that a request needs for itself.
    """
    if value is not None and (not _HEADER.fullmatch(value) or value.lower() in _TAKEN or value.lower().startswith("proxy-")):
        raise ValueError("must be the name of a header, and none that a request needs for itself")
    return value
