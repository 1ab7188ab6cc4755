"""Canary secrets: how they are told apart, in what forms they are looked for, what is looked through, and a server that echoes them."""

from __future__ import annotations

import base64
import json
import logging
import pprint
import secrets
import socket
import ssl
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import trustme

PLACES = (
    "opensearch-password", "opensearch-token", "chat-key", "embed-key", "rerank-key", "azure-openai-key", "proxy-password", "proxy-url-password",
    "certificate-password", "client-key-password", "client-secret", "aws-secret-key", "aws-session-token", "dsn-password", "database-password",
    "encryption-keys", "api-token", "vault-value", "aws-value", "url-password", "file-secret",
)  # fmt: skip


@dataclass(frozen=True)
class Canary:
    """One planted secret. ``mark`` is what is unique in it; it survives URL-encoding and JSON."""

    place: str
    mark: str

    @property
    def value(self) -> str:
        """With characters that encodings change."""
        return f"Cn/{self.mark}+x="

    @property
    def in_url(self) -> str:
        return quote(self.value, safe="")

    def forms(self) -> dict[str, str]:
        """Name of the form to the text to look for."""
        found = {"plain": self.mark, "hex": self.mark.encode().hex(), "HEX": self.mark.encode().hex().upper(), "reversed": self.mark[::-1]}
        for offset in range(3):  # base64 of it, wherever it begins within what is encoded
            encoded = base64.b64encode(b"\0" * offset + self.mark.encode()).decode()
            found[f"base64+{offset}"] = encoded[(0, 2, 3)[offset] : -4]
        return found


def plant() -> dict[str, Canary]:
    return {place: Canary(place, f"canary{number:02d}{secrets.token_hex(8)}") for number, place in enumerate(PLACES)}


@dataclass
class Catch:
    """All that came out, with where; `leaks` says which canary stands in it, in which form."""

    canaries: dict[str, Canary]
    texts: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, text: object) -> None:
        self.texts.append((where, text if isinstance(text, str) else repr(text)))

    def add_file(self, where: str, path: Path) -> None:
        self.add(where, path.read_bytes().decode("latin-1"))

    def add_error(self, where: str, error: BaseException) -> None:
        """An error and everything that shows one: text, attributes, tracebacks with and without the local variables of each frame."""
        self.add(f"{where}: str", str(error))
        self.add(f"{where}: repr", repr(error))
        self.add(f"{where}: attributes", repr(vars(error)))
        self.add(f"{where}: args", repr(error.args))
        self.add(f"{where}: traceback", "".join(traceback.format_exception(error)))
        self.add(f"{where}: traceback with locals", _with_locals(error))

    def add_object(self, where: str, thing: object) -> None:
        """What a debugger's or logger's view of an object shows."""
        self.add(f"{where}: repr", repr(thing))
        self.add(f"{where}: str", str(thing))
        self.add(f"{where}: vars", repr(getattr(thing, "__dict__", "")))
        self.add(f"{where}: pprint", pprint.pformat(getattr(thing, "__dict__", thing)))
        self.add(f"{where}: format", f"{thing}")

    def leaks(self) -> list[str]:
        """One line for each output and line in it that shows any: ``secrets (forms) in place of the output: what stands before it``."""
        forms = [(canary.place, name, text) for canary in self.canaries.values() for name, text in canary.forms().items()]
        lines = dict.fromkeys((where, line) for where, text in self.texts for line in text.split("\n"))
        found = []
        for where, line in lines:
            shown = [(f"{place} ({name})", line.index(form)) for place, name, form in forms if form in line]
            if shown:
                first = min(at for _, at in shown)
                found.append(f"{', '.join(words for words, _ in shown)} in {where}: {line[max(0, first - 160) : first]}…")
        return found


def _with_locals(error: BaseException) -> str:
    """What rich shows with `show_locals`: the local variables of each frame of ours or of a library, along the chain that is shown.

    Not by rich itself: it cuts, and uncut takes minutes. Frames of the tests are left out: they know the canaries.
    """
    shown: list[str] = []
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        shown += [f"{type(found).__name__}: {found}", *_frames(found.__traceback__)]
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return "\n".join(shown)


def _frames(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        frame = trace.tb_frame
        if "/tests/" not in frame.f_code.co_filename:
            for name, value in frame.f_locals.items():
                with suppress(Exception):  # some have a repr that fails
                    yield f"{frame.f_code.co_filename}:{trace.tb_lineno} {name}={value!r}"[:200_000]
        trace = trace.tb_next


class _Recorder(logging.Handler):
    def __init__(self, catch: Catch) -> None:
        super().__init__(logging.NOTSET)
        self._catch = catch

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: value for name, value in vars(record).items() if name not in ("exc_info", "args", "msg")}
        self._catch.add(f"log of {record.name}", f"{record.getMessage()} {fields!r}")
        if record.exc_info and record.exc_info[1] is not None:
            self._catch.add_error(f"log of {record.name}", record.exc_info[1])


