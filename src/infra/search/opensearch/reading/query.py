"""Bodies of searches. Pure.

A chunk's BM25 score is half its own (`body`), half that of its surroundings (`context`), and only words of its own find
it, as in the embedded engine. Text never meets a query parser: `match` takes it as words.

A `hybrid` query without a search pipeline is answered with status 200 and senseless scores, so the only function that
spells one asks for a `Pipeline`, and there is no empty one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .....core.search import HybridTuning
from .....errors import ConfigurationError
from ....search_config import search_pipeline
from ...text import segment_query
from .. import fields
from .filters import Clause

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ....config import SearchCfg

CONTEXT_WEIGHT: Final = 0.5
"""Share of the surroundings in a chunk's score; `embedded/lexical.py` has the measurements."""
MAX_K: Final = 10_000
"""Largest ``k`` that the server takes."""
_WALK: Final = 100
"""Least ``k``. With the lucene engine it is also the width of the walk through the graph, and a narrow walk may miss the very
nearest: of 12 documents, k = 2 once missed the first. What passes the filter is compared one by one where it is no more than k."""

SORT: Final[list[dict[str, str]]] = [{"_score": "desc"}, {fields.DOC_KEY: "asc"}, {fields.POSITION: "asc"}]
"""The one order that pages rely on: equal scores by key."""
KEYS: Final[dict[str, Any]] = {"stored_fields": "_none_", "track_total_hits": False}
"""Nothing is read but what sorting reads: 200 hits with their `_id` take 7 ms more (stored fields are compressed)."""
SHOWN: Final[dict[str, Any]] = {**KEYS, "docvalue_fields": [fields.SHOWN, fields.DOC_KEY, fields.POSITION]}
"""What hits are made of, from doc values alone."""

LEGS: Final = ("bm25", "knn")
"""Names of the sub-queries of a hybrid query, in their order."""

_SHORT_WORDS: Final = 32
_EXPANSIONS: Final = 8
"""Of a misspelled word; 2 fields x 32 words x 8 stay within the server's 1,024 clauses."""
_MARKED_CHARS = 900
"""Of a question; in an unspaced script each is a clause, and the server takes 1,024."""
_MARKED_TEXT = 1_000_000
"""Characters of a text that are looked at; a longer one would fail the search (`index.highlight.max_analyzed_offset`)."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Wording:
    """How BM25 reads a question, beyond words of body and surroundings; all off by default.

    Attributes:
        fields: further fields and their boosts.
        fuzziness: edits that a word may differ by, for questions of up to 32 words.
        phrase_boost: weight of passages that hold the question's words as a phrase, for questions of up to 32 words.
    """

    fields: tuple[tuple[str, float], ...] = ()
    fuzziness: str = "0"
    phrase_boost: float = 0.0

    @classmethod
    def of(cls, cfg: SearchCfg) -> Wording:
        """
        Raises:
            ConfigurationError: `[search] fields` names one that the index does not have.
        """
        return cls(tuple(map(_boosted, cfg.fields)), cfg.fuzziness, cfg.phrase_boost)


def _boosted(spelled: str) -> tuple[str, float]:
    name, _, boost = spelled.partition("^")
    known = (fields.TITLE, fields.SECTION, fields.TEXT)
    try:
        weight = float(boost or "1")
    except ValueError:
        weight = -1.0
    if name not in known or not 0.0 < weight <= 1000.0:
        raise ConfigurationError(f"{spelled!r} is no field with a boost.", setting="search.fields", hint=f"Use {', '.join(known)}, such as title^2.")
    return name, weight


# -- clauses


def own_words(text: str, wording: Wording) -> Clause:
    """Chunks that hold any of the words, scored by themselves."""
    return {"match": {fields.BODY: {"query": segment_query(text), **_fuzzy(text, wording)}}}


def any_chunk() -> Clause:
    """Scores nothing: what hits have of it, the server added."""
    return {"bool": {"filter": [{"term": {fields.KIND: fields.CHUNK}}]}}


def words(text: str, wording: Wording) -> Clause:
    """Chunks that hold any of the words, scored together with their surroundings."""
    segmented = segment_query(text)
    fuzzy = _fuzzy(text, wording)
    own = {"match": {fields.BODY: {"query": segmented, "boost": 1.0 - CONTEXT_WEIGHT, **fuzzy}}}
    around = {"match": {fields.CONTEXT: {"query": segmented, "boost": CONTEXT_WEIGHT, **fuzzy}}}
    return {"bool": {"must": [own], "should": [around, *_extras(text, wording)]}}


def _fuzzy(text: str, wording: Wording) -> dict[str, Any]:
    if wording.fuzziness == "0" or not _is_short(text):
        return {}
    return {"fuzziness": wording.fuzziness, "prefix_length": 1, "max_expansions": _EXPANSIONS}


def _extras(text: str, wording: Wording) -> list[Clause]:
    if not _is_short(text):
        return []
    plain = clean(text)
    extras: list[Clause] = [{"match": {name: {"query": plain, "boost": boost}}} for name, boost in wording.fields]
    if wording.phrase_boost > 0.0:
        extras.append({"match_phrase": {fields.TEXT: {"query": plain, "slop": 2, "boost": wording.phrase_boost}}})
    return extras


def _is_short(text: str) -> bool:
    """Few enough words, unspaced scripts one character a word, for clauses beyond the two fields."""
    return len(_WORD.findall(segment_query(text))) <= _SHORT_WORDS


def clean(text: str) -> str:
    """What UTF-8 can say: lone surrogates become question marks, one for one."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def nearest(vector: NDArray[np.float32], k: int, restricted_to: Sequence[Clause]) -> Clause:
    """At least the ``k`` nearest of what passes; the filter is inside, so that there are k."""
    walk = min(max(k, _WALK), MAX_K)
    return {"knn": {fields.VECTOR: {"vector": vector, "k": walk, "filter": {"bool": {"filter": list(restricted_to)}}}}}


