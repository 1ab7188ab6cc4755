"""A listener of its own for `/metrics`: a thread, so that it answers while the event loop is held up, which is when one wants to know."""

from __future__ import annotations

import hmac
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from ..errors import ConfigurationError, RagError
from ..telemetry.logger import get_logger

if TYPE_CHECKING:
    from pydantic import SecretStr

log = get_logger(__name__)

PATH = "/metrics"
PATIENCE_S = 10.0
"""For a request to arrive."""
POLL_S = 0.1
"""Between two looks whether it should stop."""
Shown = Callable[[str, bool], tuple[bytes, dict[str, str]]]
"""Body and headers for an ``Accept`` header, compressed or not."""


def token_of(authorization: str) -> str:
    """The bearer token of a header; empty where it holds none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def same_token(given: str, expected: SecretStr) -> bool:
    """Whether a caller's token is the configured one; may ask a vault, so not on the event loop.

    Raises:
        RagError: the configured one cannot be read.
    """
    return bool(given) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.get_secret_value().encode())


def takes_gzip(accepted: str) -> bool:
    """Whether an ``Accept-Encoding`` header names gzip."""
    return any(part.split(";")[0].strip().lower() == "gzip" for part in accepted.split(","))


class MetricsListener:
    """Serves figures, and nothing else, from a thread.

    Args:
        token: what a caller must send, if any.
    """

    def __init__(self, show: Shown, host: str, port: int, token: SecretStr | None = None) -> None:
        self._show = show
        self._address = (host.strip("[]"), port)
        self._token = token
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}{PATH}" if ":" in str(host) else f"http://{host!s}:{port}{PATH}"

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be had.
        """
        host, port = self._address
        kind = _Server6 if ":" in host else _Server
        try:
            self._server = kind((host, port), _handler(self._show, self._token))
        except OSError as error:
            text = f"Cannot listen on {host}:{port} for /metrics: {error.strerror or error}."
            raise ConfigurationError(text, setting="telemetry.metrics_port", hint="Take another port, or 0 for a free one.") from error
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="rag-metrics", daemon=True).start()

    def close(self) -> None:
        """Stop listening; again is harmless."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


def _handler(show: Shown, token: SecretStr | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE_S
        server_version = "founders-rag"
        sys_version = ""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self._answer(HTTPStatus.NOT_FOUND)
                return
            try:
                if token is not None and not same_token(token_of(self.headers.get("authorization", "")), token):
                    self._answer(HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": 'Bearer realm="metrics"'})
                    return
                body, headers = show(self.headers.get("accept", ""), takes_gzip(self.headers.get("accept-encoding", "")))
            except RagError as error:
                log.error("the figures' token cannot be read", detail=str(error))
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE)
                return
            self._answer(HTTPStatus.OK, body, headers)

        def _answer(self, status: HTTPStatus, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            log.debug("metrics request", client=self.client_address[0])

    return Handler