@contextmanager
def everything_logged(catch: Catch) -> Iterator[None]:
    """Every logger that there is, and that comes, at DEBUG, with what it logs caught."""
    root = logging.getLogger()
    handler, before = _Recorder(catch), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    levels = {name: logging.getLogger(name).level for name in (*_known(), *LOUD)}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


REASONED = (400, 403)
"""Answers whose words OpenSearch's errors repeat, for they say what is wrong with a query: there what was sent is echoed, and no secret
that only another service could know."""
LOUD = ("azure", "msal", "botocore", "boto3", "openai", "httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "requests", "aiohttp", "opensearchpy", "psycopg")


def _known() -> list[str]:
    return [name for name, logger in logging.root.manager.loggerDict.items() if isinstance(logger, logging.Logger)]


class Echo:
    """Any service, over TLS, behind a proxy of its own: answers each request with ``status``, and repeats in the body all secrets and
    all that it was sent, headers too (`REASONED` ones: the latter). ``refuse``: the proxy's own answer to CONNECT, likewise."""

    def __init__(self, authority: trustme.CA, canaries: Iterable[Canary]) -> None:
        self.status = 500
        self.refuse = 0
        self.body: bytes | None = None
        self.seen: list[str] = []
        self._all = " ".join(f"{canary.value} {canary.in_url}" for canary in canaries)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(
            "localhost", "127.0.0.1", "*.company.test", "*.emulator.test", "*.vault.emulator.test", "*.eu-west-1.amazonaws.com"
        ).configure_cert(self._context)
        self.port = 0

    @contextmanager
    def running(self) -> Iterator[Echo]:
        echo = self

        class Handler(_EchoHandler):
            server_of = echo

        servers = [_Quiet(("127.0.0.1", 0), Handler) for _ in range(2)]
        self._inner_port, self.port = (int(server.server_address[1]) for server in servers)
        servers[0].tls = self._context
        threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}) for server in servers]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for server in servers:
                server.shutdown()
                server.server_close()
            for thread in threads:
                thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[dict[str, str], bytes]:
        sent = " ".join(f"{name}: {value}" for name, value in request.headers.items())
        length = int(request.headers.get("content-length", "0"))
        body = request.rfile.read(length).decode("latin-1")
        text = f"{self._sent_in(request)} {sent} {body}" + (f" {self._all}" if self.status not in REASONED else "")
        words = {
            "error": {"code": "x", "message": text, "type": text, "param": text, "innererror": {"code": text}, "reason": text, "root_cause": []},
            "error_description": f"AADSTS7000215: {text}", "message": text, "__type": "InternalFailure", "Message": text,
        }  # fmt: skip
        headers = {"www-authenticate": 'Bearer authorization="https://login.company.test/t", resource="https://vault.emulator.test"'}
        headers |= {"proxy-authenticate": 'Basic realm="proxy"'}
        return headers, self.body if self.body is not None else json.dumps(words).encode()

    @staticmethod
    def _sent_in(request: BaseHTTPRequestHandler) -> str:
        """The password of basic authentication, as a gateway logs it."""
        with suppress(ValueError):
            return base64.b64decode(request.headers.get("authorization", "").partition(" ")[2], validate=True).decode()
        return ""


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    tls: ssl.SSLContext | None = None

    def get_request(self) -> tuple[socket.socket, Any]:
        found, address = super().get_request()
        found.settimeout(30)
        return (self.tls.wrap_socket(found, server_side=True, do_handshake_on_connect=False) if self.tls else found), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no event."""


class _EchoHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: Echo

    def _serve(self) -> None:
        self.server_of.seen.append(self.path)
        self._reply(self.server_of.status)

    def _reply(self, status: int) -> None:
        headers, body = self.server_of.answer(self)
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "content-type": "application/json", "content-length": str(len(body))}.items())
        self.wfile.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + (b"" if self.command == "HEAD" else body))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815 - the base class's names

    def do_CONNECT(self) -> None:
        self.server_of.seen.append(self.path)
        if self.server_of.refuse:
            self._reply(self.server_of.refuse)
            self.close_connection = True
            return
        with socket.create_connection(("127.0.0.1", self.server_of._inner_port)) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pipe, args=(there, self.connection), daemon=True)
            back.start()
            _pipe(self.connection, there)
            back.join(5)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
