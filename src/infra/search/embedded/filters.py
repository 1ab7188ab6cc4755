"""Metadata filters as lookups in the truth; how values compare is `comparing.py`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ....core.search import AnyOf, Exists, Filter
from ..comparing import CHUNK_FIELDS, NUMBER, check_filter, equals, within
from .records import sql_value, to_sql

_OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

Alternative = tuple[str, tuple[Any, ...], int]
"""A comparison of the column ``value`` as SQL, its parameters, and the kind of value it holds for."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter, ready to look up.

    Attributes:
        by_chunk: the lookups give chunk rows, else document ordinals.
        negate: everything but what they give.
        lookups: SQL and parameters; the union of their first columns counts.
    """

    by_chunk: bool
    negate: bool
    lookups: tuple[tuple[str, tuple[Any, ...]], ...]


def compile_filter(item: Filter) -> Condition:
    """
    Raises:
        FilterError: no field, no value, no bound, or a value that cannot be compared.
    """
    check_filter(item)
    if isinstance(item, Exists):
        return _condition(item.field, None, negate=not item.present)
    if isinstance(item, AnyOf):
        alternatives: list[Alternative] = [("value = ?", (sql_value(value),), kind) for kind, value in equals(item)]
    else:
        alternatives = [(_comparison(bounds), tuple(map(sql_value, bounds.values())), kind) for kind, bounds in within(item)]
    return _condition(item.field, alternatives, negate=False)


def _condition(field: str, alternatives: list[Alternative] | None, *, negate: bool) -> Condition:
    kind = CHUNK_FIELDS.get(field)
    if kind is None:
        base, parameters = "SELECT DISTINCT doc FROM facets WHERE field = ?", (to_sql(field),)
        if alternatives is None:
            return Condition(False, negate, ((base, parameters),))
        return Condition(False, negate, tuple((f"{base} AND kind = ? AND {sql}", (*parameters, own, *values)) for sql, values, own in alternatives))
    present = f"{field} IS NOT NULL" if kind == NUMBER else f"{field} <> ''"
    base = f"SELECT row FROM chunks WHERE {present}"  # noqa: S608 - the two names stand in CHUNK_FIELDS
    if alternatives is None:
        return Condition(True, negate, ((base, ()),))
    own_kind = [(sql.replace("value", field), values) for sql, values, own in alternatives if own == kind]
    return Condition(True, negate, tuple((f"{base} AND {sql}", values) for sql, values in own_kind))


def _comparison(bounds: dict[str, Any]) -> str:
    return " AND ".join(f"value {_OPERATORS[name]} ?" for name in bounds)
