"""OTLP over gRPC under the outbound policy: the same encoded exports as over HTTP, through gRPC's own channel.

The channel is told everything that it would otherwise take from the environment: certificate authorities, our certificate, and
the proxy, whose ``CONNECT`` it is handed ready made, so that neither ``grpc_proxy`` nor ``no_proxy`` change the way.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import requests

from ...errors import ConfigurationError, RagError, ServiceCredentialsError, UnsupportedFeatureError
from ..hops import Hop, error_of
from ..network.faults import Fault, FaultKind
from .collector import Link, NotTakenError
from .plan import NOUN, headers_of, hop_of, refusal

if TYPE_CHECKING:
    from pydantic import SecretStr

    from ..network import NetworkPolicy, ProxySettings

METHODS = {
    "/v1/traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/v1/metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/v1/logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
"""By the signals' paths of OTLP over HTTP."""
_PROXY_SAID = re.compile(r"HTTP proxy returned response code (\d{3})")
_FAULTS: tuple[tuple[str, FaultKind], ...] = (
    ("certificate has expired", "tls-expired"),
    ("certificate is not yet valid", "tls-not-yet-valid"),
    (r"Hostname Verification Check failed|Peer name \S+ is not in peer certificate", "tls-name"),
    (r"CERTIFICATE_REQUIRED|ALERT_(BAD|UNKNOWN)_C|ALERT_HANDSHAKE", "tls-client-certificate"),
    ("CERTIFICATE_VERIFY_FAILED", "tls-authority"),
    ("UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION", "tls-version"),
    ("WRONG_VERSION_NUMBER|Cannot check peer", "tls-none"),
    (r"(Tls|Ssl|SSL|TLS) handshake failed", "tls-other"),
    ("Domain name not found|lookup|DNS resolution", "name"),
    ("Connection refused", "refused"),
    ("No route to host|unreachable", "no-route"),
    (r"[Tt]imed? ?out|FD Shutdown", "connect-timeout"),
    (r"Socket closed|reset|Broken pipe|GOAWAY|EOF", "reset"),
    ("Trying to connect an http1|PROTOCOL_ERROR|frame", "not-http"),
)
"""What gRPC's own words for a connection that failed mean; the words themselves are not repeated."""


def fault_in(details: str, proxied: bool) -> Fault:
    """What a call failed with before it reached the collector."""
    kind: FaultKind
    if said := _PROXY_SAID.search(details):
        kind = "proxy-auth" if said[1] == "407" else "proxy-forbidden" if said[1] == "403" else "proxy-failed"
        return Fault(kind, at_proxy=True, status=int(said[1]))
    kind = next((kind for pattern, kind in _FAULTS if re.search(pattern, details)), "unknown")
    words = {"name": "its name cannot be resolved", "refused": "the connection is refused", "no-route": "no way leads there"}
    return Fault(kind, words.get(kind, kind.removeprefix("tls-")), at_proxy=proxied and kind in words)


def error_for(code: grpc.StatusCode, details: str, way: Hop) -> RagError | NotTakenError:
    """What an export that failed means."""
    if code is grpc.StatusCode.UNAVAILABLE:
        return error_of(fault_in(details, bool(way.proxy)), way)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return error_of(Fault("read-timeout"), way)
    where = {"hop": way.address, "proxy": way.proxy, "setting": way.setting}
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NotTakenError(ConfigurationError("What answers takes no OTLP over gRPC.", hint="Name its OTLP/gRPC port, mostly 4317.", **where))
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        hint = "Set its key in telemetry.headers, or ask for this machine to be allowed."
        return ServiceCredentialsError(f"{NOUN} refuses us (gRPC {code.name}).", hint=hint, **where)
    return refusal({grpc.StatusCode.RESOURCE_EXHAUSTED: 429, grpc.StatusCode.INVALID_ARGUMENT: 400}.get(code, 500), way, None)


