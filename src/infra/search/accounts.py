"""How a score came about, for people: what `explain` shows where a client fused. Pure.

All accounts have OpenSearch's own shape, ``{"value", "description", "details": [account, …]}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.search import HybridTuning
from .fusion import Leg, contributions, standardise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Account = dict[str, Any]


def account(value: float, description: str, *details: Account) -> Account:
    return {"value": value, "description": description, "details": list(details)}


def cosine_account(score: float) -> Account:
    """Of the kNN leg."""
    return account(score, "knn: cosine similarity of the vectors of question and chunk")


def completed_account(at: int, vector: Floats, lexical: Floats, tuning: HybridTuning) -> Account:
    """Of candidate number ``at`` of `fusion.completed`."""
    parts = []
    for name, scores, weight in (("knn", vector, tuning.vector_weight), ("bm25", lexical, 1.0 - tuning.vector_weight)):
        raw = account(float(scores[at]), f"{name}: {float(scores.mean()):.6g} in the mean, with a deviation of {float(scores.std()):.6g}")
        parts.append(account(weight * float(standardise(scores)[at]), f"{weight:g} * z-score of {name} over {scores.size} candidates", raw))
    return account(sum(part["value"] for part in parts), "completed: sum of", *parts)


def server_account(row: int, vector: Leg, lexical: Leg, tuning: HybridTuning) -> Account:
    """Of one candidate of `fusion.server`, by its id."""
    parts = []
    shares = contributions(vector, lexical, tuning.technique, tuning.vector_weight, tuning.rrf_k)
    for name, leg, share, weight in (("knn", vector, shares[0], tuning.vector_weight), ("bm25", lexical, shares[1], 1.0 - tuning.vector_weight)):
        (found,) = np.nonzero(leg.ids == row)
        if found.size:
            at = int(found[0])
            how = f"1 / ({tuning.rrf_k} + rank) of {name}" if tuning.technique == "rrf" else f"{weight:g} * {tuning.technique} of {name}"
            parts.append(account(float(share[at]), how, account(float(leg.scores[at]), f"{name}: rank {at + 1} of {leg.ids.size} candidates")))
    return account(sum(part["value"] for part in parts), f"{tuning.technique}: sum of", *parts)
