"""A proxy of ours between a client and a real server, with faults that a test switches on and off.

    with FaultProxy(opensearch.url).running() as proxy, proxy.fault(Reset(when="answer", path="_bulk", times=1)):
        ...  # the first bulk reaches the server, its answer is lost

Over HTTP it reads whole messages, so faults hit requests, on kept-alive connections too. To an ``https`` target it passes bytes
through: there only whole connections can be hit, each counts once, and ``path`` and answers cannot be known.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from tests.servers.wire import LIMIT, Message, read_answer, read_request


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``path``: regular expression of the paths hit; ``share``: of the requests that match; ``times``: no more hits than this."""

    path: str = ""
    share: float = 1.0
    times: int | None = None


@dataclass(frozen=True, kw_only=True)
class Latency(Fault):
    """Wait before a request goes on: ``seconds``, and up to ``jitter_s`` more."""

    seconds: float
    jitter_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Reset(Fault):
    """RST: before the request reaches the server, or (``answer``) once the server has done its work."""

    when: Literal["request", "answer"] = "request"


@dataclass(frozen=True, kw_only=True)
class HalfOpen(Fault):
    """Take the request and never answer; the connection is reset when the fault is lifted."""


@dataclass(frozen=True, kw_only=True)
class Truncate(Fault):
    """Close in order after so many bytes of the answer's body."""

    after: int


@dataclass(frozen=True, kw_only=True)
class Refuse(Fault):
    """Nothing listens, and open connections are reset; ``path``, ``share`` and ``times`` mean nothing here."""


@dataclass(frozen=True, kw_only=True)
class Storm(Fault):
    """The proxy answers by itself with ``status``; by default with OpenSearch's own text for 429 and 503."""

    status: int
    body: str | None = None
    content_type: str = "application/json; charset=UTF-8"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ItemStorm(Fault):
    """A ``_bulk`` succeeds as a request, while ``items`` (share) of its operations are rejected with 429 and never reach the server."""

    items: float = 0.5


@dataclass
class Seen:
    """One request. ``outcome``: the answer's status, or what the proxy did instead."""

    request: Message = field(repr=False)
    outcome: int | str = "open"

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def path(self) -> str:
        return self.request.path


REASONS = {
    429: ("rejected_execution_exception", "rejected execution of task on search thread pool"),
    503: ("search_phase_execution_exception", "all shards failed"),
}


def storm_answer(fault: Storm) -> Message:
    kind, reason = REASONS.get(fault.status, ("exception", "made by the test"))
    cause = {"type": kind, "reason": reason}
    body = fault.body if fault.body is not None else json.dumps({"error": {"root_cause": [cause], **cause}, "status": fault.status})
    headers = {"content-type": fault.content_type, "content-length": str(len(body.encode()))}
    return Message(f"HTTP/1.1 {fault.status} Made", headers | dict(fault.headers), body.encode())


def split_bulk(text: str) -> list[tuple[str, dict[str, Any], list[str]]]:
    """The operations of a ``_bulk`` body: kind, its parameters, its lines."""
    lines, found = iter([line for line in text.split("\n") if line.strip()]), []
    for line in lines:
        (kind, parameters), *_ = json.loads(line).items()
        found.append((kind, parameters, [line] if kind == "delete" else [line, next(lines)]))
    return found


