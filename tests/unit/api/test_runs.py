"""Answers under way: each event once to whoever listens, wherever; no run without end, and none for a stranger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.api import runs as module
from src.api.runs import Run, Runs, ended_with, key_of, parse_event_id
from src.core.identity import Identity
from src.errors import InputError, NotFoundError
from src.infra.persistence.journal.memory import MemoryJournal

ANNE, BOB = Identity("anne"), Identity("bob")
DONE = {"thread_id": "t1", "answer": "x"}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"FLUSH_S": 0.01, "POLL_S": 0.01, "RENEW_S": 0.02, "LEASE_S": 5.0}.items():
        monkeypatch.setattr(module, name, seconds)


class Source:
    """An answer that comes when the test says so."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def events(self) -> AsyncGenerator[tuple[str, Any], None]:
        try:
            while (item := await self.queue.get()) is not None:
                yield item
        finally:
            self.closed.set()

    def say(self, *texts: str) -> None:
        for text in texts:
            self.queue.put_nowait(("token", {"text": text}))

    def finish(self) -> None:
        self.queue.put_nowait(("done", DONE))
        self.queue.put_nowait(None)


def problem(error: BaseException) -> dict[str, Any]:
    return {"code": getattr(error, "code", "internal"), "detail": str(error)}


def replicas(journal: MemoryJournal, resume_s: float = 30.0) -> tuple[Runs, Runs]:
    async def found() -> MemoryJournal:
        return journal

    return Runs(found, resume_s), Runs(found, resume_s)


async def begin(runs: Runs, source: Source) -> Run:
    return await runs.start(ANNE, source.events(), b"head", problem)


async def take(frames: AsyncGenerator[bytes, None] | None, number: int | None = None) -> list[bytes]:
    """The next events, all for None; then the listener goes away."""
    found: list[bytes] = []
    assert frames is not None
    async with aclosing(frames) as items:
        async for frame in items:
            found.append(frame)
            if len(found) == number:
                break
    return found


def numbers(run: Run, frames: list[bytes]) -> list[int]:
    ids = [parse_event_id(frame.split(b"\n")[0].decode().removeprefix("id: ")) for frame in frames]
    assert {run_id for run_id, _ in ids} <= {run.id}
    return [number for _, number in ids]


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=5), st.integers(0, 12))
def test_a_listener_that_comes_back_anywhere_gets_every_event_once(cuts: list[tuple[int, bool]], words: int) -> None:
    async def check() -> None:
        here, there = replicas(MemoryJournal())
        source = Source()
        run = await begin(here, source)
        source.say(*(f"word {n}" for n in range(words)))
        source.finish()
        heard: list[bytes] = []
        for number, elsewhere in [*cuts, (99, True)]:
            frames = await (there if elsewhere else here).follow(run.id, ANNE, len(heard), problem)
            if frames is not None:
                heard += await take(frames, number)
        assert numbers(run, heard) == list(range(1, words + 2))
        assert [ended_with(frame) for frame in heard] == [""] * words + ["done"]
        assert run.task is not None
        await run.task
        for runs in (here, there):
            assert await runs.follow(run.id, ANNE, words + 1, problem) is None
        assert here._live == {}

    asyncio.run(asyncio.wait_for(check(), 20))


async def test_an_answer_goes_on_while_nobody_listens_and_is_had_whole_afterwards() -> None:
    here, there = replicas(MemoryJournal())
    source = Source()
    run = await begin(here, source)
    source.say("One")
    assert len(await take(here.listen(run), 1)) == 1
    source.say("Two")
    source.finish()
    for runs in (here, there):
        assert numbers(run, await take(await runs.follow(run.id, ANNE, 1, problem))) == [2, 3]


