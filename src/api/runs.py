"""Answers under way. A run is one streamed answer: it goes on whoever listens, and tells its events again to a client that lost its connection.

The events of a run lie in memory while it runs in this process, and in the journal of the threads' backend, where another
replica finds them: written twice a second, so that what a listener elsewhere hears is that much late.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from ..core.identity import Identity
from ..errors import ConflictError, InputError, NotFoundError, PayloadTooLargeError, RagError, ServiceUnavailableError
from ..infra.persistence.journal import Addition, Journal, Key
from ..telemetry.logger import get_logger
from .limits import server_stopped
from .sse import event

log = get_logger(__name__)

RUN_HEADER = "X-Run-ID"
FLUSH_S = 0.5
LEASE_S = 20.0
"""How long a run of a server that was killed still looks alive."""
RENEW_S = 5.0
POLL_S = 0.5
KEEP_S = 600.0
"""How long the events of an answer that ended can be had; its thread has it from then on."""
MAX_BYTES = 4_000_000
"""Events of one run; no answer is that long."""
MAX_UNATTENDED = 100
"""Runs of this process that nobody listens to at present; the oldest gives way."""

LAST = ("done", "error")
_LAST = re.compile(rb"\Aid: \S+\nevent: (done|error)\n")
_EVENT_ID = re.compile(r"([0-9a-f]{32}):(0|[1-9][0-9]{0,8})")

Problem = Callable[[BaseException], Mapping[str, Any]]
"""Makes the data of an ``error`` event."""


def parse_event_id(text: str) -> tuple[str, int]:
    """Run and number of an event's id.

    Raises:
        InputError: it is none of ours.
    """
    found = _EVENT_ID.fullmatch(text.strip())
    if found is None:
        raise InputError("Last-Event-ID is not the id of an event of this server.", hint="Send the id of the last event that came, as it came.")
    return found.group(1), int(found.group(2))


def ended_with(frame: bytes) -> str:
    """``done`` or ``error`` for the last event of a run, else nothing."""
    found = _LAST.match(frame)
    return found.group(1).decode() if found else ""


class Run:
    """One answer. Made by `Runs.start`."""

    def __init__(self, identity: Identity, head: bytes, problem: Problem, *, thread_id: str | None = None, to_the_end: bool = False) -> None:
        self.id = uuid.uuid4().hex
        self.head = head
        self.to_the_end = to_the_end
        self.owner = (identity.tenant, identity.user)
        self.frames: list[bytes] = []
        self.ended = asyncio.Event()
        self.listeners = 0
        self.left_at = asyncio.get_running_loop().time()
        self.saved = 0
        self.renewed_at = self.looked_at = self.left_at
        self.thread_id = thread_id
        self.task: asyncio.Task[None] | None = None
        self._size = 0
        self._problem = problem
        self._stopped: RagError | None = None
        self._changed = asyncio.Event()

    @property
    def key(self) -> Key:
        return key_of(self.id, *self.owner)

    def add(self, name: str, data: Any) -> None:
        """Tell an event to all who listen.

        Raises:
            PayloadTooLargeError: the run has become too large.
        """
        frame = event(name, data, f"{self.id}:{len(self.frames) + 1}")
        self._size += len(frame)
        if self._size > MAX_BYTES and name not in LAST:
            raise PayloadTooLargeError("The answer is too long.")
        if name == "done":
            self.thread_id = data["thread_id"] or self.thread_id
        self.frames.append(frame)
        self._wake()

    def fail(self, error: BaseException) -> None:
        self.add("error", self._problem(error))

    def end(self) -> None:
        """No event follows. A run that ended otherwise than by its last event was stopped, and says why."""
        if not self.frames or not ended_with(self.frames[-1]):
            self.fail(self._stopped or ServiceUnavailableError("The answer was broken off.", hint="Ask again."))
        self.ended.set()
        self._wake()

    def stop(self, reason: RagError) -> None:
        """End it before its time; nothing of it stays in the thread."""
        if self.task is not None and self._stopped is None and not self.ended.is_set():
            self._stopped = reason
            self.task.cancel()

    async def listen(self, after: int, leave: Callable[[Run], None]) -> AsyncGenerator[bytes, None]:
        """The events after one number, until the last. ``leave`` is called when nobody else listens any more."""
        self.listeners += 1
        try:
            while True:
                changed = self._changed
                for frame in self.frames[after:]:
                    yield frame
                    after += 1
                if after >= len(self.frames) and self.ended.is_set():
                    return
                if changed is self._changed:
                    await changed.wait()
        finally:
            self.listeners -= 1
            if not self.listeners:
                self.left_at = asyncio.get_running_loop().time()
                leave(self)

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def key_of(run_id: str, tenant: str, user: str) -> Key:
    return Key(tenant, user, f"run:{run_id}")


class Runs:
    """The runs of this process, and those of other replicas as far as the journal tells.

    Args:
        journal: gives the journal; asked for at the first run.
        resume_s: how long a run goes on when nobody listens; 0 stops it with its last listener.
    """

    def __init__(self, journal: Callable[[], Awaitable[Journal]], resume_s: float) -> None:
        self._journal = journal
        self._resume_s = resume_s
        self._live: dict[str, Run] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._saving: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def start(
        self,
        identity: Identity,
        source: AsyncGenerator[tuple[str, Any], None],
        head: bytes,
        problem: Problem,
        *,
        thread_id: str | None = None,
        keep_s: float = KEEP_S,
        to_the_end: bool = False,
    ) -> Run:
        """Begin a run. ``source`` gives names and data of events; it is closed at the end, and when the run is stopped.

        Args:
            head: what tells the request from others.
            thread_id: the thread that is answered in, with which the events go; that of a new one comes with its end.
            keep_s: how long the events can be had after the end.
            to_the_end: it goes on when nobody listens any more.

        Raises:
            StorageError, ServiceUnavailableError: kinds of it; the journal cannot be written.
        """
        journal = await self._journal()
        run = Run(identity, head, problem, thread_id=thread_id, to_the_end=to_the_end)
        await journal.begin(run.key, head, LEASE_S, thread_id)
        self._live[run.id] = run
        run.task = asyncio.create_task(self._serve(run, source, journal, keep_s))
        await asyncio.sleep(0)  # a task that is cancelled before its first step never comes to its `finally`
        return run

    def listen(self, run: Run, after: int = 0) -> AsyncGenerator[bytes, None]:
        """The events of a run of this process after one number."""
        return run.listen(after, self._left)

    async def follow(self, run_id: str, identity: Identity, after: int, problem: Problem, head: bytes | None = None) -> AsyncGenerator[bytes, None] | None:
        """The events of any run after one number, as they come; None where none follows, because that one was the last.

        Raises:
            NotFoundError: there is no such run of the caller, or not any more.
            InputError: it has no event of that number, or (``head``) is the answer to another request.
        """
        run = self._live.get(run_id)
        if run is not None and run.owner == (identity.tenant, identity.user):
            _check(run.head, head, after, len(run.frames))
            return None if _is_over(run.frames, after) else self.listen(run, after)
        journal = await self._journal()
        key = key_of(run_id, identity.tenant, identity.user)
        entry = await journal.read(key)
        if entry is None:
            raise _unknown()
        frames = [frame for _, frame in entry.parts]
        over = bool(frames) and bool(ended_with(frames[-1]))
        _check(entry.head, head, after, len(frames) if over else after)
        return None if _is_over(frames, after) else _tail(journal, key, after, problem, self._closing)

    async def stop(self, run_id: str, identity: Identity) -> None:
        """Stop a run of the caller; one of another replica stops within `RENEW_S`. One that ended stays as it is.

        Raises:
            NotFoundError: there is no such run of the caller, or not any more.
        """
        run = self._live.get(run_id)
        if run is not None and run.owner == (identity.tenant, identity.user):
            run.stop(_stopped())
            await run.ended.wait()
            return
        journal = await self._journal()
        key = key_of(run_id, identity.tenant, identity.user)
        if await journal.read(key) is None:
            raise _unknown()
        await journal.begin(_beside(key, "stop"), b"", KEEP_S)

    async def aclose(self) -> None:
        """Stop what still runs, and say so to whoever asks another replica; what runs elsewhere is told there from now on."""
        self._closing.set()
        live = list(self._live.values())
        for run in live:
            run.stop(server_stopped())
        await asyncio.gather(*(run.task for run in live if run.task is not None), return_exceptions=True)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def _serve(self, run: Run, source: AsyncGenerator[tuple[str, Any], None], journal: Journal, keep_s: float) -> None:
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(journal))
        try:
            async with aclosing(source) as events:
                async for name, data in events:
                    run.add(name, data)
        except RagError as error:
            run.fail(error)
        except asyncio.CancelledError:
            log.info("an answer was stopped", run=run.id)
        finally:
            run.end()
            if self._saving is not None:  # what is being written of it must not be written behind its end
                await asyncio.wait([self._saving])
            await _save([run], journal, keep_s)
            del self._live[run.id]

    async def _keep(self, journal: Journal) -> None:
        """Save the events of all runs while any goes on, together, and look whether anybody still wants them.

        One transaction for all: with one for each of 200 runs this took more of the processor than what the runs said.
        """
        loop = asyncio.get_running_loop()
        while self._live:
            await asyncio.sleep(FLUSH_S)
            now = loop.time()
            going = [run for run in self._live.values() if not run.ended.is_set()]
            if due := [run for run in going if run.saved < len(run.frames) or now - run.renewed_at >= RENEW_S]:
                self._saving = asyncio.create_task(_save(due, journal, LEASE_S))
                await asyncio.wait([self._saving])  # whatever it failed with, the next round tries again
            looks = [self._look(run, journal, now) for run in going if self._is_alone(run, now) or now - run.looked_at >= RENEW_S]
            await asyncio.gather(*looks)

    def _is_alone(self, run: Run, now: float) -> bool:
        return not run.to_the_end and not run.listeners and now - run.left_at >= self._resume_s

    async def _look(self, run: Run, journal: Journal, now: float) -> None:
        try:
            if now - run.looked_at >= RENEW_S:
                run.looked_at = now
                if await journal.read(_beside(run.key, "stop")) is not None:
                    run.stop(_stopped())
            if self._is_alone(run, now) and await journal.read(_beside(run.key, "listener")) is None and not run.listeners:
                run.stop(_abandoned())
        except RagError as error:
            log.warning("who listens to an answer elsewhere cannot be read; it goes on", run=run.id, error=error.code)

    def _left(self, run: Run) -> None:
        if run.to_the_end:
            return
        unattended = [other for other in self._live.values() if not (other.listeners or other.to_the_end or other.ended.is_set())]
        if self._resume_s == 0:
            run.stop(_abandoned())
        elif len(unattended) > MAX_UNATTENDED:
            min(unattended, key=lambda other: other.left_at).stop(_abandoned())


async def _save(runs: Sequence[Run], journal: Journal, ttl_s: float) -> None:
    """Write what is new. A failure is logged: listeners here have the events all the same, and the next time writes them too."""
    ends = [len(run.frames) for run in runs]
    additions = [Addition(run.key, [*enumerate(run.frames[run.saved : end], run.saved + 1)], ttl_s, run.thread_id) for run, end in zip(runs, ends, strict=True)]
    try:
        await journal.append_all(additions)
    except RagError as error:
        log.warning("the events of answers could not be kept", runs=len(runs), error=error.code, detail=str(error))
        return
    now = asyncio.get_running_loop().time()
    for run, end in zip(runs, ends, strict=True):
        run.saved, run.renewed_at = end, now


async def _tail(journal: Journal, key: Key, after: int, problem: Problem, closing: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """The events of a run that another replica serves, until the last, or until this one stops: its listener asks again, there."""
    loop = asyncio.get_running_loop()
    told = loop.time() - RENEW_S
    # From the one before: a listener that has the last event already may come before that event was written.
    while (entry := await journal.read(key, max(after - 1, 0))) is not None:
        for number, frame in entry.parts:
            if number > after:
                yield frame
                after = number
            if ended_with(frame):
                return
        if closing.is_set():
            return
        if loop.time() - told >= RENEW_S:
            told = loop.time()
            await _renew(journal, _beside(key, "listener"))
        await asyncio.sleep(POLL_S)
    gone = ServiceUnavailableError("The server that was answering is gone.", hint="Ask again.")
    yield event("error", problem(gone))


async def _renew(journal: Journal, key: Key) -> None:
    if not await journal.append(key, [], LEASE_S):
        await journal.begin(key, b"", LEASE_S)


def _beside(key: Key, what: str) -> Key:
    return Key(key.tenant, key.user, f"{key.name}:{what}")


def _is_over(frames: list[bytes], after: int) -> bool:
    return bool(frames) and after >= len(frames) and bool(ended_with(frames[-1]))


def _check(known: bytes, head: bytes | None, after: int, last: int) -> None:
    if head is not None and head != known:
        raise InputError("Last-Event-ID belongs to the answer to another request.", hint="Send the same body again, or leave the header out.")
    if after > last:
        raise InputError("Last-Event-ID names an event that there has not been.", hint="Send the id of the last event that came, as it came.")


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such answer under way, nor one that just ended.", hint="The history of its thread has it, if it ended well.")


def _stopped() -> ConflictError:
    return ConflictError("The answer was stopped.", hint="Ask again.")


def _abandoned() -> ConflictError:
    return ConflictError("Nobody listened to the answer any more, so it was stopped.", hint="Ask again.")
