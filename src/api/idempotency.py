"""`Idempotency-Key`: what was sent twice is done once, and answered the same.

The first request with a key claims it in the journal of the threads' backend, so that this holds among replicas and after a
restart. What it answers, if that was a success, is kept for a day; a request that failed leaves the key free.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..core.identity import current_identity
from ..errors import ConflictError, InputError, RagError
from ..infra.persistence.journal import Entry, Journal, Key
from ..telemetry.logger import get_logger
from .problems import problem, respond, respond_to
from .runs import RUN_HEADER, ended_with, key_of

log = get_logger(__name__)

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
KEEP_S = 86_400.0
LEASE_S = 20.0
"""How long a key stays claimed by a server that was killed."""
RENEW_S = 5.0
MAX_REPLY = 1_000_000
"""A longer answer is not kept, and its key is free again."""
IN_MEMORY = 1_000_000
"""Of a body; the rest of an upload waits on disk."""
UNCHANGING = ("/v1/search", "/v1/embeddings", "/v1/chat/completions", "/mcp")
"""They change nothing, so a key says nothing."""
THREAD = "answers_in_thread"
"""In a request's state: the thread that the answer goes with, where the answer itself does not name it."""
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_BOUNDARY = re.compile(r'boundary="?([^";,\s]+)', re.IGNORECASE)
_REPLAYED = {REPLAYED_HEADER: "true"}


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that was given: a body, or a run whose events are the answer."""

    status: int = 200
    content_type: str = ""
    run: str = ""
    body: bytes = b""

    def dump(self) -> bytes:
        return json.dumps([self.status, self.content_type, self.run]).encode() + b"\n" + self.body

    @classmethod
    def load(cls, data: bytes) -> Kept:
        head, _, body = data.partition(b"\n")
        status, content_type, run = json.loads(head)
        return cls(status, content_type, run, body)


def fingerprint(head: str, body: Iterator[bytes], boundary: bytes = b"") -> bytes:
    """A digest of what a request says. The boundary of a multipart form, which clients draw anew each time, is left out.

    Args:
        head: method, path, query and kind of body.
        body: pieces of at least the boundary's length, the last one apart.
    """
    digest = hashlib.sha256(head.encode("utf-8", "surrogatepass") + b"\0")
    rest = b""
    for piece in body:
        rest += piece
        if boundary:
            *parts, rest = rest.split(boundary)
            digest.update(b"\0".join([*parts, b""]) if parts else b"")
        # What may be the beginning of a boundary waits for the next piece.
        keep = min(len(rest), max(len(boundary) - 1, 0))
        digest.update(rest[: len(rest) - keep])
        rest = rest[len(rest) - keep :]
    digest.update(rest)
    return digest.digest()


class Idempotency:
    """Middleware around what changes something. Stands inside of authentication and the limit of bodies."""

    def __init__(self, app: ASGIApp, journal: Callable[[], Awaitable[Journal]]) -> None:
        self.app = app
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get(HEADER) if scope["type"] == "http" and scope["method"] == "POST" else None
        identity = current_identity.get()
        if given is None or identity is None or scope["path"] in UNCHANGING:
            await self.app(scope, receive, send)
            return
        if not _KEY.fullmatch(given):
            error = InputError(f"{HEADER} has 1 to 200 visible ASCII characters.", hint="A random UUID does.")
            await respond_to(error, scope)(scope, receive, send)
            return
        name = hashlib.sha256(given.encode()).hexdigest()
        try:
            with SpooledTemporaryFile(IN_MEMORY) as body:
                if await _read(receive, body):
                    await self._once(Key(identity.tenant, identity.user, f"idem:{name}"), body, scope, receive, send)
        except HTTPException as error:
            # Of the limit of bodies: outside of the framework nobody else looks at its cause.
            await respond_to(error.__cause__ or error, scope)(scope, receive, send)
        except RagError as error:
            await respond_to(error, scope)(scope, receive, send)

    async def _once(self, key: Key, body: IO[bytes], scope: Scope, receive: Receive, send: Send) -> None:
        journal = await self._journal()
        said = await asyncio.to_thread(_fingerprint_of, scope, body)
        found = await _claim(journal, key, said)
        if found is None:
            await self._first(journal, key, scope, _again(body, receive), send)
            return
        if found.head != said:
            hint = "Send another key with another request."
            answer = problem(422, "key-reused", "This Idempotency-Key was sent with another request.", scope, hint=hint)
            await respond(answer)(scope, receive, send)
            return
        if not found.parts:
            raise ConflictError("The first request with this Idempotency-Key is still being answered.", hint="Send it again in a few seconds.")
        kept = Kept.load(found.parts[-1][1])
        if kept.run:
            scope.setdefault("state", {})["resume_run"] = kept.run
            await self.app(scope, _again(body, receive), _replayed(send))
            return
        await Response(kept.body, kept.status, _REPLAYED, kept.content_type)(scope, receive, send)

    async def _first(self, journal: Journal, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and keep the answer if it is a success; otherwise let go of the key."""
        state = scope.setdefault("state", {})
        state["keep_run_s"] = KEEP_S
        answer = _Answer(journal, key, send, state)
        try:
            async with _renewed(journal, key):
                await self.app(scope, receive, answer.send)
        finally:
            if not answer.kept:
                await asyncio.shield(journal.remove(key))


