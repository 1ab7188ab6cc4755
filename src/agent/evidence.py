"""How likely it is that the passages hold an answer: a calibrated score in [0, 1] from measured features.

The score gates the local, extractive model, which would otherwise quote something for any question. The coefficients lie
in `evidence.json` beside this file with how they were made (`benchmarks/calibrate_refusal.py`, a logistic regression on
questions of open collections); nothing of the sample documents went into them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ..core.retrieval import Passage
from ..core.search import Hit
from ..infra.providers.local_chat import MAX_READ, sentences_of
from ..infra.providers.passages import PromptContent, PromptPassage
from ..infra.providers.protocol import Embedder
from ..util.sentences import sentence_spans
from ..util.terms import Token, tokens
from .citing import heading_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Features:
    """What is measured of a question and its passages; each about 0 to 1."""

    passage_cosine: float
    """Highest similarity of the question to a passage, where the search measured it."""
    sentence_cosine: float
    """Highest similarity of the question to one sentence (under its heading)."""
    margin: float
    """By how much the best passage stands above the average of those found."""
    coverage: float
    """Share of the question's content words that the best passage holds, rare words weighing more."""
    coverage_all: float
    """The same over all passages taken together."""
    coverage_sentence: float
    """The same for the best window of three sentences."""
    rare: float
    """Whether the passage that covers most also holds the question's rarest word."""
    names: float
    """Share of the question's names, codes and numbers that the best passage holds; 1 without any."""
    absent: float
    """Share of the question's content words that stand in none of the hits."""
    agreement: float
    """Whether the most similar passage is also the one that covers most words: share of the best coverage it reaches."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One passage as the features see it."""

    stems: frozenset[str]
    windows: tuple[frozenset[str], ...]


async def gather(question: str, passages: Sequence[Passage], hits: Sequence[Hit], embedder: Embedder) -> Features:
    """Measure the features; embeds the question and the sentences of the best passages."""
    vectors = await embedder.embed([question, *sentence_texts(passages)])
    return measure(question, passages, hits, vectors[1:] @ vectors[0])


def sentence_texts(passages: Sequence[Passage]) -> list[str]:
    """Each sentence of the best passages under the heading it stands in: the very texts that the local model compares."""
    read = tuple(PromptPassage(passage.n, heading_of(passage), passage.hit.text) for passage in passages)
    return [candidate.embedded for candidate in sentences_of(PromptContent("", read))[:MAX_READ]]


def measure(question: str, passages: Sequence[Passage], hits: Sequence[Hit], cosines: NDArray[np.float32]) -> Features:
    """The features, from similarities of the question to the sentences of `sentence_texts`. Pure."""
    wanted = {token.stem: token for token in tokens(question) if token.content}
    readings = [_read(passage) for passage in passages]
    everywhere = [frozenset(token.stem for token in tokens(f"{hit.title} {hit.section} {hit.text}")) for hit in hits]
    weights = _weights(wanted, everywhere)
    shares = [_share(weights, reading.stems) for reading in readings]
    best = max(range(len(shares)), key=shares.__getitem__)
    similar = [hit.legs.get("knn", 0.0) for hit in hits]
    nearest = max(range(len(passages)), key=lambda i: passages[i].hit.legs.get("knn", 0.0))
    special = {stem for stem, token in wanted.items() if _is_special(token, question)}
    rarest = max(weights, key=weights.__getitem__, default="")
    union = frozenset().union(*(reading.stems for reading in readings))
    return Features(
        passage_cosine=max(similar),
        sentence_cosine=float(cosines.max()) if len(cosines) else 0.0,
        margin=max(similar) - sum(similar) / len(similar),
        coverage=shares[best],
        coverage_all=_share(weights, union),
        coverage_sentence=max((_share(weights, window) for reading in readings for window in reading.windows), default=0.0),
        rare=float(rarest in readings[best].stems) if rarest else 1.0,
        names=len(special & readings[best].stems) / len(special) if special else 1.0,
        absent=sum(1 for stem in wanted if not any(stem in stems for stems in everywhere)) / max(1, len(wanted)),
        agreement=shares[nearest] / shares[best] if shares[best] else 0.0,
    )


def score(features: Features) -> float:
    """Probability, by the calibrated model, that the passages hold an answer."""
    model = _model()
    total = model["intercept"] + sum(model["weights"].get(name, 0.0) * value for name, value in asdict(features).items())
    return 1 / (1 + math.exp(-total))


def default_threshold() -> float:
    """The calibrated score below which the extractive model refuses."""
    return float(_model()["threshold"])


@cache
def _model() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((files(__package__ or "") / "evidence.json").read_text(encoding="utf-8"))
    return loaded


def _read(passage: Passage) -> Reading:
    text = passage.hit.text
    heading = frozenset(token.stem for token in tokens(f"{passage.hit.title} {passage.hit.section}"))
    sentences = [frozenset(token.stem for token in tokens(text[start:end])) for start, end in sentence_spans(text)]
    windows = [heading.union(*sentences[i : i + 3]) for i in range(max(1, len(sentences) - 2))]
    return Reading(heading.union(*sentences), tuple(windows))


def _weights(wanted: dict[str, Token], everywhere: Sequence[frozenset[str]]) -> dict[str, float]:
    """Rarity of each content word over the hits: a word that few hold decides more than one that all hold."""
    count = len(everywhere) or 1
    return {stem: math.log(1 + (count + 1) / (sum(stem in stems for stems in everywhere) + 0.5)) for stem in wanted}


def _share(weights: dict[str, float], stems: frozenset[str]) -> float:
    total = sum(weights.values())
    return sum(weight for stem, weight in weights.items() if stem in stems) / total if total else 0.0


def _is_special(token: Token, question: str) -> bool:
    """A name, code or number: digits, inner capitals, or a capital that is not the question's first word."""
    return (
        any(c.isdigit() for c in token.text) or any(c.isupper() for c in token.text[1:]) or (token.text[:1].isupper() and bool(question[: token.start].strip()))
    )
