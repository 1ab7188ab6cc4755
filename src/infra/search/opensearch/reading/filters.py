"""Metadata filters and access scopes as clauses of a query; how values compare is `comparing.py`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .....core.identity import AccessScope
from .....core.search import AnyOf, Exists, Filter, Range
from ...access import scope_terms
from ...comparing import CHUNK_FIELDS, check_filter, equals, within
from .. import fields
from ..facets import exists_term, kind_limits, value_term

Clause = dict[str, Any]

_MAX_TERMS: Final = 65_536
"""Of one clause (`index.max_terms_count`)."""


def restriction(scope: AccessScope, filters: Sequence[Filter], *, kind: str = fields.CHUNK) -> list[Clause]:
    """What every leg of a search is restricted to before its best are taken: the ``filter`` of a ``bool`` query.

    Raises:
        FilterError: a filter is malformed.
    """
    clauses = [{"term": {fields.KIND: kind}}, *map(clause, filters)]
    return clauses if scope.system else [*clauses, visible(scope)]


def visible(scope: AccessScope) -> Clause:
    """What carries an access term of the scope."""
    terms = scope_terms(scope)
    if not terms:
        return {"match_none": {}}
    parts = [{"terms": {fields.ALLOW: terms[start : start + _MAX_TERMS]}} for start in range(0, len(terms), _MAX_TERMS)]
    return parts[0] if len(parts) == 1 else {"bool": {"should": parts, "minimum_should_match": 1}}


def clause(item: Filter) -> Clause:
    """
    Raises:
        FilterError: no field, no value, no bound, or a value that cannot be compared.
    """
    check_filter(item)
    if isinstance(item, Exists):
        there = {"term": {fields.FACETS: exists_term(item.field)}}
        return there if item.present else {"bool": {"must_not": [there]}}
    if isinstance(item, AnyOf):
        return {"terms": {fields.FACETS: [value_term(item.field, kind, value) for kind, value in equals(item)]}}
    parts = [{"range": {fields.FACETS: _limits(item, kind, bounds)}} for kind, bounds in within(item)]
    if len(parts) == 1:
        return parts[0]
    return {"bool": {"should": parts, "minimum_should_match": 1}} if parts else {"match_none": {}}


def _limits(item: Range, kind: int, bounds: Mapping[str, Any]) -> dict[str, str]:
    """The one range of terms that all bounds leave, within the values of one kind."""
    first, end = kind_limits(item.field, kind)
    terms = {name: value_term(item.field, kind, value) for name, value in bounds.items()}
    lows = [(term, name == "gt") for name, term in terms.items() if name in ("gt", "gte")]
    highs = [(term, name == "lte") for name, term in terms.items() if name in ("lt", "lte")]
    # Of equal bounds the one that leaves the value out is the narrower; terms sort by code points, as the server sorts them.
    low, without = max(lows, default=(first, False))
    high, within_it = min(highs, default=(end, False))
    return {"gt" if without else "gte": low, "lte" if within_it else "lt": high}


def split(filters: Sequence[Filter]) -> tuple[list[Filter], list[Filter]]:
    """(filters on documents, filters on chunks).

    Raises:
        FilterError: a filter is malformed; the first of them.
    """
    for item in filters:
        check_filter(item)
    on_chunks = [item for item in filters if item.field in CHUNK_FIELDS]
    return [item for item in filters if item.field not in CHUNK_FIELDS], on_chunks
