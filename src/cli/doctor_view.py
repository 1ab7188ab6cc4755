"""How a diagnosis looks: a table on a terminal, lines elsewhere, INI for `--fix-hints`."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from .common import plain, printable

if TYPE_CHECKING:
    from ..infra.doctor import Finding, Report, StepReport
    from ..infra.doctor.report import Status

_MARKS = {"ok": "ok", "warning": "warning", "failed": "FAILED", "not reached": "not reached"}
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "not reached": "bright_black"}
TABLE_COLUMNS = 80
"""On a narrower terminal nothing would be left for what was found."""


def show(report: Report) -> None:
    """Print the report."""
    if sys.stdout.isatty() and shutil.get_terminal_size().columns >= TABLE_COLUMNS:
        _table(report)
    else:
        for line in lines(report):
            click.echo(line)
    click.echo(summary(report), err=False)


def lines(report: Report) -> list[str]:
    """One line a step, and below it what is wrong and what to do."""
    found = []
    for hop in report.hops:
        found.append(f"{hop.hop}  {printable(hop.address)}".rstrip() + f"  {_MARKS[hop.status]}")
        for step in hop.steps:
            found.append(f"  {step.step:<12} {_MARKS[step.status]:<12} {plain(step.finding.message)}".rstrip())
            found += [f"    {plain(text)}" for text in _advice(step)]
    return found


def summary(report: Report) -> str:
    failed = [hop.hop for hop in report.hops if hop.status == "failed"]
    warned = [hop.hop for hop in report.hops if hop.status == "warning"]
    parts = [f"{len(report.hops)} hops in {report.took_ms / 1000:.1f} s"]
    parts.append(f"failed: {', '.join(failed)}{_by_one(report)}" if failed else "none failed")
    parts += [f"warnings: {', '.join(warned)}"] if warned else []
    costs = [hop.cost for hop in report.hops if hop.cost and hop.charged]
    parts += [f"asked for {' and '.join(costs)}"] if costs else []
    return "; ".join(parts) + "."


def _by_one(report: Report) -> str:
    """The setting that stopped several hops with the same words."""
    found = {(hop.setting, hop.message) for hop in report.hops if hop.status == "failed"}
    several = sum(hop.status == "failed" for hop in report.hops) > 1
    setting = next(iter(found))[0] if len(found) == 1 and several else ""
    return f", all by {setting}" if setting else ""


def _advice(step: StepReport) -> list[str]:
    """What is wrong with a step, below its line: setting, its source, what to do."""
    found = []
    for finding in ([step.finding] if step.status == "failed" else []) + list(step.warnings):
        if finding is not step.finding:
            found.append(f"warning: {finding.message}")
        if finding.setting:
            found.append(f"setting: {finding.setting} ({finding.source})")
        if finding.hint:
            found.append(f"fix: {finding.hint}")
    return found


def _table(report: Report) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_lines=False, pad_edge=False)
    for name in ("Hop", "Step", "State", "What"):
        table.add_column(name, overflow="fold", no_wrap=name != "What")
    for hop in report.hops:
        table.add_row(f"[bold]{hop.hop}[/]", "", _state(hop.status), f"[bold]{escape(printable(hop.address))}[/]")
        for place, step in enumerate(hop.steps):
            what = "\n".join([plain(step.finding.message), *map(plain, _advice(step))]).strip()
            table.add_row("", step.step, _state(step.status), escape(what), end_section=place == len(hop.steps) - 1)
    Console().print(table)


def _state(status: Status) -> str:
    return f"[{_COLOURS[status]}]{_MARKS[status]}[/]"


def hint_lines(report: Report) -> str:
    """What would mend the failures, as an INI file: lines that only a person can complete are commented out."""
    sections: dict[str, dict[str, list[str]]] = {}
    for hop, step, finding in report.fixes:
        for fix in finding.fixes:
            section, _, key = fix.key.partition(".")
            line = f"{'' if fix.ready else '# '}{key} = {_one_line(fix.value)}"
            sections.setdefault(section, {}).setdefault(key, [f"# {hop.hop}, {step.step}: {_one_line(fix.note or finding.message)}", line])
    blocks = ["\n".join([f"[{section}]", *(line for lines in keys.values() for line in lines)]) for section, keys in sections.items()]
    comments = "\n".join(_without_lines(report))
    return "\n\n".join([*([comments] if comments else []), *blocks]) or "# Nothing failed that a line of configuration would mend."


def _without_lines(report: Report) -> list[str]:
    """Failures that no line would mend, as comments: each text once."""
    told: dict[str, list[str]] = {}
    for hop in report.hops:
        finding: Finding = hop.worst.told
        if hop.status == "failed" and not finding.fixes:
            told.setdefault(_one_line(f"{finding.message} {finding.hint}"), []).append(f"{hop.hop}, {hop.step}")
    return [f"# {'; '.join(where)}: {text}" for text, where in told.items()]


def _one_line(text: str) -> str:
    return " ".join(text.split())
