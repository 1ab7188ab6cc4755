"""What a search asks and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .documents import MetadataValue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Mode = Literal["bm25", "knn", "hybrid"]
MODES: tuple[Mode, ...] = ("bm25", "knn", "hybrid")
Fusion = Literal["completed", "server"]
Technique = Literal["min_max", "l2", "z_score", "rrf"]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The field holds one of ``values`` (one value: equality). A field with several values matches if any does."""

    field: str
    values: tuple[MetadataValue, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The field lies within the bounds that are given. Numbers compare with numbers, strings with strings (ISO dates sort)."""

    field: str
    gt: MetadataValue | None = None
    gte: MetadataValue | None = None
    lt: MetadataValue | None = None
    lte: MetadataValue | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The field is there (``present=True``) or is not."""

    field: str
    present: bool = True


Filter = AnyOf | Range | Exists
"""Filters of one request are joined by AND."""


@dataclass(frozen=True, slots=True)
class HybridTuning:
    """How two legs become one ranking.

    Attributes:
        fusion: ``completed``: every candidate of either leg gets both scores, each is z-scored over the candidates of the
            query, and the weighted mean ranks. ``server``: each leg keeps its own candidates, fused by ``technique``
            (OpenSearch's own hybrid; the embedded engine computes the same formula).
        vector_weight: weight of the kNN leg in [0, 1]; BM25 has the rest.
        candidates: taken from each leg before fusion.
        rrf_k: the rank constant of reciprocal rank fusion (Cormack et al., SIGIR 2009: 60).
    """

    fusion: Fusion = "completed"
    technique: Technique = "min_max"
    vector_weight: float = 0.54
    candidates: int = 200
    rrf_k: int = 60


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One query. ``vector`` (float32, shape (dims,), L2-normalised) is required for ``knn`` and ``hybrid``.

    ``cursor`` is what the page before returned as ``next_cursor``; pages never overlap or skip while the index stands still.
    ``highlight`` asks for the places that the words were found in, ``explain`` for how each score came about.
    """

    query: str
    mode: Mode = "hybrid"
    top_k: int = 10
    filters: tuple[Filter, ...] = ()
    vector: NDArray[np.float32] | None = field(default=None, compare=False)
    cursor: str | None = None
    tuning: HybridTuning = field(default_factory=HybridTuning)
    highlight: bool = False
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Reranked:
    """What a reranker made of a hit.

    Attributes:
        score: its own, on its own scale; the hit's ``score`` from then on, before preferences of an intent move it.
        fused: the hit's score in the search.
        place: where the search had it, from 1.
    """

    score: float
    fused: float
    place: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One chunk that was found. ``legs`` holds the raw score of each leg that scored it (BM25; cosine similarity).

    ``highlights`` are (start, end) offsets into ``text``, in order: numbers, so that no markup can run. ``explanation``
    is the engine's own account of the score, for people.
    """

    chunk_id: str
    document_id: str
    title: str
    text: str
    source: str
    score: float
    legs: Mapping[str, float]
    page: int | None = None
    section: str = ""
    start: int = 0
    end: int = 0
    position: int = 0
    metadata: Mapping[str, MetadataValue | tuple[MetadataValue, ...]] = field(default_factory=dict)
    highlights: tuple[tuple[int, int], ...] = ()
    explanation: Mapping[str, object] | None = None
    rerank: Reranked | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """The rule of the configuration that a question fell under, and what it changed.

    Attributes:
        matched: the pattern, or the example, that fitted; ``fit`` says how well, from 0 to 1.
        mode: set where the rule chose the mode; what the request names outranks it.
        filters, boosts: those of the rule that were applied, as the configuration writes them.
        boosted: hits of this page that a boost fits.
    """

    name: str
    matched: str
    fit: float
    mode: Mode | None = None
    filters: tuple[str, ...] = ()
    boosts: tuple[str, ...] = ()
    boosted: int = 0


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first. ``degraded`` says why something other than what was asked for served them."""

    hits: tuple[Hit, ...]
    mode: Mode
    took_ms: float
    degraded: tuple[str, ...] = ()
    next_cursor: str | None = None
    intent: Intent | None = None
