"""Preferences of an intent rule: hits are ranked again by what their metadata says, the same way on every engine.

The engine's ranking is taken in blocks of at least `BLOCK` hits. Within a block a hit that a boost fits gains the boost's
weight times the standard deviation of the block's scores, which makes a weight mean the same whatever the scores are (BM25
sums, cosines, z-scores). Pages are cut from the blocks (`paging.py`), so they never overlap or skip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import pstdev
from typing import Any

from ..core.search import AnyOf, Exists, Filter, Hit
from ..infra.search.comparing import Comparable, equals, facet_value, within
from .intents import Boost

BLOCK = 100
"""Hits that compete for the places of a page: what lies deeper is never brought up."""


@dataclass(frozen=True, slots=True)
class Test:
    """A condition on hits, prepared once for a whole block."""

    condition: Filter
    accepted: frozenset[Comparable]
    bounds: tuple[tuple[int, dict[str, Any]], ...]

    def holds(self, hit: Hit) -> bool:
        """Whether the hit passes, by the rules that the engines' filters follow."""
        values = list(_values(hit, self.condition.field))
        if isinstance(self.condition, Exists):
            return bool(values) is self.condition.present
        if isinstance(self.condition, AnyOf):
            return any(value in self.accepted for value in values)
        return any(kind == held and _inside(value, limits) for kind, limits in self.bounds for held, value in values)


def prepare(condition: Filter) -> Test:
    if isinstance(condition, AnyOf):
        return Test(condition, frozenset(equals(condition)), ())
    return Test(condition, frozenset(), () if isinstance(condition, Exists) else tuple(within(condition)))


def block_size(top_k: int) -> int:
    """Hits asked of the engine at once; a page lies in two blocks at most."""
    return max(BLOCK, top_k)


def boosted(hits: Sequence[Hit], boosts: Sequence[Boost]) -> list[Hit]:
    """The hits, best first, their scores moved by the boosts that fit; of equal scores what is preferred stands first."""
    tests = [(prepare(boost.condition), boost.weight) for boost in boosts]
    spread = pstdev([hit.score for hit in hits]) if len(hits) > 1 else 0.0
    gains = [sum(weight for test, weight in tests if test.holds(hit)) for hit in hits]
    order = sorted(range(len(hits)), key=lambda at: (-(hits[at].score + gains[at] * spread), -gains[at], at))
    return [_moved(hits[at], gains[at] * spread) if gains[at] else hits[at] for at in order]


def _moved(hit: Hit, by: float) -> Hit:
    account = {**hit.explanation, "boost": by} if hit.explanation is not None else None
    return replace(hit, score=hit.score + by, explanation=account)


def fitting(hits: Sequence[Hit], boosts: Sequence[Boost]) -> int:
    """How many of the hits a boost fits."""
    tests = [prepare(boost.condition) for boost in boosts]
    return sum(any(test.holds(hit) for test in tests) for hit in hits)


def _values(hit: Hit, field: str) -> Iterator[Comparable]:
    own: dict[str, object] = {"document_id": hit.document_id, "title": hit.title, "source": hit.source, "section": hit.section, "page": hit.page}
    held = (own[field] if own[field] != "" else None) if field in own else hit.metadata.get(field)
    for value in held if isinstance(held, tuple) else () if held is None else (held,):
        if isinstance(value, str | int | float):
            yield facet_value(value)


def _inside(value: Any, limits: dict[str, Any]) -> bool:
    checks = {"gt": lambda limit: value > limit, "gte": lambda limit: value >= limit, "lt": lambda limit: value < limit, "lte": lambda limit: value <= limit}
    return all(checks[name](limit) for name, limit in limits.items())
