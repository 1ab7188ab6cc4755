"""A small Entra ID over real HTTPS: it checks what proves a client's identity as the RFCs say, and issues signed tokens.

Client assertions: RFC 7523 (``iss``, ``sub``, ``aud``, ``exp``, ``nbf``) and RFC 7515 (compact form, RS256 and PS256, ``x5t``,
``x5t#S256``, ``x5c``). Beside the authority it answers as a machine's metadata service (IMDS) and as App Service do.
What it answers next can be scripted, as in the other emulators.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import trustme
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.emulators.certificates import rsa_key
from tests.emulators.listening import listening

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
RESOURCE = "https://cognitiveservices.azure.com"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SKEW_S = 300
LONGEST_S = 3600
"""RFC 7523: a server may refuse an assertion whose end is unreasonably far away."""


@dataclass
class App:
    """One app registration."""

    certificates: list[x509.Certificate] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    expired_secrets: set[str] = field(default_factory=set)
    authority: x509.Certificate | None = None
    """Subject-name/issuer authentication: any certificate of this name that this authority issued, sent as a chain."""
    subject: str = ""
    federated: tuple[str, str, rsa.RSAPublicKey] | None = None
    """Issuer, subject and key of service account tokens that stand for this app."""
    roles: tuple[str, ...] = ("Cognitive Services OpenAI User",)


@dataclass
class EntraReply:
    """One scripted answer of the token endpoint (or of what ``path`` ends in)."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    path: str = "/token"
    drop: bool = False


