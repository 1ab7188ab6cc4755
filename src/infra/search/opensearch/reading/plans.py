"""How each kind of request is answered, as generators that yield searches and are sent the answers. Pure.

Because a plan does no I/O, plans of many requests advance together: the searches of all of them make one multi-search.

Rounds: one leg 1; `completed` 2 (candidates; their scores, with the payloads of likely winners), and a third where the
guess missed one; `server` 1, and another where a tie crosses the page's end or highlights are asked for; fused by the
client for the server 2.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from .....core.search import Hit, SearchRequest
from .....telemetry.stages import stage
from ... import cursors, fusion
from ...accounts import Account, account, completed_account, cosine_account, server_account
from .. import fields
from ..records import chunk_key, hit_from, shown_from
from . import query
from .filters import Clause
from .marks import Marks
from .pages import TIES, Key, cursor_behind, in_order, key_of, place_of, tie_is_open, unfused

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_WINDOW: Final = 100_000
"""Deepest hit of one search: `index.max_result_window` of `search_config`."""

Found = Mapping[str, Any]
"""One hit as the server gives it."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request after checking.

    Attributes:
        vector: float32 of the right length where the mode needs one.
        restriction: access scope and filters, for every leg.
        mark: fingerprint of request and scope.
        marks: what the server puts around found words; None where none are asked for.
        added: what the server adds to every score (`Capabilities.added`).
        pipeline: name of the search pipeline for server fusion; None sends one inline.
    """

    request: SearchRequest
    vector: NDArray[np.float32] | None
    restriction: Sequence[Clause]
    mark: str
    wording: query.Wording
    marks: Marks | None = None
    pipeline: str | None = None
    added: float = 0.0

    @property
    def pool(self) -> int:
        """Candidates of each leg of a hybrid search: from the request alone, so that all its pages cut one ranking."""
        return max(self.request.tuning.candidates, self.request.top_k)

    @property
    def marking(self) -> dict[str, Any]:
        """The part of a body that asks for marks."""
        return query.marked(self.request.query, self.marks.pair) if self.marks is not None else {}

    @property
    def page(self) -> tuple[int, int]:
        """First place of the page, and the place behind its last."""
        offset = cursors.decode_offset(self.request.cursor, self.mark)
        return offset, offset + self.request.top_k

    def near(self, k: int, restricted_to: Sequence[Clause] | None = None) -> Clause:
        assert self.vector is not None
        return query.nearest(self.vector, k, self.restriction if restricted_to is None else restricted_to)

    def scores(self, found: Sequence[Found], *, cosine: bool = False) -> list[float]:
        """Of hits of a `query.ranked` search: what the query itself gave each, or the cosine similarity that this stands for."""
        scores = [float(one["sort"][0]) - self.added for one in found]
        return [_cosine(score) for score in scores] if cosine else scores

    def words(self) -> Clause:
        return query.restricted(query.words(self.request.query, self.wording), self.restriction)


@dataclass(frozen=True, slots=True)
class Search:
    """One search of a round.

    Attributes:
        leg_scores: the answer names each hit's leg scores; a request of its own (a multi-search cannot).
        refusable: the server may be unable to do this; a 400 is sent back as `Refused`. A request of its own as well.
    """

    body: Mapping[str, Any]
    leg_scores: bool = False
    refusable: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The server cannot do this kind of search."""

    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    hits: tuple[Hit, ...]
    next_cursor: str | None
    degraded: tuple[str, ...] = ()


Plan = Generator[list[Search], list[Any], Outcome]
"""Yields a round of searches, is sent their answers in order."""


