"""A small Azure OpenAI (and OpenAI) over real HTTPS, with a certificate authority of its own.

What it answers next is scripted: each `Reply` in `script` is used once, in order; after that it answers well. It checks
the paths, `api-version` and credentials that the services check. Runs on its own loop in its own thread.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

import trustme

from tests.emulators.listening import listening

KEY = "test-key-0123456789"
TOKEN = "test-token-abc"
ANSWER = ["The ", "tariff ", "is ", "0.31 ", "EUR."]


@dataclass
class Reply:
    """One scripted answer. ``cut_after``: break the connection after so many stream events; ``delay_s``: wait first;
    ``pieces``: of the answer, in place of `ANSWER`; ``calls``: (name, arguments as text) of the tools it wants run;
    ``stall_after``: send nothing more after so many stream events, for as long as the caller stays; ``events``: of a stream, in place of
    the good ones."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut_after: int | None = None
    end_quietly: bool = False
    event_gap_s: float = 0.0
    finish: str = "stop"
    pieces: list[str] | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)
    stall_after: int | None = None
    events: list[Any] | None = None


@dataclass
class Recorded:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


class Model(Protocol):
    def answer(self, messages: list[dict[str, Any]]) -> list[str]:
        """What it says, in pieces."""
        ...

    def vector(self, text: str, dims: int) -> list[float]: ...


def content_filter_body() -> dict[str, Any]:
    """What Azure sends when the prompt is filtered."""
    result = {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": True, "severity": "high"}}
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result}
    message = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
    return {"error": {"message": message, "type": None, "param": "prompt", "code": "content_filter", "status": 400, "innererror": inner}}