class RefusedError(Exception):
    def __init__(self, status: int, error: str, code: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.body = {"error": error, "error_description": f"AADSTS{code}: {text} Trace ID: {uuid4()} Timestamp: now", "error_codes": [code]}


class EntraEmulator:
    """``client_ca``: ask each client for a certificate of this authority. ``not_after``: end of the server's own certificate."""

    def __init__(self, ca: trustme.CA | None = None, *, client_ca: trustme.CA | None = None, not_after: datetime | None = None) -> None:
        self.ca = ca or trustme.CA()
        self.apps: dict[str, App] = {CLIENT: App()}
        self.script: deque[EntraReply] = deque()
        self.expires_in = 3600
        self.token_requests = 0
        self.metadata_requests = 0
        self.paths: list[str] = []
        self.sent: list[dict[str, str]] = []
        """Headers of all requests."""
        self.assertions: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.revoked: set[str] = set()
        self.issued: list[str] = []
        self.connections = 0
        self.peers: set[int] = set()
        """Ports of those who connected."""
        self.identity_header = "identity-header-0123456789"
        self._key = rsa_key(99)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert("localhost", "127.0.0.1", "login.company.test", not_after=not_after).configure_cert(self._tls)
        if client_ca is not None:
            client_ca.configure_trust(self._tls)
            self._tls.verify_mode = ssl.CERT_REQUIRED
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.metadata_port = 0

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def metadata_url(self) -> str:
        """Plain HTTP, as metadata services are."""
        return f"http://127.0.0.1:{self.metadata_port}"

    @property
    def ca_pem(self) -> bytes:
        return self.ca.cert_pem.bytes()

    def revoke(self, token: str) -> None:
        self.revoked.add(token)

    def revoke_all(self) -> None:
        self.revoked.update(self.issued)

    def problem_of(self, token: str, audience: str = RESOURCE) -> str:
        """Why a resource refuses a token; empty if it does not."""
        try:
            head, claims, signed, signature = _parts(token)
        except ValueError:
            return "not a token"
        try:
            self._key.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return "signature"
        if head.get("alg") != "RS256" or claims.get("aud") != audience:
            return "audience"
        if claims["exp"] <= time.time():
            return "expired"
        return "revoked" if token in self.revoked else ""

    @contextmanager
    def running(self) -> Iterator[EntraEmulator]:
        with listening(self._serve, self._writers, self._tls, None) as ports:
            self.port, self.metadata_port = ports
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.peers.add(writer.get_extra_info("peername")[1])
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                method, target, _ = first.split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
                self.sent.append(headers)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status, answer, more = await self._answer(method, urlsplit(target), headers, body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                kind = "text/html" if isinstance(answer, bytes) else "application/json"
                out = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(data)}", *(f"{k}: {v}" for k, v in more.items())]
                writer.write("\r\n".join([*out, "", ""]).encode() + data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _answer(self, method: str, target: Any, headers: dict[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        self.paths.append(target.path)
        query = {name: values[-1] for name, values in parse_qs(target.query).items()}
        if target.path.endswith("/oauth2/v2.0/token"):
            self.token_requests += 1
        if self.script and target.path.endswith(self.script[0].path):
            reply = self.script.popleft()
            await asyncio.sleep(reply.delay_s)
            if reply.drop:
                raise ConnectionResetError
            if reply.status != 200 or reply.body is not None:
                return reply.status, reply.body if reply.body is not None else {}, reply.headers
        try:
            return 200, self._route(method, target.path, query, headers, body), {}
        except RefusedError as refused:
            return refused.status, refused.body, {}

    def _route(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> dict[str, Any]:
        if path in ("/metadata/identity/oauth2/token", "/msi/token"):
            return self._metadata(path, query, headers)
        tenant = path.strip("/").split("/")[0]
        if tenant != TENANT:
            raise RefusedError(400, "invalid_tenant", 90002, f"Tenant '{tenant}' not found.")
        base = f"{self._own(headers)}/{tenant}"
        if method == "GET" and path.endswith("/v2.0/.well-known/openid-configuration"):
            return {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            }
        if method == "GET" and path.endswith("/discovery/v2.0/keys"):
            numbers = self._key.public_key().public_numbers()
            return {"keys": [{"kty": "RSA", "use": "sig", "kid": "1", "n": _b64(_bytes(numbers.n)), "e": _b64(_bytes(numbers.e))}]}
        if method == "POST" and path.endswith("/oauth2/v2.0/token"):
            form = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
            return self._token(form, f"{base}/oauth2/v2.0/token", f"{base}/v2.0")
        raise RefusedError(404, "not_found", 900561, "No such endpoint.")

    def _own(self, headers: dict[str, str]) -> str:
        return f"https://{headers.get('host', f'localhost:{self.port}')}"

    def _token(self, form: dict[str, str], endpoint: str, issuer: str) -> dict[str, Any]:
        if form.get("grant_type") != "client_credentials":
            raise RefusedError(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
        app = self.apps.get(form.get("client_id", ""))
        if app is None:
            raise RefusedError(400, "unauthorized_client", 700016, "Application not found in the directory.")
        scope = form.get("scope", "")
        if not scope.endswith("/.default"):
            raise RefusedError(400, "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid.")
        known = ("https://cognitiveservices.", "https://ossrdbms-aad.database.", "https://vault.")  # models, Azure Database, Key Vault
        if not scope.startswith(known):
            raise RefusedError(400, "invalid_resource", 500011, "The resource principal was not found in the tenant.")
        if "client_assertion" in form:
            if form.get("client_assertion_type") != ASSERTION_TYPE:
                raise RefusedError(401, "invalid_client", 50012, "Unknown kind of assertion.")
            self._check_assertion(form["client_assertion"], form["client_id"], app, endpoint)
        elif form.get("client_secret", "") in app.expired_secrets:
            raise RefusedError(401, "invalid_client", 7000222, "The provided client secret keys are expired.")
        elif form.get("client_secret", "") not in app.secrets:
            raise RefusedError(401, "invalid_client", 7000215, "Invalid client secret provided.")
        return self._issued(scope.removesuffix("/.default"), form["client_id"], issuer, app.roles)

    def _issued(self, audience: str, client: str, issuer: str, roles: tuple[str, ...]) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "aud": audience, "iss": issuer, "iat": now, "nbf": now, "exp": now + self.expires_in, "appid": client, "azp": client,
            "oid": str(uuid4()), "sub": client, "tid": TENANT, "roles": list(roles), "uti": uuid4().hex, "ver": "2.0",
        }  # fmt: skip
        signed = f"{_b64(json.dumps({'typ': 'JWT', 'alg': 'RS256', 'kid': '1'}).encode())}.{_b64(json.dumps(claims).encode())}"
        token = f"{signed}.{_b64(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"
        self.issued.append(token)
        return {"token_type": "Bearer", "expires_in": self.expires_in, "ext_expires_in": self.expires_in, "access_token": token}

    def _check_assertion(self, assertion: str, client: str, app: App, endpoint: str) -> None:
        try:
            head, claims, signed, signature = _parts(assertion)
        except ValueError:
            raise RefusedError(400, "invalid_request", 50027, "The token is not a JWT in compact form.") from None
        self.assertions.append((head, claims))
        if app.federated and claims.get("iss") == app.federated[0]:
            if claims.get("sub") != app.federated[1]:
                raise RefusedError(401, "invalid_client", 700213, "No matching federated identity record found for presented assertion subject.")
            _verify(app.federated[2], head, signed, signature)
            _check_times(claims)
            return
        _verify(self._certificate_of(head, app).public_key(), head, signed, signature)
        if claims.get("iss") != client or claims.get("sub") != client:
            raise RefusedError(401, "invalid_client", 700021, "Client assertion's issuer and subject must be the application.")
        if claims.get("aud") != endpoint:
            raise RefusedError(401, "invalid_client", 700023, f"Client assertion audience claim does not match. Expected: '{endpoint}'.")
        if not claims.get("jti"):
            raise RefusedError(401, "invalid_client", 700025, "Client assertion has no jti.")
        _check_times(claims)

    @staticmethod
    def _certificate_of(head: dict[str, Any], app: App) -> x509.Certificate:
        chain = [x509.load_der_x509_certificate(base64.b64decode(der)) for der in head.get("x5c", [])]
        if app.authority is not None and chain:
            try:
                chain[0].verify_directly_issued_by(app.authority)
            except (ValueError, InvalidSignature):
                raise RefusedError(401, "invalid_client", 700027, "The chain does not lead to the trusted issuer.") from None
            if chain[0].subject.rfc4514_string() == app.subject:
                return chain[0]
        for certificate in app.certificates:
            der = certificate.public_bytes(Encoding.DER)
            prints = {"x5t": _b64(hashlib.sha1(der).digest()), "x5t#S256": _b64(hashlib.sha256(der).digest())}
            sent = [name for name in prints if name in head]
            # MSAL pads thumbprints, which RFC 7515 forbids and Entra ID takes.
            if sent and all(head[name].rstrip("=") == prints[name] for name in sent) and (not chain or chain[0] == certificate):
                return certificate
        raise RefusedError(401, "invalid_client", 700027, "The certificate with identifier used to sign the client assertion is not registered on application.")

    def _metadata(self, path: str, query: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
        self.metadata_requests += 1
        if path == "/msi/token" and headers.get("x-identity-header") != self.identity_header:
            raise RefusedError(401, "unauthorized", 1, "Wrong X-IDENTITY-HEADER.")
        if path != "/msi/token" and headers.get("metadata") != "true":
            raise RefusedError(400, "bad_request", 2, "The header Metadata: true is missing.")
        if query.get("client_id") and query["client_id"] not in self.apps:
            raise RefusedError(400, "invalid_request", 3, "Identity not found")
        answer = self._issued(query["resource"], query.get("client_id", CLIENT), "https://sts.example", ())
        return {**answer, "expires_in": str(self.expires_in), "expires_on": str(int(time.time()) + self.expires_in), "resource": query["resource"]}


def service_account_token(key: rsa.RSAPrivateKey, issuer: str, subject: str, lifetime_s: int = 3600) -> str:
    """What a cluster gives a pod."""
    now = int(time.time())
    claims = {"iss": issuer, "sub": subject, "aud": ["api://AzureADTokenExchange"], "nbf": now, "iat": now, "exp": now + lifetime_s}
    signed = f"{_b64(json.dumps({'alg': 'RS256', 'kid': 'k'}).encode())}.{_b64(json.dumps(claims).encode())}"
    return f"{signed}.{_b64(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _verify(key: Any, head: dict[str, Any], signed: bytes, signature: bytes) -> None:
    pads = {"RS256": padding.PKCS1v15(), "PS256": padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)}
    try:
        if head.get("alg") not in pads:  # "none" and HMAC among what is refused
            raise InvalidSignature
        key.verify(signature, signed, pads[head["alg"]], hashes.SHA256())
    except InvalidSignature:
        raise RefusedError(401, "invalid_client", 700027, "Client assertion failed signature validation.") from None


def _check_times(claims: dict[str, Any]) -> None:
    now, starts, ends = time.time(), claims.get("nbf", 0), claims.get("exp", 0)
    if not starts - SKEW_S <= now < ends + SKEW_S or ends > now + LONGEST_S + SKEW_S:
        raise RefusedError(401, "invalid_client", 700024, "Client assertion is not within its valid time range.")


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Header, claims, what is signed, signature. RFC 7515: three parts, base64url, without padding."""
    parts = token.split(".")
    if len(parts) != 3 or "=" in token:
        raise ValueError("not compact")
    head, claims, signature = (base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True) for part in parts)
    return json.loads(head), json.loads(claims), f"{parts[0]}.{parts[1]}".encode(), signature


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
