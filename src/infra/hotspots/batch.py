"""What requests took since the last write, summed up by minute, tenant and stage. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...telemetry.attributes import OTHER, short
from ...telemetry.recording import CANCELLED_WORD, Call, Finished
from .sketch import bucket_of

MINUTE_S, HOUR_S = 60, 3600
MOST_TENANTS, MOST_STAGES = 50, 100
"""Names that one process writes; further ones count as ``_other``."""
MOST_CELLS = 20_000
"""What waits for a file that cannot be written, at most; more is dropped."""
WORST = 10
"""Requests of each hour and kind that are remembered one by one."""
MOST_TROUBLES = 200
"""Degraded and failed answers that wait for the next write at most: an outage makes thousands, all alike."""
CALLERS = frozenset({"bad-input", "bad-query", "bad-filter", "too-large", "not-found", "conflict", "forbidden", "unauthenticated", CANCELLED_WORD})
"""Ends that are the caller's doing, and no trouble of the service."""
_TOLERANCE_MS = 1.0
"""A stage that is interrupted when its budget is spent may have begun a moment after the budget did."""


@dataclass(slots=True)
class Cell:
    """A stage in one minute: its calls, their own and whole milliseconds, those beyond its budget, and how long they took."""

    calls: int = 0
    own_ms: float = 0.0
    total_ms: float = 0.0
    missed: int = 0
    budget_ms: float | None = None
    buckets: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Outcomes:
    """Requests of one kind in one minute."""

    count: int = 0
    failed: int = 0
    cancelled: int = 0
    degraded: int = 0


@dataclass(slots=True)
class Batch:
    """What one write brings. Keys begin with the minute (Unix time / 60) and the tenant; stage or kind follows."""

    cells: dict[tuple[int, str, str], Cell] = field(default_factory=dict)
    outcomes: dict[tuple[int, str, str], Outcomes] = field(default_factory=dict)
    worst: dict[tuple[int, str], list[Finished]] = field(default_factory=dict)
    troubles: deque[Finished] = field(default_factory=lambda: deque(maxlen=MOST_TROUBLES))
    ingests: deque[Finished] = field(default_factory=lambda: deque(maxlen=MOST_TROUBLES))

    def __bool__(self) -> bool:
        return bool(self.cells or self.outcomes)


class Names:
    """The first so many names that come; `OTHER` for those after."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        if name not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(name)
        return short(name)


class Summing:
    """Sums up what the sink was told.

    Args:
        budgets: seconds that a call of a stage may take.
    """

    def __init__(self, budgets: Mapping[str, float]) -> None:
        self._budgets = {stage: seconds * 1000 for stage, seconds in budgets.items()}
        self._tenants, self._stages = Names(MOST_TENANTS), Names(MOST_STAGES)

    def calls(self, batch: Batch, at: float, tenant: str, calls: Sequence[Call]) -> None:
        """Add the calls of stages, which ended at about that time."""
        minute, tenant = int(at // MINUTE_S), self._tenants.of(tenant)
        for name, seconds, own in calls:
            key = (minute, tenant, self._stages.of(name))
            if (cell := batch.cells.get(key)) is None:
                if len(batch.cells) >= MOST_CELLS:
                    continue
                cell = batch.cells[key] = Cell(budget_ms=self._budgets.get(name))
            milliseconds = seconds * 1000
            cell.calls += 1
            cell.own_ms += own * 1000
            cell.total_ms += milliseconds
            cell.missed += cell.budget_ms is not None and milliseconds + _TOLERANCE_MS >= cell.budget_ms
            bucket = bucket_of(milliseconds)
            cell.buckets[bucket] = cell.buckets.get(bucket, 0) + 1

    def finished(self, batch: Batch, request: Finished) -> None:
        """Add a request that ended."""
        request = replace(request, tenant=self._tenants.of(request.tenant), kind=self._stages.of(request.kind))
        key = (int(request.ended // MINUTE_S), request.tenant, request.kind)
        if key in batch.outcomes or len(batch.outcomes) < MOST_CELLS:
            outcomes = batch.outcomes.setdefault(key, Outcomes())
            outcomes.count += 1
            outcomes.cancelled += request.failed == CANCELLED_WORD
            outcomes.failed += bool(request.failed) and request.failed not in CALLERS
            outcomes.degraded += bool(request.degraded)
        if request.failed not in CALLERS and (request.failed or request.degraded):
            batch.troubles.append(request)
        if request.counts:
            batch.ingests.append(request)
        hour = int(request.ended // HOUR_S)
        slowest = batch.worst.setdefault((hour, request.kind), [])
        slowest.append(request)
        slowest.sort(key=lambda one: -one.seconds)
        del slowest[WORST:]
