"""The embedder's threads: order of results, short calls first, failures, cancellation, closing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import ResourceClosedError
from src.infra.providers.text_queue import SHORT, TextQueue
from src.util.aio import run_sync


def queue(work: Callable[[str], str], threads: int = 1) -> TextQueue[str]:
    return TextQueue(threads, work, lambda: ResourceClosedError("closed"))


class Gate:
    """Work that stops at its first text until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.seen: list[str] = []

    def __call__(self, text: str) -> str:
        self.seen.append(text)
        self.begun.set()
        assert self.go.wait(10)
        return text.upper()


@given(calls=st.lists(st.lists(st.text(max_size=3), max_size=12), max_size=8), threads=st.integers(1, 4))
def test_every_call_gets_its_own_results_in_order(calls: list[list[str]], threads: int) -> None:
    async def check() -> None:
        one = queue(str.upper, threads)
        assert await asyncio.gather(*(one.run(texts) for texts in calls)) == [[text.upper() for text in texts] for texts in calls]
        one.close()

    run_sync(check())


async def test_a_question_overtakes_an_ingestion() -> None:
    gate = Gate()
    one = queue(gate)
    many = asyncio.ensure_future(one.run([f"chunk {number}" for number in range(SHORT + 5)]))
    await asyncio.to_thread(gate.begun.wait, 10)
    question = asyncio.ensure_future(one.run(["question"]))
    await asyncio.sleep(0)
    gate.go.set()
    assert await question == ["QUESTION"]
    assert len(await many) == SHORT + 5
    assert gate.seen[:3] == ["chunk 0", "question", "chunk 1"]
    one.close()


async def test_a_failure_ends_its_own_call_alone() -> None:
    def work(text: str) -> str:
        if text == "bad":
            raise ValueError(text)
        return text

    one = queue(work, 2)
    good, bad = await asyncio.gather(one.run(["a", "b"] * 20), one.run(["a", "bad"] * 20), return_exceptions=True)
    assert good == ["a", "b"] * 20
    assert isinstance(bad, ValueError)
    assert await one.run(["c"]) == ["c"]
    one.close()


async def test_a_cancelled_call_is_not_worked_on_any_further() -> None:
    gate = Gate()
    one = queue(gate)
    many = asyncio.ensure_future(one.run(["a", "b", "c", "d", "e", "f"]))
    await asyncio.to_thread(gate.begun.wait, 10)
    many.cancel()
    with pytest.raises(asyncio.CancelledError):
        await many
    gate.go.set()
    assert await one.run(["next"]) == ["NEXT"]
    assert gate.seen == ["a", "next"]
    one.close()


async def test_closing_ends_waiting_calls_with_its_error_and_refuses_later_ones() -> None:
    gate = Gate()
    one = queue(gate)
    many = asyncio.ensure_future(one.run(["a", "b", "c"]))
    await asyncio.to_thread(gate.begun.wait, 10)
    closing = asyncio.ensure_future(asyncio.to_thread(one.close))
    with pytest.raises(ResourceClosedError):
        await many
    gate.go.set()
    await closing
    assert gate.seen == ["a"]
    with pytest.raises(ResourceClosedError):
        await one.run(["later"])
    one.close()
