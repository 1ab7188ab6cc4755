"""From what is wrong to the lines of configuration that would mend it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from ...errors import RagError, ServiceUnavailableError
from ..network.faults import Fault, FaultKind
from .certificates import missing_authority
from .handshake import Seen
from .report import Fix
from .sources import settings_of
from .targets import Target

if TYPE_CHECKING:
    from ..config import Settings

PROXY_EXAMPLE = "http://proxy.example.com:8080"
CA_EXAMPLE = "/etc/ssl/company-ca.pem"
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_MODEL = re.compile(r"[A-Za-z0-9._:/-]+")
_DIMS = re.compile(r"vectors have (\d+) dimensions")


EXAMPLES = {
    "azure.certificate_path": "/etc/ssl/identity.pem",
    "azure.certificate_password": "${CERTIFICATE_PASSWORD}",
    "azure.client_secret": "${CLIENT_SECRET}",
    "azure.tenant_id": "your-tenant-id",
    "azure.client_id": "your-application-id",
    "azure.authority_host": "https://login.microsoftonline.com",
    "azure.scope": "https://cognitiveservices.azure.com/.default",
    "azure.credential": "certificate",
    "azure_openai.api_key": "${AZURE_OPENAI_API_KEY}",
    "chat.api_base": "https://your-resource.openai.azure.com",
    "chat.api_key": "${CHAT_API_KEY}",
    "chat.api_version": "2024-06-01",
    "embed.api_base": "https://your-resource.openai.azure.com",
    "embed.api_key": "${EMBED_API_KEY}",
    "embed.api_version": "2024-06-01",
    "network.ca_bundle": CA_EXAMPLE,
    "network.client_certificate": "/etc/ssl/client.pem",
    "network.client_key": "/etc/ssl/client-key.pem",
    "network.client_key_password": "${CLIENT_KEY_PASSWORD}",
    "network.proxy": PROXY_EXAMPLE,
    "network.no_proxy": "localhost, .company.com, 10.0.0.0/8",
    "persistence.dsn": "postgresql://USER@HOST:5432/DATABASE",
    "search.aws_profile": "your-profile",
    "search.aws_region": "eu-west-1",
    "search.aws_role_arn": "arn:aws:iam::123456789012:role/search",
    "search.host": "https://opensearch.example.com:9200",
    "search.index_alias": "rag-documents",
    "search.password": "${SEARCH_PASSWORD}",
    "search.username": "your-user",
    "storage.path": "/var/lib/rag",
    "cache.path": "/var/cache/rag",
    "telemetry.endpoint": "https://otel.example.com:4318",
}
"""What a value may look like, for those that only a person knows; secrets stand in variables."""


def example(error: RagError, hint: str) -> tuple[Fix, ...]:
    """A line to complete, where nothing tells the value; none for limits, and none for what is no matter of a value: a service that is down."""
    if isinstance(error, ServiceUnavailableError) and not error.setting.startswith("network."):
        return ()
    return tuple(Fix(key, EXAMPLES[key], ready=False, note=hint) for key in settings_of(error.setting)[:1] if key in EXAMPLES)


def direct(settings: Settings, host: str, note: str) -> Fix:
    """The host goes round the proxy, beside those that do already."""
    return Fix("network.no_proxy", ", ".join([*settings.network.no_proxy, host]), note=note)


def of_proxy(settings: Settings, target: Target, status: int) -> list[Fix]:
    """What the proxy's refusal asks for."""
    if status == 407:
        return _credential(settings)
    return [direct(settings, target.host, "If this host can be reached without the proxy; else have it allowed there.")]


def _credential(settings: Settings) -> list[Fix]:
    note = "Best in a secret file named network__proxy_password, or as a variable; never as text in this file."
    user = Fix("network.proxy_username", settings.network.proxy_username or "your-user", ready=False, note="The user that the proxy knows.")
    return [user, Fix("network.proxy_password", "${PROXY_PASSWORD}", ready=False, note=note)]


def of_fault(settings: Settings, target: Target, fault: Fault) -> list[Fix]:
    """What helps where there is no connection at all."""
    proxied = fault.at_proxy
    if proxied or target.kind == "proxy":
        return (
            [Fix("network.proxy", PROXY_EXAMPLE, ready=False, note="The proxy's right address.")]
            if fault.kind in ("name", "refused", "connect-timeout")
            else []
        )
    if fault.kind in ("name", "connect-timeout", "no-route") and target.kind != "postgres":
        has = settings.network.proxy is not None or settings.network.https_proxy is not None
        return (
            []
            if has
            else [Fix("network.proxy", PROXY_EXAMPLE, ready=False, note="If this network is left through a proxy; trust_env = true takes that of HTTPS_PROXY.")]
        )
    return []


