"""Search pipelines of `fusion = server`: what makes one score of two legs on the server. Pure data.

A hybrid query without a pipeline answers with status 200 and scores such as -9549511700.0: never send one without.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from ...core.search import Technique
from ...errors import ConfigurationError

PROCESSORS: Final = "phase_results_processors"


def search_pipeline(technique: Technique, weights: Sequence[float] | None = None, rrf_k: int = 60) -> dict[str, Any]:
    """A pipeline: the body of `PUT /_search/pipeline/NAME`, or the value of `search_pipeline` within a request.

    Args:
        technique: `min_max`, `l2`, `z_score` (servers from 3.0), or `rrf` (2.19), which takes no weights.
        weights: of the sub-queries, in their order; they sum to 1. None weighs them alike.
        rrf_k: the rank constant of `rrf`.

    Raises:
        ConfigurationError: weights outside [0, 1], or that do not sum to 1.
    """
    if technique == "rrf":
        return {PROCESSORS: [{"score-ranker-processor": {"combination": {"technique": "rrf", "rank_constant": rrf_k}}}]}
    combination: dict[str, Any] = {"technique": "arithmetic_mean"}
    if weights is not None:
        _check(weights)
        combination["parameters"] = {"weights": list(weights)}
    return {PROCESSORS: [{"normalization-processor": {"normalization": {"technique": technique}, "combination": combination}}]}


def _check(weights: Sequence[float]) -> None:
    if not all(0.0 <= weight <= 1.0 for weight in weights) or not math.isclose(sum(weights), 1.0, abs_tol=1e-6):
        raise ConfigurationError(f"The weights of the legs are {list(weights)}; each must be from 0 to 1, and together 1.", setting="retrieval.vector_weight")
