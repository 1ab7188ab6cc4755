"""How the score of a hit came about, in OpenSearch's shape: value, description, details."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..accounts import Account, completed_account, cosine_account, server_account
from ..fusion import Leg, best_first
from .lexical import Postings
from .ranking import Question, Ranking

if TYPE_CHECKING:
    from numpy.typing import NDArray


def explain(at: int, question: Question, ranking: Ranking, postings: Postings) -> Account:
    """The account of hit number ``at`` of a ranking."""
    request = question.request
    if request.mode == "bm25":
        found: Account = postings.explain(postings.text_query(question.terms), int(ranking.rows[at]))
        return found
    if request.mode == "knn":
        return cosine_account(float(ranking.scores[at]))
    vector, lexical = ranking.legs["knn"], ranking.legs["bm25"]
    if request.tuning.fusion == "completed":
        return completed_account(at, vector, lexical, request.tuning)
    return server_account(int(ranking.rows[at]), _leg(ranking.rows, vector), _leg(ranking.rows, lexical), request.tuning)


def _leg(rows: NDArray[np.int64], scores: NDArray[np.float64]) -> Leg:
    """A leg as it was before fusion: its own candidates, best first."""
    own = ~np.isnan(scores)
    return best_first(Leg(rows[own], scores[own]))
