"""One TLS server that every hop of this package can talk to, made to fail in each way that a network knows.

It answers chat completions, STS and searches alike. A handshake that fails is broken off in order: the alert reaches the client,
where asyncio's servers reset the connection and lose it.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.emulators.certificates import Issued
from tests.emulators.listening import conversing

Way = Literal["answer", "close", "cut", "garbage", "plain", "silent"]
"""``close``: no answer; ``cut``: half of one; ``garbage``: none of HTTP; ``plain``: no TLS; ``silent``: never a word."""
CHAT = {
    "id": "x",
    "object": "chat.completion",
    "created": 0,
    "model": "gpt-4",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello."}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
STS = (
    '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>ASIAISSUED</AccessKeyId>'
    "<SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken><Expiration>{expires}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
)


def client_certificate(authority: trustme.CA, path: Path, password: str = "", name: str | None = None) -> Path:
    """A client's certificate of an authority, as PEM or PFX by the file's name. ``name``: its common name."""
    leaf = authority.issue_cert("client.example", common_name=name, key_type=trustme.KeyType.RSA)
    certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    key: Any = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    return Issued(certificate, key).written(path, password)


class Service:
    """Serves on loopback, each connection in a thread of its own.

    Args:
        authority: issues its certificate, and with ``demands_certificate`` those of its clients.
        names: that the certificate is for.
    """

    def __init__(
        self, authority: trustme.CA, *names: str, way: Way = "answer", demands_certificate: bool = False, expired: bool = False, newest: str = "1.3"
    ) -> None:
        self.way: Way = way
        self.clients: list[str] = []
        """Common names of the certificates that were shown."""
        self.requests = 0
        self.peers: set[int] = set()
        """Ports of those who connected."""
        self.port = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        until = datetime.now(UTC) + timedelta(days=-1 if expired else 9)
        self._leaf = authority.issue_cert(*(names or ("localhost", "127.0.0.1")), not_before=until - timedelta(days=20), not_after=until)
        self._leaf.configure_cert(self._context)
        if newest == "1.2":
            self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        if demands_certificate:
            self._context.verify_mode = ssl.CERT_REQUIRED
            authority.configure_trust(self._context)
        self._open: set[socket.socket] = set()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Service]:
        with conversing(self._serve, self._open) as self.port:
            yield self

    def _serve(self, conversation: socket.socket) -> None:
        self._open.add(conversation)
        try:
            self.peers.add(conversation.getpeername()[1])
            if self.way in ("plain", "silent"):
                with conversation, suppress(OSError):
                    while conversation.recv(65536) and self.way == "silent":
                        pass
                    conversation.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                    _drain(conversation)
                return
            tls = self._context.wrap_socket(conversation, server_side=True, do_handshake_on_connect=False)
            self._open.add(tls)
            try:
                tls.do_handshake()
            except (ssl.SSLError, OSError):
                _drain(socket.socket(fileno=tls.detach()))
                return
            with tls, suppress(OSError, AttributeError):  # the latter: at the end `shutdown` takes the TLS state away
                subject = dict(part[0] for part in (tls.getpeercert() or {}).get("subject", ()))
                self.clients.append(subject.get("commonName", "?"))
                while self._answer(tls):
                    pass
        finally:
            self._open.discard(conversation)

    def _answer(self, tls: ssl.SSLSocket) -> bool:
        request = read_request(tls)
        if request is None:
            return False
        head, body = request
        self.requests += 1
        if self.way == "close":
            return False
        if self.way == "garbage":
            tls.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
            return False
        data = self._body(head, body)
        streamed = b'"stream":true' in body
        kind = b"text/xml" if b"Action=AssumeRole" in body else b"text/event-stream" if streamed else b"application/json"
        answer = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind, len(data), data)
        tls.sendall(answer if self.way == "answer" else answer[:-10])
        return self.way == "answer"

    def _body(self, head: bytes, body: bytes) -> bytes:
        if b"/chat/completions" in head.split(b"\r\n")[0] and b'"stream":true' in body:
            choice = {"index": 0, "finish_reason": "stop", "delta": {"content": "Hello."}}
            event = json.dumps({**CHAT, "object": "chat.completion.chunk", "choices": [choice]}).encode()
            return b"data: " + event + b"\n\ndata: [DONE]\n\n"
        if b"/chat/completions" in head.split(b"\r\n")[0]:
            return json.dumps(CHAT).encode()
        if b"Action=AssumeRole" in body:
            return STS.format(expires=(datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")).encode()
        return b'{"hits": {"hits": []}}'


def read_request(conversation: socket.socket) -> tuple[bytes, bytes] | None:
    """Head and body; None once the client has closed."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = conversation.recv(65536)
        if not data:
            return None
        head += data
    head, _, body = head.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += conversation.recv(65536)
    return head, body


def _drain(conversation: socket.socket) -> None:
    """Close one's own side, and read on until the other closes: nothing unread turns the end into a reset."""
    with conversation, suppress(OSError):
        conversation.shutdown(socket.SHUT_WR)
        conversation.settimeout(5)
        while conversation.recv(65536):
            pass