@pytest.mark.parametrize("deleted", ["at once", "after the end"])
async def test_what_was_said_before_an_answer_was_stopped_goes_with_its_thread(deleted: str) -> None:
    journal = MemoryJournal()
    here, there = replicas(journal)
    source = Source()
    run = await here.start(ANNE, source.events(), b"head", problem, thread_id="t1", keep_s=86_400)
    if deleted == "at once":
        await journal.forget_thread("t1")
    source.say("One")
    await take(here.listen(run), 1)
    await here.stop(run.id, ANNE)
    assert run.task is not None
    await run.task
    if deleted == "after the end":
        assert await journal.read(run.key) is not None
        await journal.forget_thread("t1")
    for runs in (here, there):
        with pytest.raises(NotFoundError):
            await runs.follow(run.id, ANNE, 0, problem)


@pytest.mark.parametrize("resume_s", [0.0, 0.05])
async def test_an_answer_that_nobody_takes_up_again_is_stopped(resume_s: float) -> None:
    journal = MemoryJournal()
    here, there = replicas(journal, resume_s)
    source = Source()
    run = await begin(here, source)
    source.say("One")
    await take(here.listen(run), 1)
    await asyncio.wait_for(source.closed.wait(), 10)
    assert run.task is not None
    await run.task
    (last,) = await take(await there.follow(run.id, ANNE, 1, problem))
    assert ended_with(last) == "error"
    assert b"Nobody listened" in last
    assert here._live == {}


@pytest.mark.parametrize("resume_s", [0.0, 0.05])
async def test_what_was_begun_to_the_end_goes_on_without_a_listener(resume_s: float) -> None:
    here, there = replicas(MemoryJournal(), resume_s)
    source = Source()
    run = await here.start(ANNE, source.events(), b"question", problem, to_the_end=True)
    source.say("One")
    await take(here.listen(run), 1)
    await asyncio.sleep(0.2)
    assert not source.closed.is_set()
    source.finish()
    assert run.task is not None
    await run.task
    assert numbers(run, await take(await there.follow(run.id, ANNE, 1, problem))) == [2]


async def test_a_listener_on_another_replica_keeps_an_answer_going() -> None:
    here, there = replicas(MemoryJournal(), 0.05)
    source = Source()
    run = await begin(here, source)
    frames = await there.follow(run.id, ANNE, 0, problem)
    assert frames is not None
    source.say("One")
    first = await anext(frames)
    await asyncio.sleep(0.3)
    assert not source.closed.is_set()
    source.say("Two")
    source.finish()
    assert numbers(run, [first, *await take(frames)]) == [1, 2, 3]


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_an_answer_is_stopped_by_its_owner_from_any_replica(elsewhere: bool) -> None:
    here, there = replicas(MemoryJournal())
    source = Source()
    run = await begin(here, source)
    source.say("One")
    listening = asyncio.create_task(take(here.listen(run)))
    await (there if elsewhere else here).stop(run.id, ANNE)
    heard = await asyncio.wait_for(listening, 10)
    assert ended_with(heard[-1]) == "error"
    assert source.closed.is_set()
    await here.stop(run.id, ANNE)  # again is harmless


async def test_an_answer_that_never_pauses_is_stopped_from_another_replica_too() -> None:
    here, there = replicas(MemoryJournal())
    source = Source()
    run = await begin(here, source)
    stopping = asyncio.create_task(there.stop(run.id, ANNE))
    async with asyncio.timeout(20):
        while not source.closed.is_set():
            source.say("on")
            await asyncio.sleep(0.002)
    await stopping
    assert run.task is not None
    await asyncio.wait_for(run.task, 10)
    assert ended_with(run.frames[-1]) == "error"


async def test_the_events_of_all_answers_are_kept_together_while_they_go_on() -> None:
    journal = MemoryJournal()
    here, there = replicas(journal)
    sources = [Source() for _ in range(20)]
    runs = [await begin(here, source) for source in sources]
    for number, source in enumerate(sources):
        source.say(*(f"{number} {n}" for n in range(3)))
    for run in runs:
        frames = await there.follow(run.id, ANNE, 0, problem)
        assert numbers(run, await take(frames, 3)) == [1, 2, 3]
    for source in sources:
        source.finish()
    await asyncio.gather(*(run.task for run in runs if run.task is not None))
    assert [run.saved for run in runs] == [4] * 20
    await here.aclose()


