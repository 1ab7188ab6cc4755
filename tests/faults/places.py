"""A server that every hop can talk to, and a proxy before it, each made to fail in one way. Real sockets, real TLS."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import trustme

from tests.emulators.listening import conversing
from tests.emulators.service import CHAT, STS, Service, read_request

JSON = "application/json"
PAGE = b"<!DOCTYPE html><html><title>Blocked</title><body>Your request was blocked. Reference 4711.</body></html>"
WEAKER = {"expired": {"expired": True}, "wrong host name": {"names": ("other.example",)}}
"""Faults that lie in the server's certificate."""
STATUSES = {
    "401": 401,
    "403": 403,
    "404": 404,
    "407": 407,
    "429": 429,
    "500": 500,
    "503": 503,
    "504": 504,
    "403, a web page": 403,
    "200, a web page": 200,
    "redirect": 302,
}
Answer = tuple[int, str, bytes]
"""Status, type and body."""


def _openai(code: str, message: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": message}}).encode()


def _said(message: str) -> bytes:
    return json.dumps({"message": message}).encode()


def _opensearch(kind: str, reason: str, status: int) -> bytes:
    cause = {"type": kind, "reason": reason, "index": "docs"}
    return json.dumps({"error": {"root_cause": [cause], **cause}, "status": status}).encode()


def _entra(error: str, number: int) -> bytes:
    return json.dumps({"error": error, "error_description": f"AADSTS{number}: No. Trace ID: x"}).encode()


def _sts(code: str) -> bytes:
    return f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>No</Message></Error></ErrorResponse>".encode()


def _manager(code: str) -> bytes:
    return json.dumps({"__type": code, "message": "No"}).encode()


def _vault(code: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": "No"}}).encode()


SAID: dict[str, dict[int, bytes]] = {
    "openai": {
        401: _openai("401", "Access denied due to invalid subscription key."),
        403: _openai("403", "Public access is disabled."),
        404: _openai("DeploymentNotFound", "The API deployment for this resource does not exist."),
        429: _openai("429", "Requests have exceeded the token rate limit."),
        500: _openai("500", "Internal server error"),
    },
    "rerank": {
        401: _said("invalid api token"),
        403: _said("not allowed"),
        404: _said("model 'rerank-v3.5' not found"),
        429: _said("too many requests"),
        500: _said("internal server error"),
    },
    "opensearch": {
        401: b"Unauthorized",
        403: _opensearch("security_exception", "no permissions for [indices:data/read/search]", 403),
        404: _opensearch("index_not_found_exception", "no such index [docs]", 404),
        429: _opensearch("rejected_execution_exception", "rejected execution of task", 429),
        500: _opensearch("null_pointer_exception", "x", 500),
        503: _opensearch("search_phase_execution_exception", "all shards failed", 503),
    },
    "entra": {
        401: _entra("invalid_client", 7000215),
        403: _entra("access_denied", 53003),
        404: b"",
        429: _entra("temporarily_unavailable", 90055),
        500: _entra("server_error", 90033),
    },
    "secrets": {
        401: _manager("UnrecognizedClientException"),
        403: _manager("AccessDeniedException"),
        404: _manager("ResourceNotFoundException"),
        429: _manager("ThrottlingException"),
        500: _manager("InternalServiceError"),
    },
    "vault": {
        401: _vault("Unauthorized"),
        403: _vault("Forbidden"),
        404: _vault("SecretNotFound"),
        429: _vault("Throttled"),
        500: _vault("InternalServerError"),
    },
    "sts": {
        401: _sts("InvalidClientTokenId"),
        403: _sts("AccessDenied"),
        404: _sts("NotFound"),
        429: _sts("Throttling"),
        500: _sts("InternalFailure"),
    },
}
"""What each service says with a status, as measured or documented; a gateway's words where it says nothing."""
TYPES = {"openai": JSON, "rerank": JSON, "opensearch": JSON, "entra": JSON, "secrets": "application/x-amz-json-1.1", "vault": JSON, "sts": "text/xml"}


class Faulty(Service):
    """``fault``: one of `rows.FAULTS`; ``family``: in whose words it refuses."""

    def __init__(self, authority: trustme.CA, fault: str, family: str) -> None:
        weaker: dict[str, Any] = WEAKER.get(fault, {})
        super().__init__(authority, *weaker.get("names", ()), expired=bool(weaker.get("expired")))
        if fault == "TLS time-out":
            self.way = "silent"
        if fault == "no TLS":
            self.way = "plain"
        self._fault = fault
        self._family = family
        self._over = threading.Event()

    def certify(self, context: ssl.SSLContext) -> None:
        """Put the certificate that this server would show into another context."""
        self._leaf.configure_cert(context)

    @contextmanager
    def running(self) -> Iterator[Service]:
        with super().running():
            try:
                yield self
            finally:
                self._over.set()

    def _answer(self, tls: ssl.SSLSocket) -> bool:
        request = read_request(tls)
        if request is None:
            return False
        head, body = request
        self.requests += 1
        known = STATUSES.get(self._fault)
        if self._family == "vault" and self._led(tls, head, body):
            return True
        if self._family == "entra" and b"openid-configuration" in head and known is not None:
            self._send(tls, (200, JSON, self._metadata()))
            return True
        if known is not None:
            return self._refuse(tls, known)
        status, kind, data = self._good(head, body)
        if self._fault == "read time-out":
            self._over.wait(30)
            return False
        if self._fault == "reset":
            reset(tls)
            return False
        return self._spoiled(tls, kind, data, status)

    def _led(self, tls: ssl.SSLSocket, head: bytes, body: bytes) -> bool:
        """To a token first, as a vault does; where to get it is this very machine, under its name."""
        asked = b"\r\nauthorization: bearer" in head.lower()
        if not asked and b" /secrets/" in head:
            challenge = f'www-authenticate: Bearer authorization="{self.url}/contoso.example", resource="https://0.0.1:{self.port}"\r\n'
            self._send(tls, (401, JSON, SAID["vault"][401]), challenge)
        elif not asked:
            self._send(tls, self._good(head, body))
        return not asked

    def _spoiled(self, tls: ssl.SSLSocket, kind: str, data: bytes, status: int) -> bool:
        half = data[: len(data) // 2]
        if self._fault == "truncated":
            tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind.encode(), len(data), half))
        elif self._fault == "truncated, chunked":
            tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (kind.encode(), len(half), half))
        elif self._fault == "truncated, no length":
            tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nconnection: close\r\n\r\n%b" % (kind.encode(), half))
        elif self._fault == "dripping":
            tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: 100000\r\n\r\n" % kind.encode())
            while not self._over.wait(0.05):
                tls.sendall(b" ")
        elif self._fault == "not HTTP":
            tls.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        else:
            self._send(tls, (status, kind, data))
            return True
        return False

    def _refuse(self, tls: ssl.SSLSocket, status: int) -> bool:
        page = self._fault.endswith("a web page")
        more = {302: "location: https://login.example/\r\n", 429: "retry-after: 7\r\n"}.get(status, "")
        said = PAGE if page else SAID[self._family].get(status, b"")
        kind = "text/html" if page else TYPES[self._family] if said else "text/plain"
        self._send(tls, (status, kind, said), more)
        return True

    def _send(self, tls: ssl.SSLSocket, answer: Answer, more: str = "") -> None:
        status, kind, data = answer
        tls.sendall(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n{more}\r\n".encode() + data)

    def _good(self, head: bytes, body: bytes) -> Answer:
        path = head.split(b" ")[1]
        if b"/chat/completions" in path:
            if b'"stream":true' in body.replace(b" ", b""):
                events = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in _events()) + b"data: [DONE]\n\n"
                return 200, "text/event-stream", events
            return 200, JSON, json.dumps(CHAT).encode()
        if b"/embeddings" in path:
            rows = [{"object": "embedding", "index": place, "embedding": [1.0] * 8} for place in range(len(json.loads(body)["input"]))]
            return 200, JSON, json.dumps({"object": "list", "data": rows, "model": "e", "usage": {"prompt_tokens": 1, "total_tokens": 1}}).encode()
        if path.endswith(b"/rerank"):
            return 200, JSON, json.dumps({"results": [{"index": at, "relevance_score": 0.5} for at in range(len(json.loads(body)["documents"]))]}).encode()
        if b"Action=AssumeRole" in body:
            return 200, "text/xml", STS.format(expires=(datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")).encode()
        if b"secretsmanager.GetSecretValue" in head:
            return 200, TYPES["secrets"], json.dumps({"Name": "docs", "ARN": "arn:aws:secretsmanager:x", "SecretString": "word"}).encode()
        if b"/secrets/docs" in path:
            return 200, JSON, json.dumps({"value": "word", "id": f"{self.url}/secrets/docs/{'0' * 32}", "attributes": {"enabled": True}}).encode()
        if b"openid-configuration" in path:
            return 200, JSON, self._metadata()
        if path.endswith(b"/token"):
            return 200, JSON, json.dumps({"token_type": "Bearer", "expires_in": 3600, "access_token": "t" * 40}).encode()
        return 200, JSON, b'{"took": 1, "hits": {"hits": []}, "_shards": {"total": 1, "failed": 0}}'

    def _metadata(self) -> bytes:
        base = f"{self.url}/contoso.example"
        endpoints = {"issuer": f"{base}/v2.0", "authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/oauth2/v2.0/token"}
        return json.dumps(endpoints).encode()


def _events() -> list[dict[str, Any]]:
    base = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "gpt-4"}
    pieces = [{**base, "choices": [{"index": 0, "delta": {"content": "Hello. "}, "finish_reason": None}]} for _ in range(6)]
    return [*pieces, {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]


def reset(conversation: socket.socket) -> None:
    """RST instead of FIN."""
    plain = socket.socket(fileno=conversation.detach())
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plain.close()


class FaultyProxy:
    """A CONNECT proxy that leads everything to ``port``, or fails. ``context``: it speaks TLS itself."""

    def __init__(self, fault: str, port: int, context: ssl.SSLContext | None = None) -> None:
        self._fault = fault
        self._target = port
        self._context = context
        self._over = threading.Event()
        self._open: set[socket.socket] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://localhost:{self.port}"

    @contextmanager
    def running(self) -> Iterator[FaultyProxy]:
        with conversing(self._serve, self._open) as self.port:
            try:
                yield self
            finally:
                self._over.set()

    def _serve(self, conversation: socket.socket) -> None:
        self._open.add(conversation)
        with suppress(OSError):
            try:
                if self._context is not None:
                    conversation = self._context.wrap_socket(conversation, server_side=True)
                    self._open.add(conversation)
                if read_request(conversation) is not None:
                    self._converse(conversation)
            finally:
                conversation.close()

    def _converse(self, client: socket.socket) -> None:
        if self._fault == "read time-out":
            self._over.wait(30)
        elif self._fault == "reset":
            reset(client)
        elif self._fault == "truncated":
            client.sendall(b"HTTP/1.1 200 Conn")
        elif self._fault == "not HTTP":
            client.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        elif self._fault in STATUSES:
            more = 'proxy-authenticate: Basic realm="x"\r\n' if self._fault == "407" else ""
            client.sendall(f"HTTP/1.1 {STATUSES[self._fault]} No\r\n{more}content-length: 0\r\n\r\n".encode())
        else:
            self._tunnel(client)

    def _tunnel(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._target)) as there:
            self._open.add(there)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pipe, args=(there, client))
            back.start()
            _pipe(client, there)
            back.join()


def _pipe(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@contextmanager
def nobody() -> Iterator[int]:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    yield port


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that answers no SYN: its queue of connections is full, and the kernel drops what comes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(listener.getsockname())
            waiting.append(one)
        try:
            yield listener.getsockname()[1]
        finally:
            for one in waiting:
                one.close()
