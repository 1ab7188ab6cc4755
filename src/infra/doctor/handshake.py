"""TLS handshakes that can be looked at: which certificates the peer sent, also those that were refused, and whether it asked for ours.

Verification is on in each of them: what was refused is read from the handshake that failed. `ssl` offers both only to its
own tests (`SSLObject._sslobj`, `SSLContext._msg_callback`; Python 3.10 to 3.14); where they are gone, the details are missing.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..config import NetworkCfg
from ..network.tls import make_context

_HANDSHAKE, _CERTIFICATE_REQUEST = 22, 13


@dataclass(frozen=True, slots=True)
class Seen:
    """One certificate, as it was sent."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_after: float
    """Seconds since the epoch."""

    @property
    def self_signed(self) -> bool:
        return self.subject == self.issuer


class Inspector:
    """A TLS context of its own under `[network]`: the policy's is shared with others, and must not be listened to."""

    def __init__(self, cfg: NetworkCfg) -> None:
        self._cfg = cfg
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._asking: list[object] = []  # few, and as short-lived as a diagnosis

    def context(self) -> ssl.SSLContext:
        """Built once; reads files.

        Raises:
            ConfigurationError: as `make_context`.
        """
        with self._lock:
            if self._context is None:
                context = make_context(self._cfg)
                with suppress(AttributeError):
                    context._msg_callback = self._note  # type: ignore[attr-defined] # noqa: SLF001 - see the module's docstring
                self._context = context
            return self._context

    @property
    def ready(self) -> bool:
        """Whether its files were read."""
        return self._context is not None

    def asked(self, tls: ssl.SSLObject) -> bool:
        """Whether the peer asked for a client certificate."""
        return any(one is tls for one in self._asking)

    def _note(self, tls: object, direction: str, _version: object, kind: object, message: object, _data: bytes) -> None:
        if direction == "read" and kind == _HANDSHAKE and message == _CERTIFICATE_REQUEST:
            self._asking.append(tls)


def chain_of(tls: ssl.SSLObject) -> tuple[Seen, ...]:
    """What the peer sent, its own certificate first; empty where that cannot be told."""
    try:
        found = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined] # noqa: SLF001 - see the module's docstring
        return tuple(seen(one.get_info()) for one in found or ())
    except (AttributeError, TypeError, ValueError, KeyError):
        return ()


def seen(info: Mapping[str, Any]) -> Seen:
    """A certificate of what `SSLSocket.getpeercert` returns."""
    names = tuple(_printable(value) for kind, value in info.get("subjectAltName", ()) if kind in ("DNS", "IP Address"))
    return Seen(_name(info.get("subject", ())), _name(info.get("issuer", ())), names, ssl.cert_time_to_seconds(info["notAfter"]))


_SHORT = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU"}


def _name(parts: Any) -> str:
    """``CN=…, O=…``: what people know an authority by."""
    found = {_SHORT[key]: _printable(value) for part in parts for key, value in part if key in _SHORT}
    return ", ".join(f"{key}={found[key]}" for key in ("CN", "O", "OU") if key in found) or "(no name)"


def _printable(text: object) -> str:
    """What a stranger wrote into a certificate, without what could steer a terminal or begin a line."""
    return "".join(char if char.isprintable() else "?" for char in str(text))
