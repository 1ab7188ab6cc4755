"""What the certificates of a failed handshake say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ..network.faults import FaultKind
from .handshake import Seen

SOON_DAYS = 30
MANY = 5
"""Names of a certificate that are told."""


def day(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"


def missing_authority(chain: Sequence[Seen]) -> str:
    """The authority that would have to be trusted: who issued the last certificate that was sent."""
    return chain[-1].issuer if chain else ""


def same_name(chain: Sequence[Seen], trusted: Sequence[Seen]) -> bool:
    """Whether an authority of the missing one's name is trusted: then its key is another one."""
    return bool(chain) and any(one.subject == missing_authority(chain) for one in trusted)


def why(kind: FaultKind, chain: Sequence[Seen], host: str, trusted: Sequence[Seen] = ()) -> str:
    """What the peer's certificates add to OpenSSL's words; empty where there are none, or nothing to add.

    Args:
        trusted: the authorities that are configured.
    """
    if not chain:
        return ""
    leaf = chain[0]
    if kind == "tls-expired":
        late = next((one for one in chain if one.not_after < datetime.now(UTC).timestamp()), leaf)
        return f"The certificate of {late.subject}, signed by {late.issuer}, ended on {day(late.not_after)}."
    if kind == "tls-name":
        more = f" and {len(leaf.names) - MANY} more" if len(leaf.names) > MANY else ""
        return f"It is for {', '.join(leaf.names[:MANY]) or leaf.subject}{more}, not for {host}; signed by {leaf.issuer}."
    if kind == "tls-authority":
        if len(chain) == 1 and leaf.self_signed:
            return f"It is self-signed ({leaf.subject}), by no authority."
        if same_name(chain, trusted):
            return (
                f"It is signed by {leaf.issuer}; an authority named {missing_authority(chain)} is configured here, with another key than the one that signed."
            )
        sent = "" if len(chain) > 1 else " (it sends no intermediate certificate)"
        return f"It is signed by {leaf.issuer}; the authority that is missing here is {missing_authority(chain)}{sent}."
    return f"It is signed by {leaf.issuer}."