class FaultProxy:
    """Forwards to ``target`` (an address such as ``http://127.0.0.1:9201``) and counts; runs on a loop in its own thread."""

    def __init__(self, target: str, *, seed: int = 7) -> None:
        parts = urlsplit(target)
        self._host, self._target_port, self._tls = str(parts.hostname), int(parts.port or 0), parts.scheme == "https"
        self._scheme = parts.scheme
        self._random = random.Random(seed)
        self._faults: tuple[Fault, ...] = ()
        self._hits: Counter[int] = Counter()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._lifted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0
        self.requests: list[Seen] = []

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        return len(self._tasks)

    def seen(self, path: str = "", outcome: int | str | None = None) -> list[Seen]:
        """Requests so far whose path matches, and that ended so."""
        return [one for one in self.requests if re.search(path, one.path) and outcome in (None, one.outcome)]

    def forget(self) -> None:
        """Counters back to zero."""
        self.connections, self.requests = 0, []

    @contextmanager
    def running(self) -> Iterator[FaultProxy]:
        thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        thread.start()
        self._call(self._listen())
        try:
            yield self
        finally:
            self._call(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)
            self._loop.close()

    @contextmanager
    def fault(self, *faults: Fault) -> Iterator[FaultProxy]:
        """Switch faults on for a block, instead of those that were on."""
        before = self._faults
        self.set(*faults)
        try:
            yield self
        finally:
            self.set(*before)

    def set(self, *faults: Fault) -> None:
        """The faults from now on; none: forward everything."""
        if self._tls and any(isinstance(fault, Storm | ItemStorm | Truncate) or fault.path for fault in faults):
            raise ValueError("the proxy cannot read an https target's messages: only Latency, Reset, HalfOpen and Refuse, without a path")
        self._call(self._switch(faults))

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _switch(self, faults: tuple[Fault, ...]) -> None:
        self._faults = faults
        self._hits.clear()
        self._lifted.set()
        self._lifted = asyncio.Event()
        if any(isinstance(fault, Refuse) for fault in faults):
            await self._close()
        elif self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]] = self._tunnel if self._tls else self._converse

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            self.connections += 1
            try:
                # Whatever ends a connection here, its client sees a reset.
                with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    await serve(reader, writer)
            finally:
                self._tasks.discard(task)
                _reset(writer)

        self._server = await asyncio.start_server(connected, "127.0.0.1", self.port, limit=LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drawn(self, path: str) -> list[Fault]:
        """The faults that hit this request."""
        hit = []
        for number, fault in enumerate(self._faults):
            if re.search(fault.path, path) and (fault.times is None or self._hits[number] < fault.times) and self._random.random() < fault.share:
                self._hits[number] += 1
                hit.append(fault)
        return hit

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection: request after request, each over the one connection to the target."""
        upstream = _Upstream(self._host, self._target_port)
        try:
            while request := await read_request(reader, writer):
                seen = Seen(request)
                self.requests.append(seen)
                answer = await self._answer(seen, self._drawn(request.path), upstream)
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                    await _close_in_order(writer)
                    return
                if answer is None:
                    return
                writer.write(answer.encode())
                await writer.drain()
                if request.closes or answer.closes:
                    break
            await _close_in_order(writer)
        finally:
            upstream.close()

    async def _answer(self, seen: Seen, faults: Sequence[Fault], upstream: _Upstream) -> Message | bytes | None:
        """An answer to send on, bytes to send before closing in order, or None for a reset."""
        for fault in faults:
            if isinstance(fault, Latency):
                await asyncio.sleep(fault.seconds + self._random.random() * fault.jitter_s)
            elif isinstance(fault, HalfOpen):
                seen.outcome = "half-open"
                await self._lifted.wait()
                return None
            elif isinstance(fault, Reset) and fault.when == "request":
                seen.outcome = "reset"
                return None
            elif isinstance(fault, Storm):
                seen.outcome = fault.status
                return storm_answer(fault)
        share = next((fault.items for fault in faults if isinstance(fault, ItemStorm)), 0.0)
        answer = await (self._bulk(seen.request, share, upstream) if share else upstream.ask(seen.request))
        seen.outcome = answer.status
        return self._spoiled(seen, answer, faults)

    def _spoiled(self, seen: Seen, answer: Message, faults: Sequence[Fault]) -> Message | bytes | None:
        for fault in faults:
            if isinstance(fault, Reset):
                seen.outcome = "reset after answer"
                return None
            if isinstance(fault, Truncate) and len(answer.body) > fault.after:
                seen.outcome = "truncated"
                whole = answer.encode()
                return whole[: len(whole) - len(answer.body) + fault.after]
        return answer

    async def _bulk(self, request: Message, share: float, upstream: _Upstream) -> Message:
        """Send a part of the operations on, and answer for all of them in their order."""
        operations = split_bulk(request.text)
        rejected = [self._random.random() < share for _ in operations]
        kept = [line for (_, _, lines), out in zip(operations, rejected, strict=True) if not out for line in lines]
        done: dict[str, Any] = {"took": 0, "errors": False, "items": []}
        if kept:
            answer = await upstream.ask(request.with_body(("\n".join(kept) + "\n").encode()))
            if answer.status != 200:
                return answer
            done = json.loads(answer.text)
        items, index = iter(done["items"]), request.path.lstrip("/").partition("/_bulk")[0]
        error = {"type": "rejected_execution_exception", "reason": "rejected execution of primary operation"}
        merged = [
            {kind: {"_index": parameters.get("_index", index), "_id": parameters.get("_id"), "status": 429, "error": error}} if out else next(items)
            for (kind, parameters, _), out in zip(operations, rejected, strict=True)
        ]
        body = json.dumps(done | {"errors": done["errors"] or any(rejected), "items": merged}).encode()
        return Message("HTTP/1.1 200 OK", {"content-type": "application/json; charset=UTF-8", "content-length": str(len(body))}, body)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes both ways; a fault hits the whole connection."""
        faults = self._drawn("")
        for fault in faults:
            if isinstance(fault, Latency):
                await asyncio.sleep(fault.seconds + self._random.random() * fault.jitter_s)
            elif isinstance(fault, HalfOpen):
                await self._lifted.wait()
                return
            elif isinstance(fault, Reset):
                return
        far_reader, far_writer = await asyncio.open_connection(self._host, self._target_port)
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.close()


class _Upstream:
    """The connection to the target that belongs to one client's connection; opened anew where the target has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Message) -> Message:
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection(self._host, self._port, limit=LIMIT)
        reader, writer = self._streams
        writer.write(request.encode())
        await writer.drain()
        return await read_answer(reader, request.method)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN; nothing happens to a connection that is closed already."""
    if not writer.transport.is_closing():
        with suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


async def _close_in_order(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
