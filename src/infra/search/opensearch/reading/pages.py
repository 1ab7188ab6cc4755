"""Where a page begins and how its hits are ordered. Pure.

Searches by one leg go on behind the last hit of the page before (its score and key: `search_after`), so that a page
costs the same however deep it lies. Hybrid searches fuse a pool of candidates that follows from the request alone; their
pages are cut out of that one ranking by offset.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .....core.identity import AccessScope
from .....core.search import SearchRequest
from .....errors import QueryError
from ... import cursors
from .. import fields

Key = tuple[str, int]
"""A chunk's document key and place: `_id` in two parts."""

TIES: Final = 6
"""Hits fetched beyond a page of server fusion, so that most ties at its end are seen whole: reciprocal ranks tie in pairs."""


@dataclass(frozen=True, slots=True)
class Place:
    """Behind the last hit of the page before.

    Attributes:
        seen: hits of all pages before.
        after: `sort` of the last of them; None at the beginning.
    """

    seen: int = 0
    after: tuple[float, str, int] | None = None


def fingerprint(request: SearchRequest, scope: AccessScope) -> str:
    """Marks the cursors of a request; also names the copy of each shard that all its pages ask (`preference`)."""
    return cursors.request_fingerprint(request, scope)


def place_of(request: SearchRequest, mark: str) -> Place:
    """
    Raises:
        QueryError: the cursor cannot be read, or is of another request.
    """
    if request.cursor is None:
        return Place()
    match cursors.decode(request.cursor, mark):
        case [int(seen), float(score), str(key), int(position)] if seen > 0 and position >= 0 and math.isfinite(score):
            return Place(seen, (score, key, position))
    raise QueryError("The cursor cannot be read.", hint="Send next_cursor of the page before, unchanged.")


def cursor_behind(hit: Mapping[str, Any], seen: int, mark: str) -> str:
    """The cursor of the page behind this hit of a `query.ranked` search."""
    score, key, position = hit["sort"]
    return cursors.encode([seen, float(score), key, position], mark)


def key_of(hit: Mapping[str, Any]) -> Key:
    """Of a hit whose doc values were asked for, or which was sorted."""
    if "sort" in hit:
        _, key, position = hit["sort"]
        return key, position
    values = hit["fields"]
    return values[fields.DOC_KEY][0], values[fields.POSITION][0]


def in_order(hits: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """By score, equal scores by key: what the server leaves to chance."""
    return sorted(hits, key=lambda hit: (-hit["_score"], key_of(hit)))


def unfused(hits: Sequence[Mapping[str, Any]]) -> str:
    """Why these hits of a hybrid query are no ranking; empty where they are one.

    Without a processor that normalises, the answer is each shard's own: both legs' hits one after another, with marks of less
    than -4e9 for scores between them, and status 200.
    """
    if any(hit["_score"] < 0 for hit in hits) or len({key_of(hit) for hit in hits}) < len(hits):
        return "the search pipeline does not normalise scores"
    return ""


def tie_is_open(hits: Sequence[Mapping[str, Any]], size: int, end: int) -> bool:
    """Whether hits beyond the ``size`` that were asked for may belong before place ``end``: they tie with the last one before it."""
    return len(hits) >= size > end > 0 and bool(hits[-1]["_score"] == hits[end - 1]["_score"])