class GrpcSession(requests.Session):
    """Takes what the OTLP exporters encoded for HTTP and calls the same service over gRPC.

    Raises (of `request`):
        RagError: with hop, proxy, setting and hint, whatever failed.
        NotTakenError: the collector takes no signals of this kind.
        UnsupportedFeatureError: the policy asks for what gRPC cannot do.
    """

    def __init__(self, link: Link, network: NetworkPolicy, timeout_s: float, headers: SecretStr | None) -> None:
        super().__init__()
        self.trust_env = False
        self._link, self._network, self._timeout_s, self._secret = link, network, timeout_s, headers
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self.failure: RagError | NotTakenError | None = None
        """What the last request failed with: the exporters catch it, and say only that something did."""

    def request(self, method: str | bytes, url: str | bytes, *args: Any, data: Any = None, **kwargs: Any) -> requests.Response:
        address = urlsplit(url if isinstance(url, str) else url.decode())
        base, path = f"{address.scheme}://{address.netloc}", address.path
        way = hop_of(base).through(self._network.proxy_for(address.hostname or "", address.port, address.scheme))
        try:
            self._called(base, METHODS[path], data, way)
        except grpc.RpcError as error:
            self.close()  # the next one begins anew: with the proxy's password and the files of then
            self.failure = error_for(error.code(), error.details() or "", way)  # a failed call is both error and call
            raise self.failure from None
        except RagError as error:
            self.failure = error
            raise
        answer = requests.Response()
        answer.status_code = 200
        return answer

    def _called(self, base: str, method: str, data: bytes, way: Hop) -> None:
        with self._lock:
            if self._channel is None:
                self._channel = open_channel(base, self._network, way)
            channel = self._channel
        secret = {} if self._secret is None else headers_of(self._secret.get_secret_value())
        call = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        call(data, metadata=tuple(secret.items()), timeout=max(0.001, min(self._timeout_s, self._link.left())), compression=grpc.Compression.Gzip)

    def close(self) -> None:
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        super().close()


def open_channel(base: str, network: NetworkPolicy, way: Hop) -> grpc.Channel:
    """A channel to ``https://host:port`` or ``http://host:port``; connects with its first call.

    Raises:
        ConfigurationError: a certificate file cannot be used.
        UnsupportedFeatureError: the policy asks for what gRPC cannot do.
    """
    parts = urlsplit(base)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    there = f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    proxy = network.proxy_for(parts.hostname or "", parts.port, parts.scheme)
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0), ("grpc.primary_user_agent", "founders-rag")]
    target = there
    if proxy is not None:
        target = _way_to(proxy)
        options += [("grpc.http_connect_server", there), ("grpc.default_authority", there)]
        if proxy.authorization:
            options.append(("grpc.http_connect_headers", f"Proxy-Authorization:{proxy.authorization}"))
    if parts.scheme == "http":
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, _credentials(network), options)


def _way_to(proxy: ProxySettings) -> str:
    parts = urlsplit(proxy.url)
    if parts.scheme != "http":
        hint = "Name a proxy that is reached over plain HTTP, let the collector go round it (network.no_proxy), or use protocol = http."
        raise UnsupportedFeatureError("gRPC cannot speak TLS with a proxy.", setting=proxy.setting, hint=hint)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or 80}"


def _credentials(network: NetworkPolicy) -> grpc.ChannelCredentials:
    if network.tls_min_version != "1.2":
        hint = "Let the collector ask for TLS 1.3 itself and set 1.2 here, or use protocol = http."
        raise UnsupportedFeatureError("gRPC cannot be held to TLS 1.3.", setting="network.tls_min_version", hint=hint)
    with network.tls_files() as files:
        roots = Path(files.authorities).read_bytes()
        if files.client is None:
            return grpc.ssl_channel_credentials(roots)
        return _showing(roots, Path(files.client).read_bytes(), files.password)


def _showing(roots: bytes, client: bytes, password: str) -> grpc.ChannelCredentials:
    """With our certificate; gRPC takes the key in the clear, so it is opened here and nowhere on disk."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

    from ..network.files import CERTIFICATES

    key = load_pem_private_key(client, password.encode()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return grpc.ssl_channel_credentials(roots, key, b"".join(CERTIFICATES.findall(client)))
