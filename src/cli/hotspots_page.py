"""Hotspots as one HTML page: nothing is loaded from anywhere, there is no script, and it prints. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from .hotspots_view import change, headline, label, missed, ms, percent, requests_of

if TYPE_CHECKING:
    from ..infra.hotspots.report import Report, StageLine, WorstRequest

_STYLE = """
:root { color-scheme: light dark; --ground: #f7f6f2; --surface: #fff; --ink: #1b2127; --ink-2: #545c65; --line: #dfdcd2; --bar: #0b5f54; --bad: #9b1c22; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #111518; --surface: #191e23; --ink: #e8ebee; --ink-2: #a6b0ba; --line: #2c343c; --bar: #74d3c1; --bad: #ffa3a0; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.5rem; background: var(--ground); color: var(--ink); font: 400 .9375rem/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.5rem; }
h2 { margin: 2rem 0 .5rem; font-size: 1.0625rem; }
p { margin: .25rem 0; color: var(--ink-2); }
p.lead { color: var(--ink); font-size: 1.0625rem; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; background: var(--surface); border: 1px solid var(--line); font-variant-numeric: tabular-nums; }
th, td { padding: .375rem .625rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; white-space: nowrap; }
th { font-size: .75rem; color: var(--ink-2); font-weight: 600; }
th:first-child, td:first-child, .text { text-align: left; }
.ids { white-space: normal; overflow-wrap: anywhere; font: .75rem/1.5 ui-monospace, monospace; color: var(--ink-2); }
.track { width: 12rem; }
.bar { height: .75rem; min-width: 1px; border-radius: 2px; background: var(--bar); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.bad { color: var(--bad); font-weight: 600; }
@media print {
  :root { color-scheme: light; --ground: #fff; --surface: #fff; --ink: #000; --ink-2: #333; --line: #bbb; --bar: #333; --bad: #000; }
  body { max-width: none; padding: 0; font-size: 9pt; }
  th, td { padding: .2rem .4rem; white-space: normal; }
  tr { break-inside: avoid; }
  .track { width: 6rem; }
}
"""


def html_of(report: Report) -> str:
    """The whole page."""
    return "\n".join(_page(report)) + "\n"


def _page(report: Report) -> Iterator[str]:
    of_tenant = f", tenant {escape(report.tenant)}" if report.tenant is not None else ""
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield f"<title>Hotspots, {escape(report.until)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Hotspots</h1>"
    yield f"<p>{escape(report.since)} to {escape(report.until)}{of_tenant}: {escape(requests_of(report))}.</p>"
    if report.hottest is not None:
        yield f'<p class="lead">Most of the time of questions: <strong>{escape(headline(report.hottest))}</strong>.</p>'
    for title, stages in (("Questions", report.stages), ("Ingestion", report.ingestion)):
        if stages:
            yield from _stages(title, stages)
    if report.worst:
        yield from _worst(report.worst)
    yield "<h2>How to read it</h2>"
    yield "<p>Share: of the stages’ own time, without that of stages within; (rest) is what no stage covers. p50 to p99: of whole calls, within 5 %.</p>"
    yield "<p>Missed: calls beyond their budget. Change: against the period before; <em>same</em> is within what chance makes,"
    yield "<em>too few</em> is under 20 calls in either. No content of questions, answers or documents is in this report.</p>"
    yield "</main>\n</body>\n</html>"


def _stages(title: str, stages: Sequence[StageLine]) -> Iterator[str]:
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Share", "p50", "p95", "p99", "Calls", "Budget", "Missed"))
    yield f'<h2>{title}</h2>\n<div class="wide"><table>\n<thead><tr><th scope="col">Stage</th><th class="track"></th>{heads}'
    yield '<th scope="col" class="text">Change</th></tr></thead>\n<tbody>'
    for line in stages:
        budget = "–" if line.budget_ms is None else ms(line.budget_ms)
        cells = (percent(line.share) if line.own_ms else "–", ms(line.p50_ms), ms(line.p95_ms), ms(line.p99_ms), f"{line.calls:,}", budget)
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        late = ' class="bad"' if line.missed else ""
        slower = "text bad" if line.change.verdict == "slower" else "text"
        yield f'<tr><td>{escape(label(line.stage))}</td><td class="track"><div class="bar" style="width:{line.share:.2%}"></div></td>{row}'
        yield f'<td{late}>{missed(line)}</td><td class="{slower}">{escape(change(line.change))}</td></tr>'
    yield "</tbody></table></div>"


def _worst(requests: Sequence[WorstRequest]) -> Iterator[str]:
    yield '<h2>Slowest requests</h2>\n<div class="wide"><table>\n<thead><tr><th scope="col">When</th><th scope="col" class="text">What</th>'
    yield '<th scope="col">Took</th><th scope="col" class="text">Where the time went, and where to look further</th></tr></thead>\n<tbody>'
    for request in requests:
        parts = ", ".join(f"{label(part.stage)} {ms(part.ms)}" for part in request.stages)
        said = {
            "failed": request.failed,
            "degraded": "; ".join(request.degraded),
            "tenant": request.tenant,
            "correlation": request.correlation_id,
            "trace": request.trace_id,
        }
        ids = " · ".join(f"{name} {value}" for name, value in said.items() if value)
        yield f'<tr><td>{escape(request.at)}</td><td class="text">{escape(request.kind)}</td><td>{ms(request.ms)}</td>'
        yield f'<td class="text ids">{escape(parts)}<br>{escape(ids)}</td></tr>'
    yield "</tbody></table></div>"
