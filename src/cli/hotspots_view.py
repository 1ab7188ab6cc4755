"""Hotspots as text: what `rag hotspots` prints. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from textwrap import wrap
from typing import TYPE_CHECKING

from .common import printable

if TYPE_CHECKING:
    from ..infra.hotspots.comparing import Change
    from ..infra.hotspots.report import Report, StageLine, WorstRequest

WIDE = 128
"""Characters of a line that holds everything."""
_AROUND = frozenset({"chat", "retrieve", "ingest"})
_PARTS, _WORST = 4, 5
"""What is shown of a request, and of requests; ``--json`` and the page have more."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a line has room for: characters of a stage's name and of a whole bar, and whether all figures are shown or the first three."""

    width: int
    name: int
    bar: int
    figures: int

    @classmethod
    def of(cls, width: int) -> Layout:
        if width >= WIDE:
            return cls(WIDE, 26, 20, 6)
        return cls(width, 20, 8, 6) if width >= 108 else cls(max(width, 60), 18, 6, 3)


def text_of(report: Report, width: int = WIDE) -> str:
    """The whole report, for a terminal of so many columns."""
    return "\n".join(_lines(report, Layout.of(width)))


def _lines(report: Report, layout: Layout) -> Iterator[str]:
    of_tenant = f", tenant {printable(report.tenant)}" if report.tenant is not None else ""
    yield f"Hotspots from {clock(report.since)} to {clock(report.until)}{of_tenant}: {requests_of(report)}."
    if report.hottest is not None:
        yield f"Most of the time of questions: {headline(report.hottest)}."
    for title, stages in (("Questions", report.stages), ("Ingestion", report.ingestion)):
        if stages:
            yield ""
            yield from _table(title, stages, layout)
    if report.worst:
        yield ""
        yield "Slowest requests"
        for request in report.worst[:_WORST]:
            yield from _request(request)
    if report.stages or report.ingestion:
        yield ""
        yield from wrap(NOTES, layout.width)


NOTES = (
    "Share: of the stages' own time, without that of stages within; (rest) is what no stage covers. p50 to p99: of whole calls, within 5 %."
    " Missed: calls beyond their budget. Change: against the period before; `same` is within chance, `too few` is under 20 calls in either."
)


def headline(line: StageLine) -> str:
    """What a stage took of the time, in words."""
    calls = f"{line.calls:,} call{'s' if line.calls > 1 else ''}"
    return f"{printable(label(line.stage))}, {percent(line.share)}: {ms(line.own_ms)} in {calls}, p50 {ms(line.p50_ms)}, p95 {ms(line.p95_ms)}"


def requests_of(report: Report) -> str:
    """How many requests there were, and how they ended."""
    names = {"chat": ("answer", "answers"), "retrieve": ("search", "searches"), "ingest": ("ingestion", "ingestions")}
    counts = [f"{found.count:,} {names.get(kind, (kind, kind))[found.count != 1]}" for kind, found in sorted(report.requests.items())]
    ends = {word: sum(getattr(found, word) for found in report.requests.values()) for word in ("failed", "degraded", "cancelled")}
    return ", ".join([*counts, *(f"{count:,} {word}" for word, count in ends.items() if count)]) or "no requests"


def _table(title: str, stages: Sequence[StageLine], layout: Layout) -> Iterator[str]:
    heads = ("share", "p50", "p95", "p99", "calls", "missed")[: layout.figures]
    yield f"{title:<{layout.name}} {'':<{layout.bar}} " + " ".join(f"{head:>8}" for head in heads) + "  change"
    for line in stages:
        name = printable(label(line.stage))
        share = percent(line.share) if line.own_ms else "–"
        cells = (share, ms(line.p50_ms), ms(line.p95_ms), ms(line.p99_ms), f"{line.calls:,}", missed(line))
        shown = name if len(name) <= layout.name else name[: layout.name - 1] + "…"
        figures = " ".join(f"{cell:>8}" for cell in cells[: layout.figures])
        yield f"{shown:<{layout.name}} {bar(line.share, layout.bar):<{layout.bar}} {figures}  {change(line.change)}"


def _request(request: WorstRequest) -> Iterator[str]:
    parts = [f"{label(part.stage)} {ms(part.ms)}" for part in request.stages[:_PARTS]]
    yield f"  {clock(request.at, seconds=True)}  {ms(request.ms):>8}  {request.kind}: {', '.join(map(printable, parts))}"
    said = [
        f"failed: {request.failed}" if request.failed else "",
        "degraded" if request.degraded else "",
        f"tenant {request.tenant}",
        f"correlation {request.correlation_id}" if request.correlation_id else "",
        f"trace {request.trace_id}" if request.trace_id else "",
    ]
    yield f"  {'':8}  {'':8}  " + printable(" · ".join(word for word in said if word))


def label(stage: str) -> str:
    """A stage as people read it; of what encloses others the rest is told, which they do not cover."""
    return f"{stage} (rest)" if stage in _AROUND else stage


def bar(share: float, whole: int) -> str:
    """A share as a bar of ``whole`` characters at most, in eighths of one; never empty where there is something."""
    eighths = round(share * whole * 8)
    if not eighths:
        return "▏" if share else ""
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 or not share else f"{share:.1%}"


def ms(milliseconds: float) -> str:
    if milliseconds >= 10_000:
        return f"{milliseconds / 1000:,.1f} s"
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.2f} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2g} ms"


def missed(line: StageLine) -> str:
    """Calls beyond the budget; a dash where there is none."""
    return "–" if line.budget_ms is None else f"{line.missed:,}"


def change(found: Change) -> str:
    """What changed, in a few words."""
    if found.verdict in {"slower", "faster"}:
        return f"{found.verdict}, {found.of} {found.percent:+,.0f} %"
    return found.verdict


def clock(iso: str, *, seconds: bool = False) -> str:
    """A time as the reader's clock shows it; with its day where that is not today."""
    at = datetime.fromisoformat(iso).astimezone()
    today = at.date() == datetime.now().astimezone().date()
    return at.strftime(("" if today else "%Y-%m-%d ") + ("%H:%M:%S" if seconds else "%H:%M"))
