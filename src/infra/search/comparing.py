"""How the values of filters compare with stored ones, the same in every engine. Pure.

Each stored value is a boolean, a number or a text, and only compares with its own kind. Because filters also arrive as
strings (HTTP, the command line), a string in a filter that spells a number or a boolean equals that value as well, and a
number or boolean in a filter equals the text that spells it: ``1`` and ``"1"`` in a filter both find a stored ``1`` and a
stored ``"1"``; ``1`` never finds a stored ``True``. Integers beyond 64 bits compare as floats. An empty title, source,
content type or section counts as absent; a field that nothing has matches nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...core.documents import Document, MetadataValue
from ...core.search import AnyOf, Exists, Filter, Range
from ...errors import FilterError

BOOLEAN, NUMBER, TEXT, OTHER = range(4)
"""Kinds of a filterable value; a value only ever compares with its own kind. OTHER is there, and equals nothing."""

MAX_VALUES = 10_000
"""Values of one any-of filter."""

CHUNK_FIELDS: Mapping[str, int] = {"page": NUMBER, "section": TEXT}
"""Fields of chunks and the kind of their values; every other field belongs to the document."""

MAX_BOUND_BYTES = 240
"""Of a text that ranges are bounded by (UTF-8). OpenSearch makes an automaton of each bound and fails beyond 1,000 states:
a field's name has up to 512, and text that is not Unicode two for each byte."""

BOUNDS = ("gt", "gte", "lt", "lte")

_NUMBER = re.compile(r"[+-]?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?")
_MAX_BITS = 10_000
"""Integers of more bits (3,010 digits) are refused: Python does not spell them out (its limit is 4,300 digits)."""

Comparable = tuple[int, Any]
"""Kind and value: 0 or 1, a 64-bit integer or a float, a string."""


def facet_value(value: MetadataValue) -> Comparable:
    """Kind and comparable value. Integers beyond 64 bits compare as floats; NaN is there but equals nothing."""
    if isinstance(value, bool):
        return BOOLEAN, int(value)
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return NUMBER, value
        return NUMBER, float(value) if abs(value) < 10**308 else math.inf if value > 0 else -math.inf
    if isinstance(value, float):
        return (OTHER, "") if math.isnan(value) else (NUMBER, value)
    return TEXT, value


def facets(document: Document) -> Iterator[tuple[str, int, Any]]:
    """(field, kind, value) of all that filters can ask about a document. An empty own field counts as absent."""
    own = {"document_id": document.id, "title": document.title, "source": document.source, "content_type": document.content_type}
    for field, value in own.items():
        if value:
            yield field, TEXT, value
    for field, held in document.metadata.items():
        if field in own or field in CHUNK_FIELDS:
            continue
        for one in dict.fromkeys(facet_value(item) for item in (held if isinstance(held, tuple) else (held,))):
            yield field, *one


def check_filter(item: Filter) -> None:
    """
    Raises:
        FilterError: no field, no value, no bound, or a value that cannot be compared.
    """
    if not item.field or not isinstance(item.field, str):
        raise FilterError("A filter needs the name of a field.")
    if isinstance(item, AnyOf):
        equals(item)
    elif not isinstance(item, Exists):
        list(within(item))


def equals(item: AnyOf) -> list[Comparable]:
    """All stored values that an any-of filter accepts.

    Raises:
        FilterError: no value, too many, or one that cannot be compared.
    """
    if not item.values:
        raise FilterError(f"The filter on {item.field!r} names no value.")
    if len(item.values) > MAX_VALUES:
        raise FilterError(f"The filter on {item.field!r} names {len(item.values):,} values; at most {MAX_VALUES:,} are allowed.")
    return list(dict.fromkeys(pair for given in item.values for pair in spellings(_checked(item.field, given))))


def spellings(value: MetadataValue) -> list[Comparable]:
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


def within(item: Range) -> Iterator[tuple[int, dict[str, Any]]]:
    """(kind, bounds by name) of each kind of stored value that a range can hold: numbers, texts, or both.

    Raises:
        FilterError: no bound, or one that cannot be compared, or too long a text.
    """
    bounds = {name: _checked(item.field, value) for name in BOUNDS if (value := getattr(item, name)) is not None}
    if not bounds:
        raise FilterError(f"The range on {item.field!r} has no bound.", hint="Give gt, gte, lt or lte.")
    if any(isinstance(value, bool) for value in bounds.values()):
        raise FilterError(f"The range on {item.field!r} has a boolean bound.")
    if any(isinstance(value, str) and len(value.encode("utf-8", "surrogatepass")) > MAX_BOUND_BYTES for value in bounds.values()):
        raise FilterError(f"The range on {item.field!r} has a bound of more than {MAX_BOUND_BYTES} bytes.", hint="Its beginning says nearly the same.")
    numbers = {name: as_number(value) if isinstance(value, str) else value for name, value in bounds.items()}
    if all(value is not None for value in numbers.values()):
        yield NUMBER, {name: facet_value(value)[1] for name, value in numbers.items() if value is not None}
    if all(isinstance(value, str) for value in bounds.values()):
        yield TEXT, dict(bounds)


def _checked(field: str, value: object) -> MetadataValue:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise FilterError(f"The filter on {field!r} has a number of too many digits.", hint="Use a smaller number, or text.")
    if not isinstance(value, str | int | float) or (isinstance(value, float) and math.isnan(value)):
        raise FilterError(f"The filter on {field!r} has a value that cannot be compared: {value!r}.", hint="Use text, numbers or true and false.")
    return value
