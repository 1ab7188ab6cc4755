"""Ranking metrics as trec_eval (and with it BEIR) defines them.

A ranking is document ids, best first; judgements are `{document id: grade}`, a grade above 0 being relevant. nDCG takes
the grade itself as gain and ``log2(rank + 1)`` as discount, against the ideal order of all judged documents
(trec_eval's `ndcg_cut`; Järvelin and Kekäläinen, 2002). All values lie in [0, 1]; a question without relevant documents
scores 0 and counts in the mean, as in pytrec_eval.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..errors import InputError

Judgements = Mapping[str, int]
Metric = Callable[[Sequence[str], Judgements, int], float]
Score = TypeVar("Score", float, tuple[bool, float])


def _relevant(ranking: Sequence[str], judged: Judgements, k: int) -> list[bool]:
    return [judged.get(document, 0) > 0 for document in ranking[:k]]


def _count_relevant(judged: Judgements) -> int:
    return sum(grade > 0 for grade in judged.values())


def _dcg(grades: Iterable[int]) -> float:
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1) if grade > 0)


def ndcg(ranking: Sequence[str], judged: Judgements, k: int) -> float:
    """Normalised discounted cumulative gain of the first ``k``, linear gain."""
    ideal = _dcg(sorted((grade for grade in judged.values() if grade > 0), reverse=True)[:k])
    return _dcg(judged.get(document, 0) for document in ranking[:k]) / ideal if ideal else 0.0


def recall(ranking: Sequence[str], judged: Judgements, k: int) -> float:
    """Share of the relevant documents that stand among the first ``k``."""
    total = _count_relevant(judged)
    return sum(_relevant(ranking, judged, k)) / total if total else 0.0


def precision(ranking: Sequence[str], judged: Judgements, k: int) -> float:
    """Share of the first ``k`` places that hold a relevant document; an empty place counts as a miss."""
    return sum(_relevant(ranking, judged, k)) / k


def success(ranking: Sequence[str], judged: Judgements, k: int) -> float:
    """1 if any relevant document stands among the first ``k``."""
    return float(any(_relevant(ranking, judged, k)))


def mrr(ranking: Sequence[str], judged: Judgements, k: int) -> float:
    """Reciprocal rank of the first relevant document, 0 beyond ``k``."""
    return next((1 / rank for rank, hit in enumerate(_relevant(ranking, judged, k), start=1) if hit), 0.0)


def average_precision(ranking: Sequence[str], judged: Judgements, k: int) -> float:
    """Mean, over all relevant documents, of the precision at each one's rank; 0 for those beyond ``k`` (`map_cut`)."""
    found, total = 0, 0.0
    for rank, hit in enumerate(_relevant(ranking, judged, k), start=1):
        if hit:
            found += 1
            total += found / rank
    relevant = _count_relevant(judged)
    return total / relevant if relevant else 0.0


METRICS: dict[str, Metric] = {"ndcg": ndcg, "recall": recall, "precision": precision, "success": success, "mrr": mrr, "map": average_precision}
_NAME = re.compile(r"([a-z]+)@([1-9][0-9]{0,3})")


@dataclass(frozen=True, slots=True)
class MetricAt:
    """One metric with its cutoff; ``str()`` is its name, such as ``ndcg@10``."""

    name: str
    k: int

    def __str__(self) -> str:
        return f"{self.name}@{self.k}"

    def of(self, ranking: Sequence[str], judged: Judgements) -> float:
        return METRICS[self.name](ranking, judged, self.k)


def parse_metrics(text: str) -> tuple[MetricAt, ...]:
    """Metrics from ``ndcg@10,recall@2``, each once, in the order given.

    Raises:
        InputError: a name or cutoff that is not one.
    """
    found: dict[str, MetricAt] = {}
    for part in (piece.strip().lower() for piece in text.split(",")):
        match = _NAME.fullmatch(part)
        if match is None or match[1] not in METRICS:
            raise InputError(f"{part!r} is not a metric.", hint=f"Write NAME@K, NAME one of {', '.join(METRICS)}, such as ndcg@10.")
        found[part] = MetricAt(match[1], int(match[2]))
    return tuple(found.values())


def rank_documents(scores: Mapping[str, Score]) -> list[str]:
    """Document ids by score, best first; equal scores by id, descending, as trec_eval breaks ties."""
    return sorted(sorted(scores, reverse=True), key=scores.__getitem__, reverse=True)


def mean_over_judged(per_query: Mapping[str, float], judged: Iterable[str]) -> float:
    """Mean over every judged question; one without an answer counts 0."""
    ids = list(judged)
    return sum(per_query.get(query, 0.0) for query in ids) / len(ids) if ids else 0.0


def percentile(values: Sequence[float], q: float) -> float:
    """The ``q``-th percentile (0 to 100), linear between neighbours, as numpy's default; 0 for no values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    place = (len(ordered) - 1) * q / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
