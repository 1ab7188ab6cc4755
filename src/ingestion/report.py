"""What ingestion says while it runs and at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ..errors import DocumentReason

ProblemReason = DocumentReason | Literal["not-found"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A document that was not ingested, and why. All of these make `rag ingest` exit with 1."""

    document_id: str
    source: str
    reason: ProblemReason
    message: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A document that was ingested, though not as well as one might expect (some pages are scans, a guessed encoding)."""

    document_id: str
    source: str
    message: str


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one run did. Counts are documents, but for ``chunks``, which counts those written.

    ``unsupported`` counts files in folders whose extension nothing reads: left out, not failed. ``access_widened`` counts
    the documents among the updated that somebody may see now who could not before.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: tuple[Problem, ...] = ()
    unsupported: int = 0
    warnings: tuple[Warned, ...] = ()
    chunks: int = 0
    seconds: float = 0.0
    access_widened: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Documents by what became of them, those that failed by reason (``failed.REASON``), and chunks; no names."""
        counts = {name: getattr(self, name) for name in ("added", "updated", "unchanged", "chunks")}
        for problem in self.failed:
            counts[f"failed.{problem.reason}"] = counts.get(f"failed.{problem.reason}", 0) + 1
        return counts

    @property
    def stored(self) -> int:
        return self.added + self.updated

    @property
    def chunks_per_s(self) -> float:
        return self.chunks / self.seconds if self.seconds else 0.0

    @property
    def ok(self) -> bool:
        return not self.failed


@dataclass(frozen=True, slots=True)
class Discovered:
    """How much there is to do: documents and their bytes."""

    documents: int
    size: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """Chunks whose vectors are ready, though not written yet."""

    chunks: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A document is acknowledged: it is in the index, whole."""

    document_id: str
    source: str
    size: int
    chunks: int
    updated: bool


@dataclass(frozen=True, slots=True)
class Unchanged:
    document_id: str
    source: str
    size: int


@dataclass(frozen=True, slots=True)
class Failed:
    problem: Problem
    size: int


@dataclass(frozen=True, slots=True)
class Noticed:
    warned: Warned


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event of every run, before its report is returned or its error raised. Not ``complete``: an error or a
    cancellation ended it early, and the report tells what was done until then."""

    report: IngestReport
    complete: bool


IngestEvent = Discovered | Embedded | Stored | Unchanged | Failed | Noticed | Ended
OnEvent = Callable[[IngestEvent], None]


@dataclass(slots=True)
class Tally:
    """Counts while a run goes on."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    chunks: int = 0
    access_widened: int = 0
    failed: list[Problem] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)

    def report(self, seconds: float) -> IngestReport:
        failed, warnings = tuple(self.failed), tuple(self.warnings)
        return IngestReport(self.added, self.updated, self.unchanged, failed, 0, warnings, self.chunks, seconds, self.access_widened)
