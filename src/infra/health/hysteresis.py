"""When a component's status changes: not for one blip, and not for one lucky answer amid an outage. Pure.

What is observed moves the status only once it was seen often enough in a row on one side of it: ``failures`` times worse, or
``recoveries`` times better. It then moves to the mildest of these observations, so never further than all of them agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Status = Literal["healthy", "degraded", "unhealthy", "unknown"]
SEVERITY: Mapping[Status, int] = {"healthy": 0, "degraded": 1, "unhealthy": 2}
"""``unknown`` is none of these: it says nothing for or against."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How often in a row."""

    failures: int = 1
    recoveries: int = 1


@dataclass(frozen=True, slots=True)
class Standing:
    """A component's status and what speaks against it.

    Attributes:
        since: when this status began, in whatever unit the clock has.
        pending: the mildest of the observations that speak for a change, as far as they were seen in a row.
        count: how many they are.
        proven: whether it was ever healthy. What never was becomes so with the first good answer: it is starting, not flapping.
    """

    status: Status = "unknown"
    since: float = 0.0
    pending: Status | None = None
    count: int = 0
    proven: bool = False


def observe(standing: Standing, seen: Status, now: float, rules: Rules) -> Standing:
    """The standing after one more observation."""
    if seen == "unknown":
        return standing
    if standing.status == "unknown":
        return Standing(seen, now, proven=seen == "healthy")
    if seen == standing.status:
        return Standing(standing.status, standing.since, proven=standing.proven)
    worse = SEVERITY[seen] > SEVERITY[standing.status]
    pending: Status = seen
    count = 1
    if standing.pending is not None and (SEVERITY[standing.pending] > SEVERITY[standing.status]) == worse:
        pending, count = _milder(standing.pending, seen, standing.status), standing.count + 1
    if count >= _needed(worse, standing, rules):
        return Standing(pending, now, proven=standing.proven or pending == "healthy")
    return Standing(standing.status, standing.since, pending, count, standing.proven)


def _needed(worse: bool, standing: Standing, rules: Rules) -> int:
    if worse:
        return rules.failures
    return rules.recoveries if standing.proven else 1


def _milder(one: Status, other: Status, status: Status) -> Status:
    """The one that is nearer to the present status."""
    return min(one, other, key=lambda seen: abs(SEVERITY[seen] - SEVERITY[status]))
