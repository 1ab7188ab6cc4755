"""The report: which stages take the time, and of which requests. Pure but for `read_report`, which asks the store."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ...errors import InputError
from ...telemetry.recording import Finished
from .batch import MINUTE_S, Cell, Outcomes
from .comparing import Change, compare
from .sketch import quantile
from .store import HotspotStore, Window

QUESTIONS, INGESTION = "questions", "ingestion"
SHOWN_WORST = 10
SHOWN_STAGES = 8
"""Stages of a request that are told one by one."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"([0-9]{1,6})\s*([smhd])")


@dataclass(frozen=True, slots=True)
class StageLine:
    """One stage. ``share`` is that of its own time in the own time of all, in its group; durations hold what runs within, too."""

    stage: str
    share: float
    own_ms: float
    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    budget_ms: float | None
    missed: int
    change: Change


@dataclass(frozen=True, slots=True)
class Part:
    """A stage of one request, and the milliseconds that are its own."""

    stage: str
    ms: float


@dataclass(frozen=True, slots=True)
class WorstRequest:
    """One of the slowest requests, and its stages by their own time, the longest first."""

    at: str
    kind: str
    tenant: str
    ms: float
    stages: tuple[Part, ...]
    failed: str
    degraded: tuple[str, ...]
    correlation_id: str
    trace_id: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """A request that was answered with less than was asked for, or not at all: why, in words of ours, and where to look further."""

    at: str
    kind: str
    tenant: str
    ms: float
    failed: str
    degraded: tuple[str, ...]
    correlation_id: str
    trace_id: str


@dataclass(frozen=True, slots=True)
class IngestRun:
    """A run of ingestion: documents by what became of them, and those that failed by reason. ``stopped`` is what ended it early."""

    at: str
    tenant: str
    seconds: float
    added: int
    updated: int
    unchanged: int
    chunks: int
    failures: Mapping[str, int]
    stopped: str


@dataclass(frozen=True, slots=True)
class Report:
    """Hotspots of a period. Ingestion is told apart: it takes minutes, and would hide every question."""

    since: str
    until: str
    seconds: int
    tenant: str | None
    requests: Mapping[str, Outcomes]
    stages: tuple[StageLine, ...]
    ingestion: tuple[StageLine, ...]
    worst: tuple[WorstRequest, ...]

    @property
    def hottest(self) -> StageLine | None:
        """Where questions spend most of their time."""
        return self.stages[0] if self.stages else None


def parse_span(text: str, most_s: int) -> int:
    """The seconds of ``90s``, ``15m``, ``1h`` or ``2d``.

    Raises:
        InputError: it is nothing of the kind, less than a minute, or more than is kept.
    """
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None:
        raise InputError(f"{text[:20]!r} is not a span of time.", hint="Write 15m, 1h or 2d.")
    seconds = int(found[1]) * _UNITS[found[2]]
    if not MINUTE_S <= seconds <= most_s:
        raise InputError(f"{text[:20]} is not between a minute and the {most_s // 86400} days that are kept.", hint="[telemetry] hotspots_days says how many.")
    return seconds


def window_of(now: float, seconds: int, tenant: str | None = None) -> Window:
    """The last so many minutes, the running one included."""
    last = int(now // MINUTE_S)
    return Window(last - -(-seconds // MINUTE_S) + 1, last, tenant)


def read_report(store: HotspotStore, seconds: int, tenant: str | None = None, now: float | None = None) -> Report:
    """The report of the last so many seconds.

    Raises:
        StorageError: the store cannot be read.
    """
    window = window_of(time.time() if now is None else now, seconds, tenant)
    return make_report(window, store.cells(window), store.cells(window.before()), store.outcomes(window), store.worst(window))


def read_troubles(store: HotspotStore, window: Window, most: int) -> tuple[Trouble, ...]:
    """Degraded and failed requests, the latest first. Raises as `read_report`."""
    return tuple(
        Trouble(iso(one.ended), one.kind, one.tenant, round(one.seconds * 1000, 1), one.failed, one.degraded, one.correlation_id, one.trace_id)
        for one in store.troubles(window)[:most]
    )


def read_ingests(store: HotspotStore, window: Window, most: int) -> tuple[IngestRun, ...]:
    """Runs of ingestion, the latest first. Raises as `read_report`."""
    return tuple(_ingest(one) for one in store.ingests(window)[:most])


def make_report(window: Window, cells: Mapping[str, Cell], before: Mapping[str, Cell], outcomes: Mapping[str, Outcomes], worst: Sequence[Finished]) -> Report:
    """The report of what a store holds of a window and of the one before."""
    groups: dict[str, dict[str, Cell]] = {QUESTIONS: {}, INGESTION: {}}
    for stage, cell in cells.items():
        groups[group_of(stage)][stage] = cell
    questions, ingestion = ([_line(stage, cell, before.get(stage), _own(group)) for stage, cell in group.items()] for group in groups.values())
    slowest = [_worst(request) for request in worst if group_of(request.kind) == QUESTIONS][:SHOWN_WORST]
    since, until = iso(window.first * MINUTE_S), iso((window.last + 1) * MINUTE_S)
    return Report(since, until, window.minutes * MINUTE_S, window.tenant, dict(outcomes), _ranked(questions), _ranked(ingestion), tuple(slowest))


def iso(seconds: float) -> str:
    """A Unix time as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def group_of(stage: str) -> str:
    """Whether a stage belongs to questions or to ingestion."""
    return INGESTION if stage.split(".")[0] == "ingest" else QUESTIONS


def _own(group: Mapping[str, Cell]) -> float:
    return sum(cell.own_ms for cell in group.values())


def _ranked(lines: Sequence[StageLine]) -> tuple[StageLine, ...]:
    return tuple(sorted(lines, key=lambda line: (-line.own_ms, line.stage)))


def _line(stage: str, cell: Cell, before: Cell | None, whole: float) -> StageLine:
    p50, p95, p99 = (round(quantile(cell.buckets, share) or 0.0, 3) for share in (0.5, 0.95, 0.99))
    change = compare(cell.buckets, before.buckets if before is not None else {})
    share = cell.own_ms / whole if whole else 0.0
    return StageLine(stage, round(share, 4), round(cell.own_ms, 1), cell.calls, p50, p95, p99, cell.budget_ms, cell.missed, change)


def _ingest(run: Finished) -> IngestRun:
    counts = dict(run.counts)
    added, updated, unchanged, chunks = (counts.pop(name, 0) for name in ("added", "updated", "unchanged", "chunks"))
    failures = {name.removeprefix("failed."): count for name, count in counts.items()}
    return IngestRun(iso(run.ended), run.tenant, round(run.seconds, 2), added, updated, unchanged, chunks, failures, run.failed)


def _worst(request: Finished) -> WorstRequest:
    stages = sorted((Part(stage, round(seconds * 1000, 1)) for stage, seconds in request.own.items() if seconds > 0), key=lambda part: -part.ms)
    return WorstRequest(
        at=iso(request.ended),
        kind=request.kind,
        tenant=request.tenant,
        ms=round(request.seconds * 1000, 1),
        stages=tuple(stages[:SHOWN_STAGES]),
        failed=request.failed,
        degraded=request.degraded,
        correlation_id=request.correlation_id,
        trace_id=request.trace_id,
    )
