"""How a fused score came about, for people: what `explain` shows where a client fused. Pure.

Keys are plain words, values numbers: ``{"score", "formula", "legs": {name: {"score", "weight", ...}}}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.search import HybridTuning
from .fusion import Leg, reciprocal_ranks, standardise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Account = dict[str, Any]


def completed_accounts(vector: Floats, lexical: Floats, tuning: HybridTuning) -> list[Account]:
    """One account for each candidate, in the order of the scores."""
    legs = {"knn": (vector, tuning.vector_weight), "bm25": (lexical, 1.0 - tuning.vector_weight)}
    parts = {name: (scores, standardise(scores), weight, _moments(scores)) for name, (scores, weight) in legs.items()}
    accounts = []
    for at in range(vector.size):
        own = {
            name: {"score": float(scores[at]), "standardised": float(z[at]), "weight": weight, **moments}
            for name, (scores, z, weight, moments) in parts.items()
        }
        total = sum(leg["standardised"] * leg["weight"] for leg in own.values())
        formula = f"{tuning.vector_weight:g} * z(knn) + {1.0 - tuning.vector_weight:g} * z(bm25), z over {vector.size} candidates"
        accounts.append({"score": total, "formula": formula, "legs": own})
    return accounts


def server_account(row: int, score: float, legs: Mapping[str, Leg], tuning: HybridTuning) -> Account:
    """The account of one candidate of `fusion.server`, by its id in the legs."""
    weights = {"knn": tuning.vector_weight, "bm25": 1.0 - tuning.vector_weight}
    own: dict[str, Any] = {}
    for name, leg in legs.items():
        (found,) = np.nonzero(leg.ids == row)
        if not found.size:
            continue
        rank = int(found[0]) + 1
        own[name] = {"score": float(leg.scores[found[0]]), "rank": rank}
        if tuning.technique == "rrf":
            own[name]["share"] = float(reciprocal_ranks(rank, tuning.rrf_k)[-1])
        else:
            own[name]["weight"] = weights[name]
    how = f"sum of 1 / ({tuning.rrf_k} + rank)" if tuning.technique == "rrf" else f"weighted mean of {tuning.technique} of each leg"
    return {"score": score, "formula": how, "legs": own}


def _moments(scores: Floats) -> dict[str, float]:
    if not scores.size or not math.isfinite(float(scores.sum())):
        return {"mean": 0.0, "deviation": 0.0}
    return {"mean": float(scores.mean()), "deviation": float(scores.std())}
