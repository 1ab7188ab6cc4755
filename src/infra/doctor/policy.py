"""The network policy itself: whether its files can be used, and what in it deserves a warning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from ...errors import ConfigurationError
from ..network.tls import make_context
from .bundles import bundle_problem
from .channel import in_thread
from .report import Fix
from .walk import Step, Walk

SOON = timedelta(days=30)


def steps() -> tuple[Step, ...]:
    return (Step("policy", policy), Step("authorities", authorities), Step("certificate", certificate), Step("clients", clients))


async def policy(walk: Walk) -> str:
    """Proxies and exceptions can be read; the environment is used only where it was asked for."""
    found = walk.policy
    cfg = walk.settings.network
    if cfg.trust_env:
        names = sorted({source.where for key, source in walk.settings.provenance.sources.items() if key.startswith("network.") and _foreign(source.where)})
        used = f": {', '.join(names)}" if names else ", and none of them is set"
        walk.warn(f"Variables that all programs share fill what is not configured{used}.", "network.trust_env", "Write what is meant into the configuration.")
    proxies = ", ".join(proxy.url for proxy in found.proxies) or "no proxy"
    return f"{proxies}; directly: {', '.join(cfg.no_proxy) or 'none'}" if found.proxies else proxies


def _foreign(variable: str) -> bool:
    from ..configuring.foreign import CA_VARIABLES

    return variable in CA_VARIABLES or variable.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


async def authorities(walk: Walk) -> str:
    """The authorities that are trusted, as the product loads them."""
    cfg = walk.settings.network
    shown = {"client_certificate": None, "client_key": None, "client_key_password": None}
    context = await in_thread(lambda: make_context(cfg.model_copy(update=shown)))
    problem, hint = await in_thread(lambda: bundle_problem(cfg))
    if problem and cfg.ca_mode == "replace":
        raise ConfigurationError(problem, setting="network.ca_bundle", hint=hint)
    if problem:
        walk.warn(problem, "network.ca_bundle", hint)
    whom = f"{cfg.ca_bundle}" if cfg.ca_mode == "replace" else f"the system's and {cfg.ca_bundle}" if cfg.ca_bundle else "the system's"
    count = context.cert_store_stats()["x509_ca"]
    by_hash = cfg.ca_bundle is not None and cfg.ca_bundle.is_dir()  # read when a handshake asks for one
    held = ("those of a folder" if not count else f"{count} authorities, and those of a folder") if by_hash else f"{count} authorities"
    return f"{held} ({whom}), TLS {cfg.tls_min_version} at least"


async def certificate(walk: Walk) -> str:
    """Our own client certificate, as the product loads it, and how long it is good."""
    cfg = walk.settings.network
    await in_thread(lambda: make_context(cfg))
    path = cfg.client_certificate
    if path is None:
        return "no client certificate"
    ends = await in_thread(lambda: _end_of(path, walk))
    if ends is None:
        return f"{path} is shown"
    left = ends - datetime.now(UTC)
    if left < timedelta(0):
        raise ConfigurationError(f"Our client certificate expired on {ends:%Y-%m-%d}.", setting="network.client_certificate", hint="Have it renewed.")
    if left < SOON:
        walk.warn(f"Our client certificate expires in {left.days} days, on {ends:%Y-%m-%d}.", "network.client_certificate", "Have it renewed.")
    return f"{path} is shown, valid until {ends:%Y-%m-%d}"


async def clients(walk: Walk) -> str:
    """The caches of clients hold as many as are configured; else each call would open a connection of its own."""
    from ..client_sizes import clients_needed, shortfalls

    for sentence in shortfalls(walk.settings):
        needed = max(clients_needed(walk.settings).values())
        fix = Fix("cache.clients", str(needed), note="As many as the largest section needs.")
        walk.warn(sentence, "cache.clients", "Raise it, or leave it out: it then follows what is configured.", fix)
    return "the caches hold " + ", ".join(f"{count} of {section}" for section, count in clients_needed(walk.settings).items() if count)


def _end_of(path: Path, walk: Walk) -> datetime | None:
    """When it expires; None where the package that reads certificates is not installed."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
    except ImportError:
        return None
    data = path.read_bytes()
    secret = walk.settings.network.client_key_password
    try:
        if b"-----BEGIN" in data:
            return x509.load_pem_x509_certificates(data[data.index(b"-----BEGIN CERTIFICATE") :])[0].not_valid_after_utc
        found = load_pkcs12(data, secret.get_secret_value().encode() if secret else None).cert
        return found.certificate.not_valid_after_utc if found else None
    except ValueError:
        return None