class AzureOpenAIEmulator:
    """``names``, ``not_after``: of the server's own certificate. ``model``: answers in place of the fixed words and vectors."""

    def __init__(
        self,
        folder: Path,
        dims: int = 8,
        ca: trustme.CA | None = None,
        *,
        names: Sequence[str] = ("localhost", "127.0.0.1", "openai.company.test"),
        not_after: datetime | None = None,
        model: Model | None = None,
    ) -> None:
        self.dims = dims
        self.model = model
        self.script: deque[Reply] = deque()
        self.requests: list[Recorded] = []
        self.connections = 0
        self.open_connections = 0
        self.peers: set[int] = set()
        """Ports of those who connected over TLS."""
        self.deployments = {"gpt-4", "text-embedding-ada-002", "text-embedding-3-small"}
        self.credentials = {KEY, TOKEN}
        self.unknown_arguments: set[str] = set()
        self.problem_of: Callable[[str], str] | None = None
        """Says why a bearer token is not good, or nothing: `EntraEmulator.problem_of`."""
        self.always: Callable[[Recorded], Reply | None] = lambda _: None
        """The answer to a request for which nothing is scripted; None: a good one."""
        ca = ca or trustme.CA()
        self.ca_file = folder / "ca.pem"
        ca.cert_pem.write_to_path(self.ca_file)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(*names, not_after=not_after).configure_cert(self._tls)
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.plain_port = 0
        """The same without TLS, for what ends TLS in front of it."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @contextmanager
    def running(self) -> Iterator[AzureOpenAIEmulator]:
        with listening(self._serve, self._writers, self._tls, None) as ports:
            self.port, self.plain_port = ports
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        if writer.get_extra_info("sockname")[1] == self.port:
            self.peers.add(writer.get_extra_info("peername")[1])
        self._writers.add(writer)
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                if not await self._answer(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            self._writers.discard(writer)
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> Recorded | None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        parts = urlsplit(target)
        return Recorded(method, parts.path, parse_qs(parts.query), headers, json.loads(body) if body else None)

    async def _answer(self, request: Recorded, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False if the connection is to be closed."""
        reply = self._refusal(request) or (self.script.popleft() if self.script else self.always(request)) or Reply()
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.status == 200 and reply.body is None:
            if self.model and reply.pieces is None and not reply.calls and "messages" in request.body:
                reply.pieces = self.model.answer(request.body["messages"])
            if request.path.endswith("/embeddings"):
                reply.body = self._embeddings(request.body)
            elif request.body.get("stream"):
                return await self._stream(request, reply, writer)
            else:
                reply.body = self._completion(reply)
        data = json.dumps(reply.body).encode()
        lines = [f"HTTP/1.1 {reply.status} X", "content-type: application/json", f"content-length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        await writer.drain()
        return True

    def _refusal(self, request: Recorded) -> Reply | None:
        credential = request.headers.get("api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        known = credential in self.credentials or (self.problem_of is not None and bool(credential) and not self.problem_of(credential))
        if not known:
            return Reply(401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}})
        model = request.body.get("model")
        if request.path.startswith("/openai/deployments/"):
            model = request.path.split("/")[3]
            if not request.query.get("api-version"):
                return Reply(404, {"error": {"code": "404", "message": "Resource not found"}})
        if model not in self.deployments:
            return Reply(404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}})
        for name in self.unknown_arguments & set(request.body):
            message = f"Unrecognized request argument supplied: {name}"
            return Reply(400, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}})
        return None

    def _completion(self, reply: Reply) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(reply.pieces or ANSWER)}
        choice = {"index": 0, "message": message, "finish_reason": reply.finish}
        usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
        return {"id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4", "choices": [choice], "usage": usage}

    def _embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        rows = []
        for place, text in enumerate(body["input"]):
            vector = self.model.vector(text, self.dims) if self.model else [float((crc32(text.encode()) >> shift) % 7 + 1) for shift in range(self.dims)]
            data = base64.b64encode(array("f", vector).tobytes()).decode() if body.get("encoding_format") == "base64" else vector
            rows.append({"object": "embedding", "index": place, "embedding": data})
        # Out of order on purpose: the index says which is which.
        return {"object": "list", "data": rows[::-1], "model": "e", "usage": {"prompt_tokens": 1, "total_tokens": 1}}

    def _events(self, request: Recorded, reply: Reply) -> list[dict[str, Any]]:
        if reply.events is not None:
            return reply.events
        base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4"}
        events: list[dict[str, Any]] = [{**base, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}]
        pieces = reply.pieces if reply.pieces is not None or reply.calls else ANSWER
        deltas: list[dict[str, Any]] = [{"content": piece} for piece in pieces or []]
        for place, (name, arguments) in enumerate(reply.calls):  # the name first, then the arguments in two pieces, as the services do
            deltas.append({"tool_calls": [{"index": place, "id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": ""}}]})
            half = len(arguments) // 2
            deltas += [{"tool_calls": [{"index": place, "function": {"arguments": part}}]} for part in (arguments[:half], arguments[half:])]
        events += [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        finish = "tool_calls" if reply.calls and reply.finish == "stop" else reply.finish
        events.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if (request.body.get("stream_options") or {}).get("include_usage"):
            events.append({**base, "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}})
        return events

    async def _stalled(self, writer: asyncio.StreamWriter) -> None:
        """Until the caller is gone: comments, which no client makes anything of, find that out."""
        while True:
            await asyncio.sleep(0.02)
            writer.write(b"3\r\n:\n\n\r\n")
            await writer.drain()

    async def _stream(self, request: Recorded, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        # Without a length and with "close", the end of the connection is the end of the body: a cut looks like an end.
        chunked = not reply.end_quietly
        how = "transfer-encoding: chunked" if chunked else "connection: close"
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{how}\r\n\r\n".encode())
        for place, event in enumerate(self._events(request, reply)):
            if reply.cut_after is not None and place >= reply.cut_after:
                if reply.end_quietly:
                    writer.close()
                return False
            if reply.stall_after == place:
                await self._stalled(writer)
            data = b"data: " + json.dumps(event).encode() + b"\n\n"
            writer.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
            await writer.drain()
            await asyncio.sleep(reply.event_gap_s)
        data = b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data) if chunked else data)
        await writer.drain()
        return chunked
