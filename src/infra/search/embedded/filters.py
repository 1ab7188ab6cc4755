"""Metadata filters as lookups in the truth. Pure.

How values compare: each stored value is a boolean, a number or a text, and only compares with its own kind. Because
filters also arrive as strings (HTTP, the command line), a string in a filter that spells a number or a boolean equals
that value as well, and a number or boolean in a filter equals the text that spells it: ``1`` and ``"1"`` in a filter both
find a stored ``1`` and a stored ``"1"``; ``1`` never finds a stored ``True``. Integers beyond 64 bits compare as floats.
An empty title, source, content type or section counts as absent; a field that nothing has matches nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ....core.documents import MetadataValue
from ....core.search import AnyOf, Exists, Filter, Range
from ....errors import FilterError
from .records import BOOLEAN, NUMBER, TEXT, facet_value, to_sql

MAX_VALUES = 10_000
"""Values of one any-of filter."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?")
_MAX_BITS = 10_000
"""Integers of more bits (3,010 digits) are refused: Python does not spell them out (its limit is 4,300 digits)."""

_BOUNDS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_CHUNK_FIELDS = {"page": NUMBER, "section": TEXT}

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
    if not item.field:
        raise FilterError("A filter needs the name of a field.")
    if isinstance(item, Exists):
        return _condition(item.field, None, negate=not item.present)
    return _condition(item.field, list(_equals(item) if isinstance(item, AnyOf) else _within(item)), negate=False)


def _condition(field: str, alternatives: list[Alternative] | None, *, negate: bool) -> Condition:
    kind = _CHUNK_FIELDS.get(field)
    if kind is None:
        base, parameters = "SELECT DISTINCT doc FROM facets WHERE field = ?", (to_sql(field),)
        if alternatives is None:
            return Condition(False, negate, ((base, parameters),))
        return Condition(False, negate, tuple((f"{base} AND kind = ? AND {sql}", (*parameters, own, *values)) for sql, values, own in alternatives))
    present = f"{field} IS NOT NULL" if kind == NUMBER else f"{field} <> ''"
    base = f"SELECT row FROM chunks WHERE {present}"  # noqa: S608 - the two names stand above
    if alternatives is None:
        return Condition(True, negate, ((base, ()),))
    own_kind = [(sql.replace("value", field), values) for sql, values, own in alternatives if own == kind]
    return Condition(True, negate, tuple((f"{base} AND {sql}", values) for sql, values in own_kind))


def _equals(item: AnyOf) -> Iterator[Alternative]:
    if not item.values:
        raise FilterError(f"The filter on {item.field!r} names no value.")
    if len(item.values) > MAX_VALUES:
        raise FilterError(f"The filter on {item.field!r} names {len(item.values):,} values; at most {MAX_VALUES:,} are allowed.")
    for kind, value in dict.fromkeys(pair for given in item.values for pair in spellings(_checked(item.field, given))):
        yield "value = ?", (value,), kind


def spellings(value: MetadataValue) -> list[tuple[int, Any]]:
    """(kind, value) of all stored values that ``value`` in a filter equals."""
    found = [facet_value(value)]
    if isinstance(value, bool):
        found.append((TEXT, "true" if value else "false"))
    elif isinstance(value, int):
        found.append((TEXT, str(value)))
    elif isinstance(value, float):
        found.append((TEXT, repr(value)))
        if value.is_integer():
            found.append((TEXT, str(int(value))))
    else:
        number = as_number(value)
        if number is not None:
            found.append(facet_value(number))
        if value in ("true", "false"):
            found.append((BOOLEAN, int(value == "true")))
    return found


def as_number(text: str) -> int | float | None:
    """The number that a string spells, plainly written; None for anything else."""
    if not _NUMBER.fullmatch(text):
        return None
    number = int(text) if text.lstrip("+-").isdecimal() else float(text)
    return number if isinstance(number, int) or math.isfinite(number) else None


def _within(item: Range) -> Iterator[Alternative]:
    bounds = {name: _checked(item.field, value) for name in _BOUNDS if (value := getattr(item, name)) is not None}
    if not bounds:
        raise FilterError(f"The range on {item.field!r} has no bound.", hint="Give gt, gte, lt or lte.")
    if any(isinstance(value, bool) for value in bounds.values()):
        raise FilterError(f"The range on {item.field!r} has a boolean bound.")
    numbers = {name: as_number(value) if isinstance(value, str) else value for name, value in bounds.items()}
    if all(value is not None for value in numbers.values()):
        yield _comparison({name: value for name, value in numbers.items() if value is not None}), _parameters(numbers), NUMBER
    if all(isinstance(value, str) for value in bounds.values()):
        yield _comparison(bounds), _parameters(bounds), TEXT


def _comparison(bounds: dict[str, Any]) -> str:
    return " AND ".join(f"value {_BOUNDS[name]} ?" for name in bounds)


def _parameters(bounds: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(facet_value(value)[1] for value in bounds.values())


def _checked(field: str, value: object) -> MetadataValue:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise FilterError(f"The filter on {field!r} has a number of too many digits.", hint="Use a smaller number, or text.")
    if not isinstance(value, str | int | float) or (isinstance(value, float) and math.isnan(value)):
        raise FilterError(f"The filter on {field!r} has a value that cannot be compared: {value!r}.", hint="Use text, numbers or true and false.")
    return value