@pytest.mark.parametrize("ended", [False, True])
async def test_a_stranger_finds_neither_a_run_that_goes_on_nor_one_that_ended(ended: bool) -> None:
    here, there = replicas(MemoryJournal())
    source = Source()
    run = await begin(here, source)
    source.say("One")
    if ended:
        source.finish()
        assert run.task is not None
        await run.task
    for runs in (here, there):
        for who, run_id in ((BOB, run.id), (Identity("anne", "other"), run.id), (ANNE, "0" * 32)):
            with pytest.raises(NotFoundError):
                await runs.follow(run_id, who, 0, problem)
            with pytest.raises(NotFoundError):
                await runs.stop(run_id, who)
    await here.aclose()


async def test_a_server_that_is_gone_ends_the_stream_of_those_who_listen_elsewhere() -> None:
    journal = MemoryJournal()
    _, there = replicas(journal)
    key = key_of("a" * 32, ANNE.tenant, ANNE.user)
    await journal.begin(key, b"head", 0.1)  # and nobody renews it
    (last,) = await take(await there.follow("a" * 32, ANNE, 0, problem))
    assert b"event: error" in last
    assert b"gone" in last


async def test_a_server_that_stops_says_so() -> None:
    here, there = replicas(MemoryJournal())
    run = await begin(here, Source())
    await here.aclose()
    (last,) = await take(await there.follow(run.id, ANNE, 0, problem))
    assert b"The server stopped" in last


async def test_a_server_that_stops_lets_those_go_who_listen_to_an_answer_of_another() -> None:
    here, there = replicas(MemoryJournal())
    source = Source()
    run = await begin(here, source)
    source.say("One")
    frames = await there.follow(run.id, ANNE, 0, problem)
    assert frames is not None
    async with aclosing(frames) as listened:
        heard = [await anext(listened)]
        await there.aclose()
        heard += [frame async for frame in listened]
    assert numbers(run, heard) == [1]  # no last event: the answer goes on, and its listener asks again
    source.finish()
    assert ended_with((await take(await here.follow(run.id, ANNE, 1, problem)))[-1]) == "done"


async def test_an_answer_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    here, _ = replicas(MemoryJournal())
    source = Source()
    run = await begin(here, source)
    source.say(*("x" * 90 for _ in range(50)))
    heard = await take(here.listen(run))
    assert ended_with(heard[-1]) == "error"
    assert len(heard) < 12
    assert source.closed.is_set()


async def test_only_so_many_answers_go_on_without_a_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNATTENDED", 2)
    here, _ = replicas(MemoryJournal())
    sources = [Source() for _ in range(4)]
    for source in sources:
        run = await begin(here, source)
        source.say("One")
        await take(here.listen(run), 1)
    await asyncio.gather(*(asyncio.wait_for(source.closed.wait(), 10) for source in sources[:2]))
    assert [source.closed.is_set() for source in sources] == [True, True, False, False]
    await here.aclose()


async def test_events_that_there_have_not_been_and_other_requests_are_refused() -> None:
    here, there = replicas(MemoryJournal())
    source = Source()
    run = await begin(here, source)
    source.finish()
    assert run.task is not None
    await run.task
    for runs in (here, there):
        with pytest.raises(InputError):
            await runs.follow(run.id, ANNE, 2, problem)
        with pytest.raises(InputError):
            await runs.follow(run.id, ANNE, 0, problem, head=b"another")


@pytest.mark.parametrize("text", ["", "1", "x:1", "a" * 32, f"{'a' * 32}:", f"{'a' * 32}:-1", f"{'a' * 32}:01", f"{'a' * 32}:1\nx", f"{'A' * 32}:1"])
def test_ids_that_are_not_ours_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_event_id(text)