def of_tls(settings: Settings, target: Target, fault: Fault, chain: Sequence[Seen]) -> list[Fix]:
    """What helps where there is no trust."""
    if fault.kind == "tls-authority":
        who = missing_authority(chain)
        return [Fix("network.ca_bundle", CA_EXAMPLE, ready=False, note=f"A PEM file that holds {who or 'the authority that signed it'}.")]
    if fault.kind == "tls-client-certificate":
        return [Fix("network.client_certificate", "/etc/ssl/client.pem", ready=False, note="PEM with certificate and key, or PFX.")]
    if fault.kind == "tls-version" and settings.network.tls_min_version != "1.2":
        return [Fix("network.tls_min_version", "1.2", note="The server speaks nothing newer.")]
    return [] if fault.at_proxy or target.kind in ("proxy", "postgres") else _of_address(settings, target, fault.kind, chain)


def _of_address(settings: Settings, target: Target, kind: FaultKind, chain: Sequence[Seen]) -> list[Fix]:
    """Another way to write the address."""
    if kind == "tls-name" and _hosts(chain):
        return [Fix(target.setting, _renamed(settings, target, _hosts(chain)[0]), note="The name that its certificate is for.")]
    if kind == "tls-none":
        note = "The server speaks no TLS at this port; credentials then go unencrypted."
        return [Fix(target.setting, _with_scheme(settings, target, "http"), note=note)]
    return []


def _hosts(chain: Sequence[Seen]) -> list[str]:
    """Names that can be written into a configuration; a certificate may hold anything, ``${VARIABLE}`` too."""
    return [name for name in chain[0].names if _HOST.fullmatch(name)] if chain else []


def _renamed(settings: Settings, target: Target, host: str) -> str:
    name = f"[{host}]" if ":" in host else host
    return _rewritten(settings, target, lambda parts: parts._replace(netloc=name + (f":{parts.port}" if parts.port else "")))


def _with_scheme(settings: Settings, target: Target, scheme: str) -> str:
    return _rewritten(settings, target, lambda parts: parts._replace(scheme=scheme))


def _rewritten(settings: Settings, target: Target, change: Callable[[SplitResult], SplitResult]) -> str:
    """The setting's value with this address changed; of several, the others stay as they are."""
    section, _, key = target.setting.partition(".")
    value = getattr(getattr(settings, section), key, None)
    written = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
    if len(written) < 2:
        written = written or [target.address]
        return change(_split(written[0])).geturl()
    return ", ".join(change(_split(part)).geturl() if _split(part).geturl() == target.address else part for part in written)


def _split(address: str) -> SplitResult:
    """Without what may be secret in an address."""
    parts = urlsplit(address if "://" in address else f"https://{address}")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")


def of_error(settings: Settings, error: RagError) -> list[Fix]:
    """What an error of a service asks for, where its words tell the value."""
    found = _DIMS.search(f"{error.message} {error.hint}") if error.setting == "embed.dims" else None
    if found:
        return [Fix("embed.dims", found[1], note="The length of the vectors that the model gives; an index of another length has to be built anew.")]
    if error.setting == "network.proxy_username":  # met by a request: plain http goes through a proxy without CONNECT
        return _credential(settings)
    if error.setting in ("chat.model", "embed.model", "chat.deployment", "embed.deployment") and error.code == "configuration":
        return [Fix(error.setting, "your-deployment", ready=False, note="The deployment's name, as the resource's portal shows it.")]
    return []


def of_index(settings: Settings, embedder: object, dims: object) -> list[Fix]:
    """The model that made an index, as the configuration names it."""
    name = str(embedder or "")
    provider, _, model = name.partition(":")
    if provider in ("azure", "openai") and _MODEL.fullmatch(model) and str(dims).isdecimal():
        note = "The model that made the index; or build it anew for the configured one."
        return [Fix("embed.provider", provider, note=note), Fix("embed.model", model), Fix("embed.dims", str(dims))]
    if name.startswith("all-MiniLM-L6-v2/") and settings.embed.provider != "local":
        return [Fix("embed.provider", "local", note="The model that made the index."), Fix("embed.model", "all-MiniLM-L6-v2"), Fix("embed.dims", str(dims))]
    return []
