"""What `rag eval` prints: the JSON object of DESIGN.md, and tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.search import Mode
from .runner import Scores


@dataclass(frozen=True, slots=True)
class EvalReport:
    """One split in one mode."""

    dataset: str
    split: str
    mode: Mode
    documents: int
    queries: int
    scores: Scores
    index_s: float

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints: the fixed keys, and one more for each further metric."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "mode": self.mode,
            "documents": self.documents,
            "queries": self.queries,
            **{name: round(value, 5) for name, value in self.scores.means.items()},
            "latency_ms": {"p50": round(self.scores.p50_ms, 2), "p95": round(self.scores.p95_ms, 2)},
            "index_s": round(self.index_s, 2),
        }


def as_text(report: EvalReport) -> str:
    """A few lines for a terminal."""
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in report.scores.means.items())
    head = f"{report.dataset} ({report.split}), {report.mode}: {report.queries:,} questions, {report.documents:,} documents"
    tail = f"latency p50 {report.scores.p50_ms:.1f} ms, p95 {report.scores.p95_ms:.1f} ms; index made in {report.index_s:.1f} s"
    return f"{head}\n{metrics}\n{tail}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; floats with four digits."""
    lines = [header, ["---"] * len(header), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def paired_difference(left: Mapping[str, float], right: Mapping[str, float], *, rounds: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Mean difference (left minus right) over the questions of both, and its two-sided p-value by random sign flips.

    Fisher's randomisation test; differences under 1.5 points on 50 to 160 questions are usually noise.
    """
    import numpy as np

    shared = sorted(left.keys() & right.keys())
    differences = np.array([left[key] - right[key] for key in shared])
    if not differences.size or not differences.any():
        return 0.0, 1.0
    observed = abs(float(differences.mean()))
    generator = np.random.default_rng(seed)
    signs = generator.integers(0, 2, size=(rounds, differences.size), dtype=np.int8) * 2 - 1
    extreme = np.abs(signs @ differences / differences.size) >= observed - 1e-12
    return float(differences.mean()), float((np.count_nonzero(extreme) + 1) / (rounds + 1))
