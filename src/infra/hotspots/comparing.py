"""Whether a stage has become slower, or only looks so: two distributions compared without an assumption about their shape. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .sketch import Buckets, interval, quantile

Verdict = Literal["slower", "faster", "same", "too few", "nothing before"]
FEWEST = 20
"""Calls in either period below which nothing is said."""
MARKS = ((0.5, "p50"), (0.95, "p95"))
"""Quantiles that are compared, the more telling one first."""


@dataclass(frozen=True, slots=True)
class Change:
    """Against the period before. ``percent`` is that of the quantile that ``of`` names.

    ``same``: the difference is within what chance makes (99 % intervals of both meet). ``too few``: under 20 calls in one of
    the periods. ``nothing before``: no calls at all.
    """

    verdict: Verdict
    of: str = ""
    percent: float | None = None
    calls_before: int = 0


def compare(now: Buckets, before: Buckets) -> Change:
    """What changed between two sketches of one stage."""
    calls, calls_before = sum(now.values()), sum(before.values())
    if not calls_before:
        return Change("nothing before")
    if min(calls, calls_before) < FEWEST:
        return Change("too few", calls_before=calls_before)
    for share, name in MARKS:
        here, there = interval(now, share), interval(before, share)
        if here is None or there is None:
            continue
        if here[0] > there[1] or here[1] < there[0]:
            verdict: Verdict = "slower" if here[0] > there[1] else "faster"
            return Change(verdict, name, _percent(now, before, share), calls_before)
    return Change("same", "p50", _percent(now, before, 0.5), calls_before)


def _percent(now: Buckets, before: Buckets, share: float) -> float | None:
    here, there = quantile(now, share), quantile(before, share)
    return None if here is None or not there else float(round((here / there - 1) * 100))
