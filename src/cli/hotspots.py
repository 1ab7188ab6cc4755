"""`rag hotspots`: where the time goes."""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

from .common import CommandContext, common_options

if TYPE_CHECKING:
    from ..infra.hotspots.report import Report


@click.command("hotspots")
@common_options
@click.option("--since", default="1h", show_default=True, metavar="SPAN", help="How far back: 15m, 1h, 2d.")
@click.option("--tenant", help="Requests of this tenant alone.")
@click.option("--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write the report to this file, as one HTML page.")
def command(context: CommandContext, since: str, tenant: str | None, page: Path | None) -> None:
    """Show which stages take the time, in which requests, and what changed against the period before.

    Durations are kept where requests run (`rag serve`, `rag ask`, `rag ingest`, …), in the data folder, without content.
    """
    from ..infra.hotspots.report import parse_span, read_report
    from ..infra.hotspots.store import make_store
    from .hotspots_view import WIDE, text_of

    cfg = context.settings.telemetry
    store = make_store(context.settings)
    report = read_report(store, parse_span(since, cfg.hotspots_days * 86400), tenant)
    if page is not None:
        _write(report, page)
    if context.json:
        context.emit(report)
        return
    width = get_terminal_size().columns if sys.stdout.isatty() else WIDE
    click.echo(text_of(report, width))
    if not report.requests:
        click.echo(_why_empty(store.path, kept=cfg.hotspots), err=True)
    if page is not None:
        click.echo(f"Written to {page}.", err=True)


def _write(report: Report, page: Path) -> None:
    from .hotspots_page import html_of

    page.write_text(html_of(report), encoding="utf-8")


def _why_empty(path: Path, *, kept: bool) -> str:
    if not kept:
        return "Nothing is recorded: [telemetry] hotspots is off."
    if not path.exists():
        return f"There is no {path} yet: the first request makes it. Is the server's data folder another? ([storage] path)"
    return "No request ended in that time. A longer one: `rag hotspots --since 1d`."
