"""Why a server's certificate does not verify. libpq says only that it does not; an authority that is missing and a date that is over are mended elsewhere."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...network.faults import fault_of
from ...network.tls import make_context

if TYPE_CHECKING:
    from ...config import NetworkCfg
    from ...network.faults import FaultKind

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""https://www.postgresql.org/docs/18/protocol-message-formats.html"""


def why_untrusted(hosts: Iterable[tuple[str, int]], network: NetworkCfg, within_s: float) -> FaultKind:
    """What the first of these servers whose certificate does not verify now fails with; blocks, and sends nothing but a handshake.

    Raises:
        ConfigurationError: a certificate file of the policy cannot be read.
    """
    context = make_context(network)
    ends = time.monotonic() + within_s
    for host, port in hosts:
        left = ends - time.monotonic()
        if left <= 0:
            break
        try:
            with socket.create_connection((host, port), left) as plain:
                plain.sendall(SSL_REQUEST)
                if plain.recv(1) == b"S":
                    context.wrap_socket(plain, server_hostname=host).close()
        except (OSError, ValueError) as error:  # the latter: of a name that is none
            kind = fault_of(error).kind
            if kind.startswith("tls-"):
                return kind
    return "unknown"
