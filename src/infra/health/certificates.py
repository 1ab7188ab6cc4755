"""When the certificates of `[network]` end: the client's own, and those of the company's authorities."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ...errors import ConfigurationError
from ..config import NetworkCfg
from .checker import Finding

_PEM_END = b"-----END CERTIFICATE-----"


def client_certificate(cfg: NetworkCfg, days: int, now: datetime) -> Finding:
    """The certificate that is shown to servers.

    Raises:
        ConfigurationError: it cannot be read.
    """
    assert cfg.client_certificate is not None
    try:
        ends = _end_of(cfg.client_certificate, cfg.client_key_password.get_secret_value() if cfg.client_key_password else None)
    except ImportError:
        return Finding("unknown", "when the client certificate ends is read with the package cryptography: founders-rag[azure]")
    except OSError as error:
        raise ConfigurationError(f"{cfg.client_certificate} cannot be read: {error.strerror}.", setting="network.client_certificate") from None
    except ValueError:
        raise ConfigurationError(f"{cfg.client_certificate} holds no certificate that can be read.", setting="network.client_certificate") from None
    return told(ends, f"the client certificate {cfg.client_certificate}", days, now)


def authorities(path: Path, days: int, now: datetime) -> Finding:
    """Those of `ca_bundle`. One that has ended amid others that have not is left over; one that soon will has to be replaced.

    Raises:
        ConfigurationError: it cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(f"{path} cannot be used as authorities.", setting="network.ca_bundle", hint="It must be a PEM file.") from error
    ends = [datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found["notAfter"])), UTC) for found in context.get_ca_certs() if "notAfter" in found]
    return told_of_all(ends, path, days, now)


def told_of_all(ends: Sequence[datetime], path: Path, days: int, now: datetime) -> Finding:
    """What the ends of a bundle's authorities mean."""
    if not ends:
        return Finding("unknown", f"{path} holds no authority's certificate")
    valid = [end for end in ends if end > now]
    if not valid:
        return Finding("unhealthy", f"all {len(ends)} authorities in {path} have expired; network.ca_bundle")
    soon = [end for end in valid if end - now <= timedelta(days=days)]
    if not soon:
        return Finding("healthy")
    return Finding(
        "degraded", f"{len(soon)} of {len(ends)} authorities in {path} expire within {days} days, the first at {_when(min(soon))}; network.ca_bundle"
    )


def told(end: datetime, what: str, days: int, now: datetime) -> Finding:
    """What the end of one certificate means."""
    if end <= now:
        return Finding("unhealthy", f"{what} expired at {_when(end)}; network.client_certificate")
    if end - now <= timedelta(days=days):
        return Finding("degraded", f"{what} expires in {(end - now).days} days, at {_when(end)}; network.client_certificate")
    return Finding("healthy")


def _end_of(path: Path, password: str | None) -> datetime:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

    data = path.read_bytes()
    if _PEM_END in data:
        return x509.load_pem_x509_certificate(data).not_valid_after_utc  # the first is the client's own
    for candidate in (password.encode(),) if password else (None, b""):
        try:
            store = load_pkcs12(data, candidate)
        except ValueError:
            continue
        if store.cert is not None:
            return store.cert.certificate.not_valid_after_utc
    raise ValueError("no certificate")


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
