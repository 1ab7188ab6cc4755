"""Asking a collection's questions and scoring what comes back, document by document."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..core.identity import DEFAULT_TENANT, EVERYONE, AccessScope
from ..core.search import Mode
from ..errors import ServiceUnavailableError
from ..retrieval.retriever import Retriever
from .dataset import Dataset, Question
from .metrics import MetricAt, mean_over_judged, parse_metrics, percentile, rank_documents

DEFAULT_METRICS = parse_metrics("ndcg@10,recall@100,mrr@10")
"""Always reported; further ones are added."""

PAGE = 100
"""Chunks of one page; a question is paged until it has as many documents as the deepest metric looks at."""

EVAL_SCOPE = AccessScope(DEFAULT_TENANT, frozenset({EVERYONE}))

OnAsked = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question's ranking of documents, best first, and how long its first page took, its embedding included (ms)."""

    ranking: tuple[str, ...]
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over the judged questions, and each question's own values."""

    means: Mapping[str, float]
    per_query: Mapping[str, Mapping[str, float]]
    p50_ms: float
    p95_ms: float


async def ask_all(
    dataset: Dataset,
    retriever: Retriever,
    mode: Mode,
    metrics: Sequence[MetricAt] = DEFAULT_METRICS,
    *,
    history: bool = False,
    on_asked: OnAsked | None = None,
) -> Scores:
    """Ask every judged question, one at a time, so that latencies are those of an idle system.

    Args:
        history: put the conversation before the question.

    Raises:
        ServiceUnavailableError: a question was served in another way than asked for, which would falsify the figures.
    """
    depth = max(metric.k for metric in metrics)
    outcomes: dict[str, Outcome] = {}
    for asked, question in enumerate(dataset.questions, start=1):
        outcomes[question.id] = await _ask(question, retriever, mode, depth, history=history)
        if on_asked is not None:
            on_asked(asked)
    return score(outcomes, dataset.judgements, metrics)


def score(outcomes: Mapping[str, Outcome], judgements: Mapping[str, Mapping[str, int]], metrics: Sequence[MetricAt]) -> Scores:
    """Metrics of finished rankings; a judged question without an outcome scores 0."""
    per_query = {
        str(metric): {query: metric.of(outcomes[query].ranking, judged) for query, judged in judgements.items() if query in outcomes} for metric in metrics
    }
    latencies = [outcome.latency_ms for outcome in outcomes.values()]
    return Scores(
        means={name: mean_over_judged(values, judgements) for name, values in per_query.items()},
        per_query=per_query,
        p50_ms=percentile(latencies, 50),
        p95_ms=percentile(latencies, 95),
    )


async def _ask(question: Question, retriever: Retriever, mode: Mode, depth: int, *, history: bool) -> Outcome:
    text = question.with_history() if history else question.text
    if not text.strip():
        return Outcome((), 0.0)
    best: dict[str, tuple[bool, float]] = {}
    cursor: str | None = None
    latency = 0.0
    while len(best) < depth:
        began = time.perf_counter()
        result = await retriever.search(text, EVAL_SCOPE, mode=mode, top_k=PAGE, cursor=cursor)
        latency = latency or (time.perf_counter() - began) * 1000
        if result.degraded:
            raise ServiceUnavailableError(f"Question {question.id!r} was not served as asked: {'; '.join(result.degraded)}.")
        for hit in result.hits:
            # What a reranker has scored stands before what lies deeper, whose scores are of another scale.
            standing = (hit.rerank is not None, hit.score)
            best[hit.document_id] = max(standing, best.get(hit.document_id, standing))
        cursor = result.next_cursor
        if cursor is None:
            break
    return Outcome(tuple(rank_documents(best)[:depth]), latency)
