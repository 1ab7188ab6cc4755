"""Fusing a vector leg and a lexical leg into one ranking. Pure numpy; every engine uses the same formulas.

`completed` is ours (measured in notes/relevance.md: better than min-max on every collection). The others compute what
OpenSearch's `normalization-processor` with `arithmetic_mean`, and its `score-ranker-processor`, compute, so that an
answer means the same on either engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...core.search import Technique

    Floats = NDArray[np.float64]
    Ids = NDArray[np.int64]

MIN_SCORE = 0.001
"""What OpenSearch gives instead of a normalised 0, so that the last candidate of a leg still counts as found by it."""

SINGLE_RESULT_SCORE = 1.0
"""What OpenSearch's min-max gives where all scores of a leg are equal, a single one too."""


@dataclass(frozen=True, slots=True)
class Leg:
    """Candidates of one leg: ids (int64, shape (n,)), best first, and their raw scores (float64, shape (n,))."""

    ids: Ids
    scores: Floats


def standardise(scores: Floats) -> Floats:
    """Z-scores over all candidates (population deviation); zeros where the scores do not differ."""
    if scores.size == 0:
        return scores
    spread = float(scores.std())
    # A spread of rounding noise is none: equal cosines must not be blown up to a ranking.
    if spread <= 1e-9 * max(1.0, float(np.abs(scores).max())):
        return np.zeros_like(scores)
    standardised: Floats = (scores - scores.mean()) / spread
    return standardised


def completed(vector: Floats, lexical: Floats, vector_weight: float) -> Floats:
    """Weighted mean of z-scores, both legs having scored every candidate.

    Args:
        vector, lexical: raw scores of the same candidates, shape (n,).
        vector_weight: weight of the vector leg in [0, 1]; the lexical leg has the rest.
    """
    fused: Floats = vector_weight * standardise(vector) + (1.0 - vector_weight) * standardise(lexical)
    return fused


def min_max(scores: Floats) -> Floats:
    """OpenSearch's `min_max`: equal scores (a single one too) give 1.0, the smallest gives MIN_SCORE."""
    if scores.size == 0:
        return scores
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        return np.full_like(scores, SINGLE_RESULT_SCORE)
    normalised: Floats = (scores - low) / (high - low)
    return np.where(normalised == 0.0, MIN_SCORE, normalised)


def l2(scores: Floats) -> Floats:
    """OpenSearch's `l2`: divided by the leg's Euclidean norm; MIN_SCORE where that is 0."""
    norm = float(np.sqrt(np.square(scores).sum()))
    normalised: Floats = np.full_like(scores, MIN_SCORE) if norm == 0.0 else scores / norm
    return normalised


def z_score(scores: Floats) -> Floats:
    """OpenSearch's `z_score`: sample deviation, and everything up to the mean becomes MIN_SCORE.

    Where all scores are equal OpenSearch returns the raw score, which lets one leg drown the other; here they give 1.0,
    as with min-max.
    """
    if scores.size == 0:
        return scores
    if scores.size == 1 or float(scores.min()) == float(scores.max()):
        return np.full_like(scores, SINGLE_RESULT_SCORE)
    normalised: Floats = np.maximum((scores - scores.mean()) / scores.std(ddof=1), MIN_SCORE)
    return normalised


_NORMALISERS: dict[str, Callable[[Floats], Floats]] = {"min_max": min_max, "l2": l2, "z_score": z_score}


def reciprocal_ranks(count: int, rank_constant: int) -> Floats:
    """1 / (k + rank) with ranks from 1 (Cormack et al., SIGIR 2009), best first."""
    ranks: Floats = 1.0 / (rank_constant + np.arange(1, count + 1, dtype=np.float64))
    return ranks


def contributions(vector: Leg, lexical: Leg, technique: Technique, vector_weight: float, rank_constant: int) -> tuple[Floats, Floats]:
    """What each leg adds to the fused score of each of its candidates. `rrf` takes no weights, as in OpenSearch."""
    if technique == "rrf":
        return reciprocal_ranks(vector.ids.size, rank_constant), reciprocal_ranks(lexical.ids.size, rank_constant)
    normalise = _NORMALISERS[technique]
    # OpenSearch's cosine score is (1 + cos) / 2; min-max and z-score do not care, the norm of l2 does.
    return vector_weight * normalise((1.0 + vector.scores) / 2.0), (1.0 - vector_weight) * normalise(lexical.scores)


def server(vector: Leg, lexical: Leg, technique: Technique, vector_weight: float, rank_constant: int = 60) -> Leg:
    """OpenSearch's hybrid: each leg keeps its own candidates; one that a leg did not find has 0 there.

    Returns:
        The union of the candidates, best first, equal scores by id. `rrf` takes no weights, as in OpenSearch.
    """
    ids = np.union1d(vector.ids, lexical.ids)
    fused = np.zeros(ids.size, dtype=np.float64)
    for leg, shares in zip((vector, lexical), contributions(vector, lexical, technique, vector_weight, rank_constant), strict=True):
        fused[np.searchsorted(ids, leg.ids)] += shares
    return best_first(Leg(ids, fused))


def best_first(leg: Leg) -> Leg:
    """Sorted by score, equal scores by id: the one order that pages rely on."""
    order = np.lexsort((leg.ids, -leg.scores))
    return Leg(leg.ids[order], leg.scores[order])
