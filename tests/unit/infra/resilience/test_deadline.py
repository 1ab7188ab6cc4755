"""Deadlines: set once, seen everywhere below, and only ever shortened."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import DeadlineExceededError
from src.infra.resilience.deadline import check, clip, current, deadline, enforced, remaining


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e5)), min_size=1, max_size=8))
def test_a_deadline_within_others_never_leaves_more_time_than_any_of_them(nested: list[tuple[float, float]]) -> None:
    now = 0.0

    def clock() -> float:
        return now

    def enter(levels: list[tuple[float, float]], ends: list[float]) -> None:
        nonlocal now
        if not levels:
            return
        (seconds, passing), *further = levels
        with deadline(seconds, clock=clock):
            ends = [*ends, now + seconds]
            assert remaining() == pytest.approx(max(0, min(ends) - now))
            now += passing
            assert remaining() == pytest.approx(max(0, min(ends) - now))
            enter(further, ends)
            assert remaining() == pytest.approx(max(0, min(ends) - now))

    enter(nested, [])
    assert remaining() is None


@given(wanted=st.floats(0.001, 1e6), left=st.floats(0.001, 1e6))
def test_a_step_gets_what_it_wants_or_what_is_left(wanted: float, left: float) -> None:
    with deadline(left, clock=lambda: 5.0):
        assert clip(wanted) == pytest.approx(min(wanted, left))


def test_once_it_has_passed_the_error_says_what_was_being_done() -> None:
    now = 0.0
    with deadline(2, "The search", clock=lambda: now):
        check()
        now = 3.0
        with pytest.raises(DeadlineExceededError, match=r"The search did not end within 2 s; it was reading the index\."):
            check("reading the index")
        with pytest.raises(DeadlineExceededError):
            clip(1)
        assert remaining() == 0


def test_without_a_deadline_nothing_is_limited() -> None:
    assert current() is None
    assert clip(7) == 7
    check()


def test_it_is_gone_afterwards_even_after_an_error() -> None:
    with pytest.raises(KeyError), deadline(1):
        raise KeyError
    assert current() is None


async def test_it_travels_into_tasks_and_threads_and_stays_out_of_others() -> None:
    before = asyncio.create_task(asyncio.sleep(0, result=None))

    async def left() -> float | None:
        return remaining()

    outside = asyncio.create_task(left())
    with deadline(100):
        inside = asyncio.create_task(left())
        thread = await asyncio.to_thread(remaining)
        assert thread is not None
        assert 90 < thread <= 100
    assert 90 < (await inside or 0) <= 100
    assert await outside is None
    await before


async def test_what_it_encloses_is_interrupted() -> None:
    with deadline(0.02, "Answering"), pytest.raises(DeadlineExceededError, match=r"Answering did not end within 0\.02 s; it was asking the model"):
        async with enforced("asking the model"):
            await asyncio.sleep(30)


async def test_a_timeout_of_another_kind_passes_through_as_it_is() -> None:
    with deadline(30), pytest.raises(TimeoutError, match="theirs"):
        async with enforced():
            raise TimeoutError("theirs")
    async with enforced():
        await asyncio.sleep(0)
