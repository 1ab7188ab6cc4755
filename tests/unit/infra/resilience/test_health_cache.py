"""Cached health: asked often, checked seldom, by one at a time."""

from __future__ import annotations

import asyncio
import gc

import pytest

from src.errors import DeadlineExceededError, UnreachableError
from src.infra.resilience.deadline import current, deadline
from src.infra.resilience.health_cache import HealthCache


class Check:
    """Counts what it is asked; waits where told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.calls += 1
        number = self.calls
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return number


async def test_an_answer_is_kept_for_its_time() -> None:
    now, check = 0.0, Check()
    cache = HealthCache(check, 5, clock=lambda: now)
    assert [await cache.get(), await cache.get()] == [1, 1]
    now = 5.0
    assert await cache.get() == 2
    cache.forget()
    assert await cache.get() == 3


async def test_an_error_is_kept_too_for_its_own_time() -> None:
    now, check = 0.0, Check()
    check.error = UnreachableError("down")
    cache = HealthCache(check, 60, failed_ttl_s=2, clock=lambda: now)
    for _ in range(3):
        with pytest.raises(UnreachableError):
            await cache.get()
    assert check.calls == 1
    now, check.error = 2.0, None
    assert await cache.get() == 2


async def test_those_who_ask_together_share_one_check() -> None:
    check = Check()
    check.gate.clear()
    cache = HealthCache(check, 5)
    asking = [asyncio.create_task(cache.get()) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    check.gate.set()
    assert await asyncio.gather(*asking) == [1] * 20
    assert check.calls == 1


async def test_who_gives_up_does_not_end_the_check_of_the_others() -> None:
    check = Check()
    check.gate.clear()
    cache = HealthCache(check, 5)
    impatient, patient = asyncio.create_task(cache.get()), asyncio.create_task(cache.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    check.gate.set()
    assert await patient == 1


def test_it_serves_one_event_loop_after_another() -> None:
    now = 0.0
    cache = HealthCache(Check(), 5, clock=lambda: now)
    assert asyncio.run(cache.get()) == 1
    now = 9.0
    assert asyncio.run(cache.get()) == 2


async def test_the_deadline_of_one_who_asks_ends_the_wait_and_not_the_check() -> None:
    check, seen = Check(), []
    check.gate.clear()

    async def look() -> int:
        seen.append(current())
        return await check()

    cache = HealthCache(look, 5)

    async def hurried() -> int:
        with deadline(0.01, "The search"):
            return await cache.get()

    first = asyncio.create_task(hurried())
    await asyncio.sleep(0)
    patient = asyncio.create_task(cache.get())
    with pytest.raises(DeadlineExceededError, match="The search"):
        await first
    check.gate.set()
    assert await patient == 1
    assert seen == [None]


async def test_a_failure_for_which_nobody_waits_any_more_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    check = Check()
    check.error = UnreachableError("down")
    check.gate.clear()
    cache = HealthCache(check, 5, failed_ttl_s=0)
    asking = asyncio.create_task(cache.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    check.gate.set()
    while check.calls == 1:  # until the first check is over, those who ask share it
        with pytest.raises(UnreachableError):
            await cache.get()
    gc.collect()
    assert not caplog.text
