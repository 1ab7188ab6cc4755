"""How likely it is that the passages hold an answer: a calibrated score in [0, 1] from measured features.

The score gates the local, extractive model, which would otherwise quote something for any question. The coefficients lie
in `evidence.json` beside this file with how they were made (`benchmarks/calibrate_refusal.py`, a logistic regression on
questions of open collections); nothing of the sample documents went into them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ..core.retrieval import Passage
from ..core.search import Hit
from ..infra.providers.forms import own_and_topic
from ..infra.providers.local_chat import MAX_READ
from ..infra.providers.passages import PromptContent, PromptPassage
from ..infra.providers.protocol import Embedder
from ..infra.providers.sayable import Candidate, sentences_of
from ..util.terms import content_stems
from .citing import heading_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOPIC = 0.5
"""Weight of a word that a follow-up takes from its conversation, against one of its own."""


@dataclass(frozen=True, slots=True)
class Features:
    """What is measured of a question and its passages."""

    joint: float
    """Best of all sentences: its similarity to the question, the question's words in it (half), and both for its passage (half, 0.3)."""
    margin: float
    """How far the most similar passage stands above the mean of all hits, in cosine."""
    missing: float
    """Share (by rarity) of the one content word that weighs most among those the best passage lacks: low in the passage that
    lacks the least."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Sentences of the passages and how similar the question is to each (shape (sentences,))."""

    candidates: tuple[Candidate, ...]
    cosines: NDArray[np.float32]


async def gather(question: str, passages: Sequence[Passage], embedder: Embedder) -> Measured:
    """Compare the question with the very sentences that the local model will compare it with."""
    read = tuple(PromptPassage(passage.n, heading_of(passage), passage.hit.text) for passage in passages)
    candidates = sentences_of(PromptContent(question, read))[:MAX_READ]
    vectors = await embedder.embed([question, *(candidate.embedded for candidate in candidates)])
    return Measured(tuple(candidates), vectors[1:] @ vectors[0])


def measure(question: str, passages: Sequence[Passage], hits: Sequence[Hit], measured: Measured) -> Features:
    """The features. Pure."""
    own, topic = own_and_topic(question)
    asked = set(content_stems(own))
    rarity = _rarity(asked.union(content_stems(topic)), hits)
    weights = {word: weight if word in asked else TOPIC * weight for word, weight in rarity.items()}
    held = {passage.n: frozenset(content_stems(f"{heading_of(passage)} {passage.hit.text}")) for passage in passages}
    nearness = [hit.legs.get("knn", 0.0) for hit in hits]
    return Features(
        joint=_joint(weights, passages, held, measured),
        margin=max(nearness) - sum(nearness) / len(nearness),
        missing=min(_heaviest(weights, stems) for stems in held.values()),
    )


def score(features: Features) -> float:
    """Probability, by the calibrated model, that the passages hold an answer."""
    model = _model()
    total = float(model["intercept"]) + sum(model["weights"][name] * value for name, value in asdict(features).items())
    return 1 / (1 + math.exp(-total))


def default_threshold() -> float:
    """The calibrated score below which the extractive model refuses."""
    return float(_model()["threshold"])


@cache
def _model() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((files(__package__ or "") / "evidence.json").read_text(encoding="utf-8"))
    return loaded


def _rarity(words: Iterable[str], hits: Sequence[Hit]) -> dict[str, float]:
    """Weight of each word: one that few hits hold decides more than one that all hold, one that none holds most."""
    everywhere = [frozenset(content_stems(f"{hit.title} {hit.section} {hit.text}")) for hit in hits]
    return {word: math.log(1 + (len(everywhere) + 1) / (sum(word in stems for stems in everywhere) + 0.5)) for word in words}


def _joint(weights: dict[str, float], passages: Sequence[Passage], held: dict[int, frozenset[str]], measured: Measured) -> float:
    around = {number: _share(weights, stems) for number, stems in held.items()}
    nearness = {passage.n: passage.hit.legs.get("knn") for passage in passages}
    best = 0.0
    for candidate, cosine in zip(measured.candidates, measured.cosines, strict=True):
        near = nearness[candidate.passage]  # a search by words alone does not measure it
        total = float(cosine) + 0.5 * _share(weights, content_stems(candidate.embedded)) + 0.3 * around[candidate.passage]
        best = max(best, total + 0.5 * (float(cosine) if near is None else near))
    return best


def _heaviest(weights: dict[str, float], stems: frozenset[str]) -> float:
    """Share of the heaviest word that ``stems`` lack."""
    total = sum(weights.values())
    return max((weight / total for word, weight in weights.items() if word not in stems), default=0.0)


def _share(weights: dict[str, float], stems: Iterable[str]) -> float:
    held, total = set(stems), sum(weights.values())
    return sum(weight for stem, weight in weights.items() if stem in held) / total if total else 0.0
