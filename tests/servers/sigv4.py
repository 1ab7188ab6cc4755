"""An AWS of our own, on loopback: OpenSearch behind a signature check, Secrets Manager, STS, and an instance's metadata service.

The check starts from the bytes that came over the wire and follows AWS's specification of SigV4; botocore only derives the
signature from the canonical request. What is refused is answered as AWS answers it.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote_to_bytes

import trustme
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "eu-west-1"
ROLE = "arn:aws:iam::123456789012:role/search"
STAMP = "%Y%m%dT%H%M%SZ"
SKEW_S = 300
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass
class Known:
    """Credentials that AWS knows. ``expires``: seconds since 1970."""

    secret: str
    token: str | None = None
    expires: float | None = None


@dataclass
class Wire:
    """A request as it came. Header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    status: int = 0
    refusal: str = ""
    access_key: str = ""


class RefusedError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def canonical_path(path: str) -> str:
    """Every segment encoded once more than on the wire, dot segments and doubled slashes removed."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    text = "/" + "/".join(kept) + ("/" if kept and path.endswith(("/", "/.", "/..")) else "")
    return quote(text, safe="/-_.~")


def canonical_query(query: str) -> str:
    """Decoded, encoded strictly, sorted by encoded name and value."""
    pairs = []
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        pairs.append(tuple(quote(unquote_to_bytes(text.replace("+", " ")), safe="-_.~") for text in (name, value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def canonical_request(wire: Wire, signed_headers: str, digest: str) -> str:
    path, _, query = wire.target.partition("?")
    lines = [f"{name}:{' '.join(wire.headers.get(name, '').split())}" for name in signed_headers.split(";")]
    return "\n".join([wire.method, canonical_path(path), canonical_query(query), *lines, "", signed_headers, digest])


def expected_signature(wire: Wire, secret: str, region: str, service: str, signed_headers: str, digest: str) -> str:
    signer = SigV4Auth(Credentials("unused", secret), service, region)
    context = AWSRequest(method=wire.method, url="https://unused/")
    context.context["timestamp"] = wire.headers["x-amz-date"]
    return str(signer.signature(signer.string_to_sign(context, canonical_request(wire, signed_headers, digest)), context))


def check(wire: Wire, known: Mapping[str, Known], service: str, region: str, now: float) -> None:
    """Note who signed.

    Raises:
        RefusedError: with AWS's code and words.
    """
    if "authorization" not in wire.headers:
        raise RefusedError("AccessDeniedException", "User: anonymous is not authorized to perform: es:ESHttpGet because no resource-based policy allows it")
    found = _AUTHORIZATION.fullmatch(wire.headers["authorization"])
    if found is None:
        raise RefusedError("IncompleteSignatureException", "Authorization header requires 'Credential' parameter.")
    if found["service"] != service:
        raise RefusedError("InvalidSignatureException", f"Credential should be scoped to correct service: '{service}'. ")
    if found["region"] != region:
        raise RefusedError("InvalidSignatureException", f"Credential should be scoped to a valid region, not '{found['region']}'. ")
    who = known.get(found["key"])
    if who is None or who.token != wire.headers.get("x-amz-security-token"):
        raise RefusedError("UnrecognizedClientException", "The security token included in the request is invalid.")
    if who.expires is not None and now >= who.expires:
        raise RefusedError("ExpiredTokenException", "The security token included in the request is expired")
    _check_date(wire.headers.get("x-amz-date", ""), found["date"], now)
    _check_signature(wire, found, who, service, region)
    wire.access_key = found["key"]


def _check_date(stamp: str, day: str, now: float) -> None:
    try:
        signed = datetime.strptime(stamp, STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise RefusedError("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'.") from None
    here = datetime.fromtimestamp(now, UTC).strftime(STAMP)
    if stamp[:8] != day:
        raise RefusedError("InvalidSignatureException", f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date: '{stamp[:8]}'.")
    if signed < now - SKEW_S:
        raise RefusedError("InvalidSignatureException", f"Signature expired: {stamp} is now earlier than {here} ({here} - 5 min.)")
    if signed > now + SKEW_S:
        raise RefusedError("InvalidSignatureException", f"Signature not yet current: {stamp} is still later than {here} ({here} + 5 min.)")


def _check_signature(wire: Wire, found: re.Match[str], who: Known, service: str, region: str) -> None:
    names = found["headers"].split(";")
    unsigned = {name for name in wire.headers if name.startswith("x-amz-")} | {"host"}
    if names != sorted(names) or not unsigned <= set(names):
        raise RefusedError("InvalidSignatureException", f"'{', '.join(sorted(unsigned - set(names)))}' must be a 'SignedHeader' in the AWS Authorization.")
    digest = hashlib.sha256(wire.body).hexdigest()
    sent = wire.headers.get("x-amz-content-sha256", digest if service != "aoss" else "")
    if sent != digest or expected_signature(wire, who.secret, region, service, found["headers"], digest) != found["signature"]:
        message = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method."
        raise RefusedError("InvalidSignatureException", message)


@dataclass
class Aws:
    """``requests``: what reached OpenSearch, good or refused; ``sts``: what reached STS; ``metadata``: what reached the metadata service."""

    folder: Path
    service: str = "es"
    region: str = REGION
    known: dict[str, Known] = field(default_factory=dict)
    skew_s: float = 0.0
    lifetime_s: float = 3600.0
    requests: list[Wire] = field(default_factory=list)
    sts: list[Wire] = field(default_factory=list)
    metadata: list[Wire] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    """STS answers while it is set."""
    secrets: dict[str, str] = field(default_factory=dict)
    """What Secrets Manager holds."""
    forbidden: set[str] = field(default_factory=set)
    """Secrets that may not be read."""
    reads: list[Wire] = field(default_factory=list)
    """What reached Secrets Manager."""
    sts_failures: int = 0
    """So many calls of STS to come fail with 500."""
    connections: int = 0

    def __post_init__(self) -> None:
        self.gate.set()
        authority = trustme.CA()
        self.ca_file = self.folder / "aws-ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost", "search.company.test", "sts.company.test").configure_cert(self._tls)
        self._lock = threading.Lock()
        self._secure = _Server(self, self._tls)
        self._plain = _Server(self, None)

    @property
    def port(self) -> int:
        return int(self._secure.server_address[1])

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def metadata_url(self) -> str:
        return f"http://127.0.0.1:{self._plain.server_address[1]}"

    @property
    def now(self) -> float:
        return time.time() + self.skew_s

    @contextmanager
    def running(self) -> Iterator[Aws]:
        servers = (self._secure, self._plain)
        threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}) for server in servers]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.gate.set()
            for server in servers:
                server.shutdown()
                server.end()
            for thread in threads:
                thread.join()

    def issue(self) -> tuple[str, Known]:
        """New temporary credentials."""
        with self._lock:
            name = f"ASIAISSUED{len(self.known):010}"
            self.known[name] = Known(secrets.token_urlsafe(30), secrets.token_urlsafe(90) + "//+==", self.now + self.lifetime_s)
            return name, self.known[name]

    def expire_issued(self) -> None:
        """Whatever was issued until now is no longer taken."""
        for who in self.known.values():
            if who.token is not None:
                who.expires = 0.0

    def answer(self, wire: Wire, secure: bool) -> tuple[int, dict[str, str], bytes]:
        if not secure:
            self.metadata.append(wire)
            return self._metadata(wire)
        if wire.body.startswith(b"Action=") and "x-www-form-urlencoded" in wire.headers.get("content-type", ""):
            self.sts.append(wire)
            return self._sts(wire)
        if "x-amz-target" in wire.headers:
            self.reads.append(wire)
            return self._secret(wire)
        self.requests.append(wire)
        try:
            check(wire, self.known, self.service, self.region, self.now)
        except RefusedError as error:
            wire.refusal = error.code
            return 403, {"x-amzn-errortype": error.code}, json.dumps({"message": str(error)}).encode()
        return 200, {}, json.dumps({"took": 1, "target": wire.target, "body_sha256": hashlib.sha256(wire.body).hexdigest()}).encode()

    def _secret(self, wire: Wire) -> tuple[int, dict[str, str], bytes]:
        self.gate.wait(30)
        name = str(json.loads(wire.body).get("SecretId"))
        try:
            if wire.headers["x-amz-target"] != "secretsmanager.GetSecretValue":
                raise RefusedError("UnknownOperationException", "No such operation.")
            check(wire, self.known, "secretsmanager", self.region, self.now)
            if name in self.forbidden:
                raise RefusedError("AccessDeniedException", f"User: app is not authorized to perform: secretsmanager:GetSecretValue on {name}")
            if name not in self.secrets:
                raise RefusedError("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
        except RefusedError as error:
            wire.refusal = error.code
            return 400, {"content-type": "application/x-amz-json-1.1"}, json.dumps({"__type": error.code, "message": str(error)}).encode()
        found = {"ARN": f"arn:aws:secretsmanager:{self.region}:1:secret:{name}", "Name": name, "SecretString": self.secrets[name], "VersionId": "v" * 32}
        return 200, {"content-type": "application/x-amz-json-1.1"}, json.dumps(found).encode()

    def _sts(self, wire: Wire) -> tuple[int, dict[str, str], bytes]:
        self.gate.wait(30)
        form = parse_qs(wire.body.decode())
        if self.sts_failures:
            self.sts_failures -= 1
            return 500, {}, b"<ErrorResponse><Error><Code>InternalFailure</Code><Message>later</Message></Error></ErrorResponse>"
        try:
            check(wire, self.known, "sts", self.region, self.now)
            if form["RoleArn"] != [ROLE]:
                raise RefusedError("AccessDenied", f"User: arn:aws:iam::1:user/app may not do sts:AssumeRole on {form['RoleArn'][0]}")
        except RefusedError as error:
            wire.refusal = error.code
            text = f"<ErrorResponse><Error><Type>Sender</Type><Code>{error.code}</Code><Message>{error}</Message></Error></ErrorResponse>"
            return 403, {"content-type": "text/xml"}, text.encode()
        name, who = self.issue()
        parts = {"AccessKeyId": name, "SecretAccessKey": who.secret, "SessionToken": who.token, "Expiration": _iso(who.expires)}
        inner = "".join(f"<{tag}>{value}</{tag}>" for tag, value in parts.items())
        text = f"<AssumeRoleResponse><AssumeRoleResult><Credentials>{inner}</Credentials></AssumeRoleResult></AssumeRoleResponse>"
        return 200, {"content-type": "text/xml"}, text.encode()

    def _metadata(self, wire: Wire) -> tuple[int, dict[str, str], bytes]:
        """IMDSv2: a token first, then the role, then its credentials."""
        if wire.method == "PUT":
            return 200, {}, b"metadata-token"
        if wire.headers.get("x-aws-ec2-metadata-token") != "metadata-token":
            return 401, {}, b""
        if wire.target.endswith("/security-credentials/"):
            return 200, {}, b"instance-role"
        name, who = self.issue()
        keys = {"Code": "Success", "AccessKeyId": name, "SecretAccessKey": who.secret, "Token": who.token, "Expiration": _iso(who.expires)}
        return 200, {}, json.dumps(keys).encode()


def _iso(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds or 0, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, aws: Aws, tls: ssl.SSLContext | None) -> None:
        self.aws = aws
        self._tls = tls
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        found, address = super().get_request()
        if self._tls is not None:
            # The handshake comes with the first read, in the connection's own thread.
            found = self._tls.wrap_socket(found, server_side=True, do_handshake_on_connect=False)
        self.aws.connections += 1
        self._open.add(found)
        return found, address

    def end(self) -> None:
        self.server_close()
        for one in list(self._open):
            one.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        target = self.requestline.split(" ")[1]  # `self.path` has lost doubled slashes
        headers = {name.lower(): value for name, value in self.headers.items()}
        wire = Wire(self.command, target, headers, self.rfile.read(int(headers.get("content-length", "0"))))
        wire.status, extra, body = self.server.aws.answer(wire, secure=isinstance(self.request, ssl.SSLSocket))
        lines = {"content-type": "application/json", "content-length": str(len(body))} | extra
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.wfile.write(f"HTTP/1.1 {wire.status} X\r\n{head}\r\n".encode() + (b"" if self.command == "HEAD" else body))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815 - the base class's names

    def log_message(self, *_: Any) -> None:
        """Says nothing."""
