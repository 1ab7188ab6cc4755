"""How one request of an identity ended, noted where it happens.

What azure-identity raises hides that: transport errors, refusals and pages of an intercepting proxy all arrive as
`ClientAuthenticationError`, some without their cause.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from ..network import ProxySettings


@dataclass(slots=True)
class Exchange:
    """How the last request of a fetch ended. Holds nothing that was sent, and of what came back only codes."""

    hop: str = ""
    """``scheme://host:port`` that was asked."""
    proxy: ProxySettings | None = None
    failure: Exception | None = field(default=None, repr=False)
    """What the connection failed with; None once an answer came."""
    status: int | None = None
    retry_after: str | None = None
    error: str = ""
    """OAuth's word, such as ``invalid_client``."""
    spoken: bool = False
    """Whether it was refused in Azure's form, a JSON object with an ``error``: something between answers with a page of its own."""
    codes: tuple[str, ...] = ()
    """Entra's numbers, such as ``7000215``."""


def address(url: str) -> str:
    """``scheme://host`` of an address, with the port where it names one, and never with credentials."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