def one_leg(question: Question) -> Plan:
    """Mode `bm25` or `knn`."""
    request = question.request
    place = place_of(request, question.mark)
    lexical = request.mode == "bm25"
    # One k for the first pages: an approximate search of another size may rank others among the first.
    clause = question.words() if lexical else question.near(max(request.tuning.candidates, place.seen + request.top_k + 1))
    body = query.ranked(clause, request.top_k + 1, shown=True, after=place.after) | _extras(question)
    (answer,) = yield [Search(body)]
    found = _hits(answer)
    page = found[: request.top_k]
    ranked = []
    for one, score in zip(page, question.scores(page, cosine=not lexical), strict=True):
        told = (_by_server(one, score, question) if lexical else cosine_account(score)) if request.explain else None
        ranked.append(_Ranked(one, score, {request.mode: score}, told))
    after = cursor_behind(page[-1], place.seen + len(page), question.mark) if len(found) > len(page) else None
    return Outcome(_made(ranked, question), after)


def _by_server(one: Found, score: float, question: Question) -> Account | None:
    told: Account | None = one.get("_explanation")
    if told is None or not question.added:
        return told
    return account(score, f"the server's score without the {question.added:g} that document-level security adds", told)


def completed(question: Question) -> Plan:
    """Every candidate of either leg gets the score of both; one that no word matches has BM25 0."""
    start, end = question.page
    own_words = query.restricted(query.own_words(question.request.query, question.wording), question.restriction)
    own, near = yield [
        Search(query.ranked(own_words, question.pool, shown=False)),
        Search(query.ranked(question.near(question.pool), question.pool, shown=False)),
    ]
    lexical, vector = _by_key(own, question), _by_key(near, question, cosine=True)
    keys = sorted(lexical.keys() | vector.keys())
    # Of 100 questions on Cranfield 24 needed a third round with half a page more, 3 with two pages more.
    guess = _likely(keys, lexical, vector, question.request.tuning.vector_weight)[start : end + 2 * (end - start) + 10]
    bm25, exact, shown = yield from _scores(question, keys, vector, guess, any_words=bool(lexical))
    with stage("search.fusion"):
        keys = [key for key in keys if key in bm25]  # what is gone since is no candidate
        knn_scores = np.array([exact.get(key, 0.0) for key in keys])  # no vector: a vector of zeros
        bm25_scores = np.array([bm25[key] for key in keys])
        fused = fusion.completed(knn_scores, bm25_scores, question.request.tuning.vector_weight)
        order = np.lexsort((np.arange(len(keys)), -fused)).tolist()
    shown |= yield from _missing(question, [keys[at] for at in order[start:end]], shown)
    ranked = []
    for at in order[start:end]:
        if keys[at] in shown:
            legs = {"bm25": float(bm25_scores[at]), "knn": float(knn_scores[at])}
            told = completed_account(at, knn_scores, bm25_scores, question.request.tuning) if question.request.explain else None
            ranked.append(_Ranked(shown[keys[at]], float(fused[at]), legs, told))
    return Outcome(_made(ranked, question), cursors.encode(end, question.mark) if len(order) > end else None)


def _likely(keys: Sequence[Key], lexical: Mapping[Key, float], vector: Mapping[Key, float], weight: float) -> list[Key]:
    """Candidates by what is known of them after the first round, likely winners first."""
    lowest = min(vector.values(), default=0.0)
    own = np.array([lexical.get(key, 0.0) for key in keys])
    near = np.array([vector.get(key, lowest) for key in keys])
    return [keys[at] for at in np.argsort(-fusion.completed(near, own, weight), kind="stable").tolist()]


_Scores = tuple[Mapping[Key, float], Mapping[Key, float], dict[Key, Found]]


