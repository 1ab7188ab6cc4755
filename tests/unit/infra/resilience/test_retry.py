"""Retries: full jitter, Retry-After, attempts, and a budget that an outage cannot multiply."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.infra.resilience.deadline import deadline
from src.infra.resilience.retry import Retries, RetryBudget, RetryPolicy, delay, half, retry_after, without_waiting


@given(attempt=st.integers(1, 10_000), draw=st.floats(0, 1, exclude_max=True), base=st.floats(0.001, 10), cap=st.floats(0.001, 100))
def test_a_delay_is_never_negative_nor_beyond_its_cap_nor_beyond_its_exponential_ceiling(attempt: int, draw: float, base: float, cap: float) -> None:
    wait = delay(attempt, lambda: draw, base_s=base, cap_s=cap)
    assert 0 <= wait <= cap
    if attempt < 50:
        assert wait <= base * 2 ** (attempt - 1)


@given(attempt=st.integers(1, 20))
def test_jitter_is_full_so_that_delays_spread_down_to_nothing(attempt: int) -> None:
    assert delay(attempt, lambda: 0.0) == 0
    assert delay(attempt, lambda: 0.5) == pytest.approx(delay(attempt, lambda: 1.0) / 2)


@given(seconds=st.integers(0, 10**8))
def test_retry_after_in_seconds_is_read(seconds: int) -> None:
    assert retry_after(f" {seconds} ", now=0) == seconds


@given(ahead=st.integers(-(10**6), 10**6))
def test_retry_after_as_a_date_is_read_and_never_negative(ahead: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after(format_datetime(now + timedelta(seconds=ahead), usegmt=True), now.timestamp()) == max(0, ahead)


@given(st.one_of(st.none(), st.text()))
def test_whatever_a_server_sends_as_retry_after_breaks_nothing(value: str | None) -> None:
    wait = retry_after(value, now=0)
    assert wait is None or wait >= 0


@given(
    steps=st.lists(st.tuples(st.sampled_from(["request", "retry"]), st.floats(0, 100)), max_size=300),
    share=st.floats(0, 1),
    per_s=st.floats(0, 5),
    reserve=st.floats(0, 50),
)
def test_repeats_stay_within_reserve_share_and_trickle_whatever_happens(steps: list[tuple[str, float]], share: float, per_s: float, reserve: float) -> None:
    now = 0.0
    budget = RetryBudget(share=share, per_s=per_s, reserve=reserve, clock=lambda: now)
    requests = repeats = 0
    for what, passed in steps:
        now += passed
        if what == "request":
            requests += 1
            budget.deposit()
        else:
            repeats += budget.withdraw()
        assert repeats <= reserve + share * requests + per_s * now + 1e-6


def test_an_outage_costs_no_more_than_a_tenth_of_requests_in_repeats_once_the_reserve_is_spent() -> None:
    budget = RetryBudget(reserve=10, per_s=0, clock=lambda: 0.0)
    repeats = 0
    for _ in range(1000):
        budget.deposit()
        while budget.withdraw():
            repeats += 1
    assert repeats <= 10 + 100


def test_a_quiet_client_gets_its_repeats_back_with_time() -> None:
    now = 0.0
    budget = RetryBudget(reserve=1, per_s=0.5, clock=lambda: now)
    assert budget.withdraw()
    assert not budget.withdraw()
    now = 2.0
    assert budget.withdraw()


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_repeats_than_the_policy_allows(most: int) -> None:
    retries = RetryPolicy(most).start(RetryBudget())
    assert [retries.take() for _ in range(most + 2)] == [True] * most + [False] * 2


async def test_a_wait_that_would_outlast_the_deadline_is_not_begun() -> None:
    retries = RetryPolicy(3, base_s=50, cap_s=50, uniform=lambda: 0.9).start(RetryBudget())
    assert retries.take()
    with deadline(1):
        assert not await asyncio.wait_for(retries.pause(), 0.5)
    assert not await asyncio.wait_for(retries.pause(within_s=2), 0.5)


async def test_the_server_says_how_long_to_wait_at_least() -> None:
    retries = RetryPolicy(3, uniform=lambda: 0.0).start(RetryBudget())
    assert retries.take()
    assert not await asyncio.wait_for(retries.pause(30, within_s=10), 0.5), "30 s asked for, 10 s left"
    assert not await asyncio.wait_for(retries.pause(3600), 0.5), "nobody waits an hour"
    with without_waiting():
        assert await asyncio.wait_for(retries.pause(30, within_s=40), 0.5)


async def test_the_switch_for_tests_leaves_out_the_waiting_alone_and_is_reset() -> None:
    policy = RetryPolicy(1, base_s=1000, cap_s=1000, uniform=lambda: 0.5)
    with without_waiting():
        retries = policy.start(RetryBudget())
        assert retries.take()
        assert not retries.take(), "attempts still count"
    slow = RetryPolicy(1, base_s=2, cap_s=2, uniform=lambda: 0.9).start(RetryBudget())
    assert slow.take()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slow.pause(), 0.01)


@given(st.integers(0, 5))
def test_patience_lets_repeats_go_on_for_so_long_and_never_cuts_the_allowed_ones(most: int) -> None:
    async def repeats(patience_s: float) -> Retries:
        retries = RetryPolicy(most, base_s=1, cap_s=1, uniform=lambda: 1.0, patience_s=patience_s).start()
        with without_waiting():
            while await retries.again():
                pass
        return retries

    assert asyncio.run(repeats(0)).made == most
    patient = asyncio.run(repeats(20))
    assert patient.made == 20
    assert patient.waited_s == 20


async def test_repeats_without_end_are_ended_by_a_deadline() -> None:
    retries = RetryPolicy(None, base_s=1, cap_s=1, uniform=half).start()
    with without_waiting():
        assert [await retries.again() for _ in range(100)] == [True] * 100
        with deadline(0.1):
            assert not await retries.again()
    assert 50 <= retries.waited_s < 100