class _Answer:
    """Passes an answer on, and keeps it before its last piece leaves: who has the answer can rely on the key."""

    def __init__(self, journal: Journal, key: Key, send: Send, state: Mapping[str, object]) -> None:
        self._journal = journal
        self._key = key
        self._send = send
        self._state = state
        self._status = 0
        self._type = ""
        self._body = b""
        self._run = ""
        self.kept = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            self._status, self._type, self._run = message["status"], headers.get("content-type", ""), headers.get(RUN_HEADER, "")
            if self._run:
                await self._keep(Kept(run=self._run))
        elif message["type"] == "http.response.body" and not self._run:
            if len(self._body) <= MAX_REPLY:
                self._body += message.get("body", b"")
            if not message.get("more_body") and 200 <= self._status < 300 and len(self._body) <= MAX_REPLY:
                await self._keep(Kept(self._status, self._type, body=self._body))
        await self._send(message)

    async def _keep(self, kept: Kept) -> None:
        try:
            self.kept = await self._journal.append(self._key, [(1, kept.dump())], KEEP_S, _thread_of(self._state, kept.body))
        except RagError as error:  # it is done: the caller must hear of it all the same
            log.warning("an answer could not be kept for its key", error=error.code, detail=str(error))


async def _claim(journal: Journal, key: Key, said: bytes) -> Entry | None:
    """None: the key is ours. Else what is kept under it; a run that failed is nothing to keep a key for."""
    for _ in range(3):
        if await journal.begin(key, said, LEASE_S):
            return None
        entry = await journal.read(key)
        if entry is not None and not await _failed(journal, key, entry):
            return entry
        if entry is not None:
            await journal.remove(key)
    raise ConflictError("Another request with this Idempotency-Key has just begun.", hint="Send it again in a few seconds.")


async def _failed(journal: Journal, key: Key, entry: Entry) -> bool:
    """Whether the key's run ended with an error, or is gone."""
    run = Kept.load(entry.parts[-1][1]).run if entry.parts else ""
    if not run:
        return False
    events = await journal.read(key_of(run, key.tenant, key.user))
    return events is None or (bool(events.parts) and ended_with(events.parts[-1][1]) == "error")


@asynccontextmanager
async def _renewed(journal: Journal, key: Key) -> AsyncIterator[None]:
    async def renew() -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                entry = await journal.read(key)
                if entry is None or entry.parts:
                    return
                await journal.append(key, [], LEASE_S)
            except RagError as error:
                log.warning("a key's claim could not be renewed; trying again", error=error.code)

    renewal = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewal.cancel()


async def _read(receive: Receive, into: IO[bytes]) -> bool:
    """Read a request's body; False where the client went away."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return False
        if piece := message.get("body", b""):
            await asyncio.to_thread(into.write, piece)
        if not message.get("more_body"):
            return True


def _fingerprint_of(scope: Scope, body: IO[bytes]) -> bytes:
    content_type = Headers(scope=scope).get("content-type", "")
    found = _BOUNDARY.search(content_type) if content_type.lower().startswith("multipart/") else None
    kind = content_type.partition(";")[0].strip().lower()
    head = "\0".join([scope["method"], scope["path"], scope.get("query_string", b"").decode("latin-1"), kind])
    return fingerprint(head, _pieces(body), found.group(1).encode("latin-1") if found else b"")


def _pieces(body: IO[bytes]) -> Iterator[bytes]:
    body.seek(0)
    while piece := body.read(65_536):
        yield piece


def _replayed(send: Send) -> Send:
    """Mark an answer that is told again."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 300:
            MutableHeaders(scope=message).update(_REPLAYED)
        await send(message)

    return marked


def _again(body: IO[bytes], receive: Receive) -> Receive:
    """The body as the application reads it; then whatever comes."""
    body.seek(0)
    over = False

    async def again() -> Message:
        nonlocal over
        if over:
            return await receive()
        piece = await asyncio.to_thread(body.read, 65_536)
        over = not piece
        return {"type": "http.request", "body": piece, "more_body": not over}

    return again


def _thread_of(state: Mapping[str, object], body: bytes) -> str | None:
    """The thread that an answer goes with: the one that its endpoint named in the request's state, else that which the answer names."""
    thread_id = state.get(THREAD)
    if thread_id is None:
        with suppress(ValueError):
            found = json.loads(body)
            thread_id = found.get("thread_id") if isinstance(found, dict) else None
    return thread_id if isinstance(thread_id, str) and thread_id else None
