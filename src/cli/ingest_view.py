"""What `rag ingest` shows: a progress bar on a terminal, else a line for each document on standard error; then a summary."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Self

import click

from ..ingestion.report import Discovered, Embedded, Ended, Failed, IngestEvent, IngestReport, Noticed, Stored, Unchanged
from .common import printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from ..ingestion.sources.local_files import Discovery
    from .common import CommandContext

Outcome = Literal["complete", "stopped", "given-up", "unsettled"]
"""How a run ended: as it should; early, with what is stored in the index; early, while it filled an index aside, which is
discarded; after that, with no word on whether the index aside came into use."""


def make_view(found: Discovery, *, as_json: bool) -> PlainView:
    """The view that fits where the output goes."""
    return BarView(found) if sys.stderr.isatty() and not as_json else PlainView(found)


class PlainView:
    """A line for each document. ``stored PATH`` is printed once the document is acknowledged, not before."""

    def __init__(self, found: Discovery) -> None:
        self._found = found
        self._report = IngestReport()
        self.ended = False

    @property
    def report(self) -> IngestReport:
        """The run's report with what discovery found wrong; what was done so far if the run was ended early."""
        failed = (*self._found.problems, *self._report.failed)
        return replace(self._report, failed=failed, unsupported=len(self._found.unsupported))

    def __enter__(self) -> Self:
        for problem in self._found.problems:
            self.line(f"failed {printable(problem.source)}: {problem.reason}: {problem.message}")
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __call__(self, event: IngestEvent) -> None:
        if isinstance(event, Ended):
            self._report, self.ended = event.report, True
        elif isinstance(event, Stored):
            self.stored(event)
        elif isinstance(event, Failed):
            self.line(f"failed {printable(event.problem.source)}: {event.problem.reason}: {printable(event.problem.message)}")
        elif isinstance(event, Noticed):
            self.line(f"note {printable(event.warned.source)}: {printable(event.warned.message)}")

    def stored(self, event: Stored) -> None:
        self.line(f"stored {printable(event.source)}")

    def line(self, text: str) -> None:
        click.echo(text, err=True)

    def close(self) -> None:
        """Stop drawing; what follows is printed below."""


class BarView(PlainView):
    """A bar by bytes, with chunks per second and the time left; failures and notes scroll above it."""

    def __init__(self, found: Discovery) -> None:
        super().__init__(found)
        self._progress: Progress | None = None
        self._documents = 0
        self._chunks = 0

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        text = TextColumn("{task.description}")
        self._progress = Progress(
            text, BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn(), console=Console(stderr=True), transient=True
        )
        self._progress.start()
        self._progress.add_task("reading", total=None)
        return super().__enter__()

    def __call__(self, event: IngestEvent) -> None:
        super().__call__(event)
        if self._progress is None:
            return
        task = self._progress.tasks[0]
        if isinstance(event, Discovered):
            self._documents = event.documents
            self._progress.update(task.id, total=max(1, event.size))
        elif isinstance(event, Embedded):
            self._chunks += event.chunks
        elif isinstance(event, (Stored, Unchanged, Failed)):
            self._progress.advance(task.id, event.size)
        rate = self._chunks / task.elapsed if task.elapsed else 0.0
        self._progress.update(task.id, description=f"{self._documents} documents, {self._chunks} chunks, {rate:.0f} chunks/s")

    def stored(self, event: Stored) -> None:
        """The bar moves; a line for each document would push it off the screen."""

    def line(self, text: str) -> None:
        if self._progress is None:
            super().line(text)
        else:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def summarise(ctx: CommandContext, report: IngestReport, outcome: Outcome) -> None:
    """Print what was done: JSON, or lines with a table of what failed."""
    if ctx.json:
        rates = {"seconds": round(report.seconds, 3), "chunks_per_s": round(report.chunks_per_s, 2)}
        counts = {"added": report.added, "updated": report.updated, "unchanged": report.unchanged, "unsupported": report.unsupported}
        counts["access_widened"] = report.access_widened
        ended = {"complete": outcome == "complete", "outcome": outcome}
        ctx.emit({**counts, "chunks": report.chunks, **rates, **ended, "failed": report.failed, "warnings": report.warnings})
        return
    click.echo(_headline(report, outcome))
    if report.access_widened:
        click.echo(f"access widened: {report.access_widened} documents that were there may now be seen by others than before; see --allow")
    if report.unsupported:
        click.echo(f"{report.unsupported} files of other formats were left out")
    if outcome == "stopped":
        click.echo("stopped early: what is listed as stored is in the index; run the command again to complete it")
    if report.failed:
        width = max(len(problem.reason) for problem in report.failed)
        click.echo("failed:")
        for problem in report.failed:
            click.echo(f"  {problem.reason:<{width}}  {printable(problem.source)}  {printable(problem.message)}")


def _headline(report: IngestReport, outcome: Outcome) -> str:
    if outcome == "given-up":
        gone = f"{report.stored} documents that were in the new one are discarded" if report.stored else "nothing was in the new one"
        return f"the rebuild was given up; the index in use is unchanged ({gone}; {len(report.failed)} failed)"
    if outcome == "unsettled":
        filled = f"the new index was filled ({report.stored} documents, {report.chunks} chunks; {len(report.failed)} failed)"
        return f"{filled}, but there is no word that it came into use; see `rag index list`"
    counts = f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, {len(report.failed)} failed"
    return f"{counts}; {report.chunks} chunks in {report.seconds:.1f} s ({report.chunks_per_s:.1f}/s)"
