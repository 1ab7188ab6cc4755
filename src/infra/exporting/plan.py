"""What `[telemetry]` comes to: addresses, headers and attributes. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ...errors import ConfigurationError, RagError, ServiceCredentialsError
from ..hops import Hop, answer_error

if TYPE_CHECKING:
    from ..config import Settings, TelemetryCfg

PATHS = {"traces": "/v1/traces", "metrics": "/v1/metrics", "logs": "/v1/logs"}
"""Of each signal below the endpoint (OTLP/HTTP 1.x)."""
GRPC_PORT = 4317
GRPC_SCHEMES = {"grpc": "https", "grpcs": "https", "grpc+insecure": "http"}
"""What an address in them comes to. ``grpc`` alone means TLS: a key must not go out in the clear because a letter is missing."""
NOUN = "The OTLP collector"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_.-]{0,127}")


def base_of(endpoint: str) -> str:
    """The address below which the signals' paths stand; one that names a signal's own path is understood."""
    base = endpoint.rstrip("/")
    for path in PATHS.values():
        base = base.removesuffix(path)
    return base.rstrip("/")


def hop_of(endpoint: str) -> Hop:
    """The way to the collector, without its proxy."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    address = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}" + (f":{parts.port}" if parts.port else "")
    return Hop(NOUN, address, "telemetry.endpoint", timeout_setting="telemetry.timeout_s")


def over_grpc(cfg: TelemetryCfg, given: str | None = None) -> bool:
    """Whether exports go over gRPC: by `[telemetry] protocol`, or by the address's scheme."""
    return cfg.protocol == "grpc" or (given or cfg.endpoint or "").partition("://")[0].lower() in GRPC_SCHEMES


def endpoint_of(cfg: TelemetryCfg, given: str | None) -> str:
    """Where to export to, as an http or https address: what the caller gave, else `[telemetry] endpoint`.

    Raises:
        ConfigurationError: neither names an address.
    """
    endpoint = given or cfg.endpoint
    if not endpoint:
        hint = "Name the OTLP receiver, as https://host:4318; or set exporter = console."
        raise ConfigurationError("Telemetry is to be exported, and no collector is named.", setting="telemetry.endpoint", hint=hint)
    from ..config.telemetry import collector_address

    try:
        return plain_address(collector_address(endpoint) or "")
    except ValueError as error:
        raise ConfigurationError(f"The collector's address {error}", setting="telemetry.endpoint", hint="Write it as https://host:4318.") from None


def plain_address(endpoint: str) -> str:
    """An address in the schemes of gRPC as https or http, on gRPC's port where it names none; any other as it is."""
    scheme, _, rest = endpoint.partition("://")
    plain = GRPC_SCHEMES.get(scheme.lower())
    if plain is None:
        return endpoint
    rest = rest.partition("/")[0]
    return f"{plain}://{rest}" if urlsplit(f"//{rest}").port else f"{plain}://{rest.rstrip(':')}:{GRPC_PORT}"


def headers_of(text: str) -> dict[str, str]:
    """Headers written as ``name=value,name=value``, the values percent-encoded.

    Raises:
        ConfigurationError: they cannot be read; the message repeats none of them.
    """
    found = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = entry.partition("=")
        value = unquote(value.strip(), encoding="latin-1")
        if not equals or not _HEADER_NAME.fullmatch(name.strip()) or not _HEADER_VALUE.fullmatch(value):
            hint = "Write them as name=value,name=value; within a value a space is %20, a comma %2C."
            raise ConfigurationError("The headers for the collector cannot be read.", setting="telemetry.headers", hint=hint)
        found[name.strip().lower()] = value
    return found


def attributes_of(settings: Settings, service_name: str) -> dict[str, str]:
    """Attributes of all that this process exports, in the names of OTel's semantic conventions.

    Raises:
        ConfigurationError: an entry of `[telemetry] resource` is not name=value.
    """
    found = {"service.name": service_name, "deployment.environment.name": settings.environment.name}
    for entry in settings.telemetry.resource:
        name, equals, value = entry.partition("=")
        if not equals or not _ATTRIBUTE.fullmatch(name.strip()):
            raise ConfigurationError(f"{entry!r} is no attribute.", setting="telemetry.resource", hint="Write it as service.namespace=hr.")
        found[name.strip()] = value.strip()[:256]
    return found


def refusal(status: int, way: Hop, port: int | None) -> RagError:
    """What a collector's answer that is no success means."""
    known = answer_error(status, way)
    if known is not None:
        known.setting = known.setting or way.setting
        return known
    where = {"hop": way.address, "proxy": way.proxy, "setting": way.setting}
    if status in (401, 403):
        hint = "Set its key in telemetry.headers, or ask for this machine to be allowed."
        return ServiceCredentialsError(f"{NOUN} refuses us (HTTP {status}).", hint=hint, **where)
    hint = "Name the OTLP/HTTP receiver, as https://host:4318" + ("; 4317 is gRPC: protocol = grpc." if port == GRPC_PORT else ".")
    return ConfigurationError(f"What answers takes no OTLP over HTTP (HTTP {status}).", hint=hint, **where)