def restricted(query: Clause, restricted_to: Sequence[Clause]) -> Clause:
    return {"bool": {"filter": list(restricted_to), "must": [query]}}


def among(ids: Sequence[str]) -> Clause:
    return {"ids": {"values": list(ids)}}


# -- bodies


def ranked(query: Clause, size: int, *, shown: bool, after: Sequence[Any] | None = None) -> dict[str, Any]:
    """The best ``size``, in the one order, their keys in ``sort``; beyond ``after``, the ``sort`` of the last hit before."""
    body = {"size": size, "query": query, "sort": SORT, **KEYS}
    if shown:
        body["docvalue_fields"] = [fields.SHOWN]  # the keys are in `sort`
    return body if after is None else {**body, "search_after": list(after)}


def scored_among(query: Clause, ids: Sequence[str]) -> dict[str, Any]:
    """The score of each of these chunks, 0 where the query does not match."""
    return ranked({"bool": {"filter": [among(ids)], "should": [query], "minimum_should_match": 0}}, len(ids), shown=False)


def shown_among(ids: Sequence[str], restricted_to: Sequence[Clause]) -> dict[str, Any]:
    """What is shown of these chunks, as far as they are there and the restriction lets them through."""
    return {"size": len(ids), "query": {"bool": {"filter": [*restricted_to, among(ids)]}}, **SHOWN}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What makes one ranking of two legs on the server: the name of a search pipeline, or its definition."""

    value: str | dict[str, Any]

    def __post_init__(self) -> None:
        if not self.value or self.value == "_none":
            raise ValueError("A hybrid query without a pipeline is answered wrongly, with status 200.")

    @classmethod
    def inline(cls, tuning: HybridTuning, *, explain: bool = False) -> Pipeline:
        """The request's own technique and weights, in the order of `LEGS`."""
        weights = (1.0 - tuning.vector_weight, tuning.vector_weight)
        definition = search_pipeline(tuning.technique, weights, tuning.rrf_k)
        return cls({**definition, "response_processors": [{"hybrid_score_explanation": {}}]} if explain else definition)


def hybrid(lexical: Clause, near: Clause, pipeline: Pipeline, *, depth: int, size: int) -> dict[str, Any]:
    """OpenSearch's own hybrid. Each leg is named, so that the answer can say what each gave.

    Args:
        depth: candidates of each leg (and shard); the same for all pages of a request.
    """
    named = [{"bool": {"must": [leg], "_name": name}} for name, leg in zip(LEGS, (lexical, near), strict=True)]
    return {"size": size, "query": {"hybrid": {"queries": named, "pagination_depth": depth}}, "search_pipeline": pipeline.value, **SHOWN}


def marked(text: str, marks: tuple[str, str]) -> dict[str, Any]:
    """The part of a body that asks for the whole text of each hit with marks around the question's words."""
    wanted = {"match": {fields.TEXT: clean(text)[:_MARKED_CHARS]}}
    field = {"number_of_fragments": 0, "highlight_query": wanted}
    tags = {"pre_tags": [marks[0]], "post_tags": [marks[1]]}
    return {"highlight": {**tags, "max_analyzer_offset": _MARKED_TEXT, "fields": {fields.TEXT: field}}}
