"""Distributions in few numbers, and what is said to have changed."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.infra.hotspots.comparing import FEWEST, compare
from src.infra.hotspots.sketch import ACCURACY, LONGEST_MS, SHORTEST_MS, bucket_of, interval, merged, quantile, value_of

durations = st.lists(st.floats(SHORTEST_MS, LONGEST_MS), min_size=1, max_size=200)


def sketch(values: list[float]) -> dict[int, int]:
    return merged(*({bucket_of(value): 1} for value in values))


@settings(max_examples=60)
@given(durations, st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_within_five_percent_of_the_true_one(values: list[float], share: float) -> None:
    true = sorted(values)[math.ceil(share * len(values)) - 1]
    assert quantile(sketch(values), share) == pytest.approx(true, rel=ACCURACY * 1.001)


@settings(max_examples=40)
@given(durations, durations)
def test_sketches_of_two_processes_add_up_to_that_of_both(first: list[float], second: list[float]) -> None:
    assert merged(sketch(first), sketch(second)) == sketch(first + second)


@given(st.one_of(st.floats(allow_nan=False), st.integers(-5, 5)))
def test_any_duration_has_one_of_few_buckets(value: float) -> None:
    assert bucket_of(SHORTEST_MS) <= bucket_of(value) <= bucket_of(LONGEST_MS)
    assert bucket_of(LONGEST_MS) - bucket_of(SHORTEST_MS) < 260


def test_no_durations_have_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert interval({}, 0.5) is None
    assert interval(sketch([1.0, 2.0]), 0.95) is None
    assert value_of(bucket_of(400.0)) == pytest.approx(400.0, rel=ACCURACY)


def drawn(seed: int, count: int, *, slower: float = 1.0) -> dict[int, int]:
    """Durations as services have them: log-normal about 20 ms."""
    source = random.Random(seed)
    return sketch([source.lognormvariate(3.0, 0.8) * slower for _ in range(count)])


def test_what_chance_makes_is_not_called_a_change() -> None:
    verdicts = [compare(drawn(seed, 80), drawn(1000 + seed, 80)).verdict for seed in range(300)]
    assert verdicts.count("same") >= 297


@pytest.mark.parametrize(("factor", "verdict"), [(2.0, "slower"), (0.5, "faster")])
def test_a_stage_twice_as_slow_or_fast_is_found_from_two_hundred_calls(factor: float, verdict: str) -> None:
    found = [compare(drawn(seed, 200, slower=factor), drawn(1000 + seed, 200)) for seed in range(50)]
    assert [change.verdict for change in found].count(verdict) >= 48
    assert all(change.of in {"p50", "p95"} for change in found)


def test_a_slower_tail_is_found_though_the_median_stayed() -> None:
    tail = sketch([10.0] * 450 + [400.0] * 50)
    change = compare(tail, sketch([10.0] * 500))
    assert (change.verdict, change.of) == ("slower", "p95")
    assert change.percent == pytest.approx(3900, rel=0.1)


def test_too_few_calls_are_said_and_so_is_a_stage_that_was_not_there() -> None:
    many, few = drawn(1, 500), drawn(2, FEWEST - 1, slower=50)
    assert compare(few, many).verdict == compare(many, few).verdict == "too few"
    assert compare(few, many).calls_before == 500
    assert compare(many, {}).verdict == "nothing before"
