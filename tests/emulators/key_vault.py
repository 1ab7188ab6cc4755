"""A small Azure Key Vault over real HTTPS: a request without a token is told where to get one, and tokens are verified.

It refuses what the service refuses: tokens of another audience (401 with a challenge), secrets that the identity may not read
(403), disabled ones (403), and those that are not there (404), in the service's own words.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme

from tests.emulators.listening import listening

HOST = "rag.vault.emulator.test"
"""Only a proxy knows it: see `Proxy.hosts`."""
RESOURCE = "https://vault.emulator.test"
_PATH = re.compile(r"/secrets/(?P<name>[0-9A-Za-z-]{1,127})(?:/(?P<version>[0-9a-f]{32})?)?")


@dataclass
class VaultReply:
    """One scripted answer."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class KeyVaultEmulator:
    """``problem_of``: why a token is not good for this resource, or nothing (`EntraEmulator.problem_of`); ``authority``: where to get one."""

    def __init__(self, ca: trustme.CA, problem_of: Callable[[str, str], str], authority: Callable[[], str]) -> None:
        self.secrets: dict[str, str] = {}
        self.forbidden: set[str] = set()
        self.disabled: set[str] = set()
        self.resource = RESOURCE
        self.script: deque[VaultReply] = deque()
        self.challenges = 0
        self.reads: list[str] = []
        self.connections = 0
        self.gate = asyncio.Event()
        """Readings wait while it is not set; set it from the test's own thread by `open` and `shut`."""
        self.gate.set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._problem_of = problem_of
        self._authority = authority
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(HOST, "localhost").configure_cert(self._tls)
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"https://{HOST}"

    @contextmanager
    def running(self) -> Iterator[KeyVaultEmulator]:
        with listening(self._serve, self._writers, self._tls) as ports:
            (self.port,) = ports
            yield self

    def shut(self) -> None:
        self.gate.clear()

    def open(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.gate.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._loop = asyncio.get_running_loop()
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                method, target, _ = first.split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
                await reader.readexactly(int(headers.get("content-length", "0")))
                status, body, more = await self._answer(method, target, headers)
                data = json.dumps(body).encode()
                out = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(data)}", *(f"{k}: {v}" for k, v in more.items())]
                writer.write("\r\n".join([*out, "", ""]).encode() + data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _answer(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        parts = urlsplit(target)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        problem = self._problem_of(token, self.resource) if token else "no token"
        if problem:
            self.challenges += not token
            challenge = f'Bearer authorization="{self._authority()}", resource="{self.resource}"'
            return 401, _error("Unauthorized", f"AKV10000: Request is missing a Bearer or PoP token ({problem})."), {"www-authenticate": challenge}
        if self.script:
            reply = self.script.popleft()
            return reply.status, reply.body or {}, reply.headers
        found = _PATH.fullmatch(parts.path)
        if method != "GET" or found is None or not parse_qs(parts.query).get("api-version"):
            return 400, _error("BadParameter", "No such operation."), {}
        name = found["name"]
        self.reads.append(name)
        await self.gate.wait()
        if name in self.forbidden:
            return 403, _error("Forbidden", f"The user, group or application 'appid=...' does not have secrets get permission on key vault ({name})."), {}
        if name not in self.secrets:
            return 404, _error("SecretNotFound", f"A secret with (name/id) {name} was not found in this key vault."), {}
        if name in self.disabled:
            return 403, _error("Forbidden", "Operation get is not allowed on a disabled secret."), {}
        attributes = {"enabled": True, "created": 1, "updated": 1, "recoveryLevel": "Recoverable"}
        return 200, {"value": self.secrets[name], "id": f"{self.url}/secrets/{name}/{'0' * 32}", "attributes": attributes}, {}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