def _scores(
    question: Question, keys: Sequence[Key], vector: Mapping[Key, float], guess: Sequence[Key], *, any_words: bool
) -> Generator[list[Search], list[Any], _Scores]:
    """(BM25 of all candidates, cosine of all that have a vector, what is shown of the guessed ones)."""
    gap = [key for key in keys if key not in vector]
    searches = []
    if any_words:
        searches.append(Search(query.scored_among(query.words(question.request.query, question.wording), _ids(keys))))
    if gap:
        # Within a filter of no more than k chunks the search is exact.
        searches.append(Search(query.ranked(question.near(len(gap), [query.among(_ids(gap))]), len(gap), shown=False)))
    if guess:
        searches.append(_shown(question, guess))
    answers = iter((yield searches) if searches else ())
    bm25 = _by_key(next(answers), question) if any_words else dict.fromkeys(keys, 0.0)
    exact = dict(vector) | (_by_key(next(answers), question, cosine=True) if gap else {})
    return bm25, exact, {key_of(one): one for one in _hits(next(answers))} if guess else {}


def on_the_server(question: Question, impossible: str | None) -> Plan:
    """OpenSearch's hybrid, or the same formula here where the server cannot do it.

    Args:
        impossible: why the server cannot, as far as that is known.
    """
    if impossible is None:
        outcome = yield from _hybrid(question)
        if isinstance(outcome, Outcome):
            return outcome
        impossible = outcome.reason
    outcome = yield from _fused_here(question)
    return replace(outcome, degraded=(f"fusion on the server was not possible ({impossible}): both legs were fused by the client", *outcome.degraded))


def _hybrid(question: Question) -> Generator[list[Search], list[Any], Outcome | Refused]:
    start, end = question.page
    request = question.request
    pipeline = query.Pipeline(question.pipeline) if question.pipeline else query.Pipeline.inline(request.tuning, explain=request.explain)
    extras = {"explain": True} if request.explain and not question.pipeline else {}
    lexical, near = query.words(request.query, question.wording), question.near(question.pool)
    size, found = min(end + 1 + TIES, MAX_WINDOW), []
    while True:
        body = query.hybrid(query.restricted(lexical, question.restriction), near, pipeline, depth=question.pool, size=size) | extras
        (answer,) = yield [Search(body, leg_scores=True, refusable=True)]
        if isinstance(answer, Refused):
            return answer
        found = _hits(answer)
        if reason := unfused(found):
            return Refused(reason)
        if size == MAX_WINDOW or not tie_is_open(found, size, end):
            break
        size = min(8 * size, MAX_WINDOW)
    ranking = in_order(found)
    page = ranking[start:end]
    marked = (yield from _missing(question, [key_of(one) for one in page], {})) if question.marks is not None else {}
    page_hits = []
    for one in page:
        legs = _legs(one)
        page_hits.append(_Ranked({**one, **_marks_of(marked.get(key_of(one)))}, float(one["_score"]), legs, _by_pipeline(one, legs, question)))
    return Outcome(_made(page_hits, question), cursors.encode(end, question.mark) if len(ranking) > end else None)


def _by_pipeline(one: Found, legs: Mapping[str, float], question: Question) -> Account | None:
    """What can be said of a named pipeline's score."""
    if not question.request.explain or question.pipeline is None:
        return None
    return account(one["_score"], f"search pipeline {question.pipeline}: of", *(account(score, name) for name, score in legs.items()))


def _marks_of(one: Found | None) -> dict[str, Any]:
    return {"highlight": one["highlight"]} if one and "highlight" in one else {}


def _legs(one: Found) -> dict[str, float]:
    scores = one.get("matched_queries")
    if not isinstance(scores, Mapping):
        return {}
    return {name: _cosine(scores[name]) if name == "knn" else float(scores[name]) for name in query.LEGS if name in scores}


