"""Pages of a ranking that was arranged anew block by block: cut from the blocks, they never overlap or skip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from ..core.search import Hit, SearchResult
from ..errors import QueryError
from ..infra.search import cursors

Fetch = Callable[[str | None], Awaitable[SearchResult]]
"""The engine's hits from a cursor of its own on, a block of them."""


@dataclass(frozen=True, slots=True)
class Arranged:
    """A block in its new order.

    Attributes:
        degraded: why it is less than asked for.
        reranked: whether a reranker ordered it; None where none was asked.
    """

    hits: Sequence[Hit]
    degraded: tuple[str, ...] = ()
    reranked: bool | None = None


Arrange = Callable[[SearchResult, bool, bool | None], Awaitable[Arranged]]
"""A block, whether it is the first of all, and what its `Arranged.reranked` was on the page before (None: there was none)."""


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a page begins: the engine's cursor of the block, the hits of it that went before, and how it was arranged then."""

    at: str | None = None
    start: int = 0
    reranked: bool | None = None

    def encoded(self, mark: str) -> str:
        return cursors.encode([self.at, self.start] if self.reranked is None else [self.at, self.start, self.reranked], mark)


async def page(fetch: Fetch, arrange: Arrange, top_k: int, cursor: str | None, mark: str) -> SearchResult:
    """One page of the ranking.

    Args:
        fetch: asks the engine for a block.
        arrange: puts a block in order, the same way whenever it is asked.
        cursor: `next_cursor` of the page before, which this function made.
        mark: fingerprint of the request.

    Raises:
        QueryError: the cursor is not one of this request.
    """
    place = _position(cursor, mark)
    after: _Position | None
    hits: list[Hit] = []
    took, degraded = 0.0, dict[str, None]()
    while True:
        result = await fetch(place.at)
        block = await arrange(result, place.at is None, place.reranked)
        taken = block.hits[place.start : place.start + top_k - len(hits)]
        hits += taken
        start = place.start + len(taken)
        took += result.took_ms
        degraded.update(dict.fromkeys((*block.degraded, *result.degraded)))
        if start < len(block.hits):
            after = _Position(place.at, start, block.reranked)
            break
        after = place = _Position(result.next_cursor)
        if place.at is None:
            after = None
            break
        if len(hits) == top_k:
            break
    return replace(result, hits=tuple(hits), took_ms=took, degraded=tuple(degraded), next_cursor=None if after is None else after.encoded(mark))


def _position(cursor: str | None, mark: str) -> _Position:
    if cursor is None:
        return _Position()
    position = cursors.decode(cursor, mark)
    if isinstance(position, list) and len(position) in (2, 3):
        at, start, *rest = position
        if (at is None or isinstance(at, str)) and type(start) is int and start >= 0 and all(isinstance(one, bool) for one in rest):
            return _Position(at, start, *rest)
    raise QueryError("The cursor cannot be read.", hint="Send next_cursor of the page before, unchanged.")
