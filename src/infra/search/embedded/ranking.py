"""The three modes over one snapshot of the views. Scope and filters restrict each leg before its best are taken.

Hybrid fuses ``max(candidates, top_k)`` candidates of each leg. That number follows from the request alone, so every page
of a request cuts the same ranking, and the last page ends with the last candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ....core.search import SearchRequest
from ....telemetry.stages import stage
from ..fusion import Leg, completed, server
from .lexical import IN_QUERY, Postings
from .selection import Selection
from .views import Views

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tantivy import Query

    Rows = NDArray[np.int64]
    Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows, best first, with their scores, and the raw score of each leg where it has one (NaN where not)."""

    rows: Rows
    scores: Scores
    legs: Mapping[str, Scores]


@dataclass(frozen=True, slots=True)
class Question:
    """A request after checking: terms may be empty (nothing but punctuation), the vector is float32 of the right length."""

    request: SearchRequest
    terms: Sequence[str]
    vector: NDArray[np.float32] | None


def rank(question: Question, views: Views, selection: Selection, limit: int, beside: Executor) -> Ranking:
    """The best ``limit`` rows (hybrid: all candidates). ``beside`` runs one leg of hybrid search while this thread runs the other."""
    mode = question.request.mode
    if mode == "bm25":
        with stage("search.bm25"):
            leg = lexical_leg(question, views, selection, limit)
        return Ranking(leg.ids, leg.scores, {"bm25": leg.scores})
    if mode == "knn":
        with stage("search.knn"):
            leg = vector_leg(question, views, selection, limit)
        return Ranking(leg.ids, leg.scores, {"knn": leg.scores})
    return _hybrid(question, views, selection, beside)


def vector_leg(question: Question, views: Views, selection: Selection, limit: int) -> Leg:
    assert question.vector is not None
    lines, scores = views.lines.top(question.vector, limit, selection.mask)
    return Leg(views.lines.rows[lines], scores)


def lexical_leg(question: Question, views: Views, selection: Selection, limit: int) -> Leg:
    """The best ``limit`` of the chunks that hold a term."""
    if not question.terms:
        return _nothing()
    return _restricted(views.postings.text_query(question.terms), views, selection, limit, exhaustive=True)


def _restricted(text: Query, views: Views, selection: Selection, limit: int, *, exhaustive: bool) -> Leg:
    """The best ``limit`` of a text query among what the request may see.

    ``exhaustive`` switches tantivy's early termination off: it adds up a chunk's score in an order that depends on the
    limit, and scores that differ in the last bit would reorder equal chunks from page to page.
    """
    if selection.count == 0:
        return _nothing()
    postings = views.postings
    if selection.filtered and selection.mask is not None:
        return _filtered(postings, text, views, selection, limit)
    if selection.terms is None and not exhaustive:
        return Leg(*postings.top(text, limit))
    return Leg(*postings.top(postings.restrict(postings.visible(selection.terms), text), limit))


def _nothing() -> Leg:
    return Leg(np.empty(0, np.int64), np.empty(0, np.float64))


def _filtered(postings: Postings, text: Query, views: Views, selection: Selection, limit: int) -> Leg:
    """Few chosen chunks are named in the query. Many are picked out of a ranking that is lengthened until it holds
    ``limit`` of them or ends: the same chunks, but naming 100,000 rows would cost 40 ms."""
    assert selection.mask is not None
    lines = views.lines
    if selection.count <= IN_QUERY:
        return Leg(*postings.top(postings.restrict(postings.among(lines.rows[selection.mask]), text), limit))
    query = postings.restrict(postings.visible(selection.terms), text)
    depth = 2 * limit * max(1, lines.live // selection.count)
    while True:
        rows, scores = postings.top(query, depth)
        chosen = selection.mask[lines.find(rows)]
        if rows.size < depth or int(np.count_nonzero(chosen)) >= limit:
            return Leg(rows[chosen][:limit], scores[chosen][:limit])
        depth *= 4


def _hybrid(question: Question, views: Views, selection: Selection, beside: Executor) -> Ranking:
    tuning = question.request.tuning
    pool = max(tuning.candidates, question.request.top_k)
    own: Future[Leg] | None = None
    if tuning.fusion == "completed" and question.terms:
        # tantivy and numpy both let go of the interpreter: side by side, hybrid takes 2.7 ms instead of 3.7 at 20,000 chunks (p50).
        own = beside.submit(_restricted, views.postings.own_query(question.terms), views, selection, pool, exhaustive=False)
    with stage("search.knn"):
        vector = vector_leg(question, views, selection, pool)
    if tuning.fusion == "completed":
        return _completed(question, views, vector, own)
    with stage("search.bm25"):
        lexical = lexical_leg(question, views, selection, pool)
    with stage("search.fusion"):
        fused = server(vector, lexical, tuning.technique, tuning.vector_weight, tuning.rrf_k)
        return Ranking(fused.ids, fused.scores, {"bm25": _spread(fused.ids, lexical), "knn": _spread(fused.ids, vector)})


def _completed(question: Question, views: Views, vector: Leg, own: Future[Leg] | None) -> Ranking:
    """Every candidate of either leg gets the score of both; one that no term matches has BM25 0.

    The lexical candidates are the best by their own words alone, which tantivy finds without looking at every chunk; the
    score that counts is then computed for all candidates at once.
    """
    rows, bm25 = vector.ids, np.zeros(vector.ids.size)
    if own is not None:
        with stage("search.bm25"):
            rows = np.union1d(own.result().ids, vector.ids)
            bm25 = views.postings.score(views.postings.text_query(question.terms), rows)
    with stage("search.fusion"):
        knn = _spread(rows, vector)
        gap = np.isnan(knn)
        if gap.any():
            assert question.vector is not None
            knn[gap] = views.lines.score(views.lines.find(rows[gap]), question.vector)
        fused = completed(knn, bm25, question.request.tuning.vector_weight)
        order = np.lexsort((rows, -fused))
        return Ranking(rows[order], fused[order], {"bm25": bm25[order], "knn": knn[order]})


def _spread(rows: Rows, leg: Leg) -> Scores:
    """The leg's score of each row, NaN where it has none."""
    scores = np.full(rows.size, np.nan)
    order = np.argsort(rows)
    scores[order[np.searchsorted(rows[order], leg.ids)]] = leg.scores
    return scores