def _fused_here(question: Question) -> Plan:
    """What the server's hybrid would compute: each leg keeps its own candidates."""
    start, end = question.page
    tuning = question.request.tuning
    lexical, near = yield [
        Search(query.ranked(question.words(), question.pool, shown=False)),
        Search(query.ranked(question.near(question.pool), question.pool, shown=False)),
    ]
    keys = sorted({key_of(one) for one in (*_hits(lexical), *_hits(near))})
    row = {key: at for at, key in enumerate(keys)}
    legs = {"bm25": _leg(lexical, row, question), "knn": _leg(near, row, question, cosine=True)}
    with stage("search.fusion"):
        fused = fusion.server(legs["knn"], legs["bm25"], tuning.technique, tuning.vector_weight, tuning.rrf_k)
    rows, scores = fused.ids[start:end].tolist(), fused.scores[start:end].tolist()
    shown = yield from _missing(question, [keys[at] for at in rows], {})
    raw = {name: dict(zip(leg.ids.tolist(), leg.scores.tolist(), strict=True)) for name, leg in legs.items()}
    ranked = []
    for at, score in zip(rows, scores, strict=True):
        if keys[at] in shown:
            own = {name: values[at] for name, values in raw.items() if at in values}
            told = server_account(at, legs["knn"], legs["bm25"], tuning) if question.request.explain else None
            ranked.append(_Ranked(shown[keys[at]], score, own, told))
    return Outcome(_made(ranked, question), cursors.encode(end, question.mark) if len(keys) > end else None)


def _leg(answer: Any, row: Mapping[Key, int], question: Question, *, cosine: bool = False) -> fusion.Leg:
    found = _hits(answer)
    rows = np.array([row[key_of(one)] for one in found], dtype=np.int64)
    return fusion.Leg(rows, np.array(question.scores(found, cosine=cosine), dtype=np.float64))


def _missing(question: Question, keys: Sequence[Key], known: Mapping[Key, Found]) -> Generator[list[Search], list[Any], dict[Key, Found]]:
    """What is shown of those that are not known yet."""
    rest = [key for key in keys if key not in known]
    if not rest:
        return {}
    (answer,) = yield [_shown(question, rest)]
    return {key_of(one): one for one in _hits(answer)}


def _shown(question: Question, keys: Sequence[Key]) -> Search:
    # With the restriction: between two rounds a document may have been given to others.
    return Search(query.shown_among(_ids(keys), question.restriction) | question.marking)


def _extras(question: Question) -> dict[str, Any]:
    return question.marking | {"explain": True} if question.request.explain and question.request.mode == "bm25" else question.marking


class _Ranked(NamedTuple):
    """One hit in its place."""

    found: Found
    score: float
    legs: Mapping[str, float]
    told: Account | None


def _made(ranked: Sequence[_Ranked], question: Question) -> tuple[Hit, ...]:
    payloads = shown_from([one.found["fields"][fields.SHOWN][0] for one in ranked])
    hits = [hit_from(payload, one.score, one.legs) for payload, one in zip(payloads, ranked, strict=True)]
    if question.marks is not None or question.request.explain:
        hits = [_told(hit, one, question) for hit, one in zip(hits, ranked, strict=True)]
    return tuple(hits)


def _told(hit: Hit, one: _Ranked, question: Question) -> Hit:
    """With the marks and the account that were asked for."""
    if question.marks is not None:
        texts = one.found.get("highlight", {}).get(fields.TEXT, ())
        hit = replace(hit, highlights=question.marks.places("".join(texts), query.clean(hit.text)))
    return replace(hit, explanation=one.told or one.found.get("_explanation")) if question.request.explain else hit


def _hits(answer: Any) -> list[Found]:
    # Where a multi-search leaves fields out (`sending`), an empty list of hits goes with them.
    found: list[Found] = answer.get("hits", {}).get("hits", [])
    return found


def _by_key(answer: Any, question: Question, *, cosine: bool = False) -> dict[Key, float]:
    """The score of each hit of a `query.ranked` search, in its order."""
    found = _hits(answer)
    return dict(zip(map(key_of, found), question.scores(found, cosine=cosine), strict=True))


def _ids(keys: Sequence[Key]) -> list[str]:
    return [chunk_key(*key) for key in keys]


def _cosine(score: float) -> float:
    """OpenSearch scores cosine similarity as (1 + cos) / 2."""
    return 2.0 * score - 1.0
