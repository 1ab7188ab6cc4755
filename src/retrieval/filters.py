"""Metadata filters from outside: a JSON mapping (HTTP) or words of a command line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from ..core.documents import MetadataValue
from ..core.search import AnyOf, Exists, Filter, Range
from ..errors import FilterError

MAX_FILTERS = 32
MAX_VALUES = 1024
MAX_FIELD_CHARS = 200
MAX_NUMBER_CHARS = 1000
"""Longer ones no document holds, and Python reads no integer of more than 4,300 digits."""

ALLOWED = 'Allowed: a value, a list of values, a range such as {"gte": 3, "lt": 9} (keys gt, gte, lt, lte), or {"exists": true}.'
_BOUNDS = ("gt", "gte", "lt", "lte")
_OPERATORS = {"=": "=", ">=": "gte", "<=": "lte", ">": "gt", "<": "lt"}
_ARGUMENT = re.compile(r"(?P<field>[^=<>!]+?)\s*(?P<op>>=|<=|=|>|<)(?P<value>.*)", re.DOTALL)
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
ARGUMENT_FORMS = "Write field=value, field=a,b (any of), field>=3, field<9, field (is there) or !field (is not there)."


def parse_filters(mapping: object) -> tuple[Filter, ...]:
    """Filters of ``{field: value | [values] | {"gte": …, "lt": …} | {"exists": bool}}``, joined by AND; None is none.

    Raises:
        FilterError: names the field that is malformed and what is allowed.
    """
    if mapping is None:
        return ()
    if not isinstance(mapping, Mapping):
        raise FilterError(f"Filters must be an object of fields, not {_kind(mapping)}.", hint=ALLOWED)
    _check_count(len(mapping))
    return tuple(_condition(_field(name), condition) for name, condition in mapping.items())


def parse_filter_args(arguments: Sequence[str]) -> tuple[Filter, ...]:
    """Filters of ``field=value``, ``field=a,b``, ``field>=3``, ``field`` and ``!field``; bounds on one field join to one range.

    A value in double quotes is one string, whatever it holds; otherwise commas separate, and what reads as a number,
    ``true`` or ``false`` is one.

    Raises:
        FilterError: names the argument that is malformed and what is allowed.
    """
    _check_count(len(arguments))
    conditions: list[Filter] = []
    bounds: dict[str, dict[str, object]] = {}
    for argument in arguments:
        parsed = _argument(argument)
        if isinstance(parsed, tuple):
            field, operator, value = parsed
            known = bounds.setdefault(field, {})
            if operator in known:
                raise FilterError(f"Filter {argument!r} gives a second bound of the same kind for {field!r}.", hint=ARGUMENT_FORMS)
            known[operator] = value
        else:
            conditions.append(parsed)
    return (*conditions, *(_range(field, known) for field, known in bounds.items()))


def _argument(argument: str) -> Filter | tuple[str, str, MetadataValue]:
    match = _ARGUMENT.fullmatch(argument.strip())
    if match is None:
        name = argument.strip()
        if not name.removeprefix("!").strip() or re.search(r"[=<>!]", name.removeprefix("!")):
            raise FilterError(f"Filter {argument!r} cannot be read.", hint=ARGUMENT_FORMS)
        return Exists(_field(name.removeprefix("!").strip()), present=not name.startswith("!"))
    field, operator, values = _field(match["field"]), _OPERATORS[match["op"]], _words(match["value"])
    if not values:
        raise FilterError(f"Filter {argument!r} has no value.", hint=ARGUMENT_FORMS)
    if operator == "=":
        return AnyOf(field, _values(field, values))
    if len(values) > 1:
        raise FilterError(f"Filter {argument!r} compares with more than one value.", hint=ARGUMENT_FORMS)
    return field, operator, values[0]


def _words(text: str) -> list[MetadataValue]:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return [text[1:-1]]
    return [_word(part.strip()) for part in text.split(",") if part.strip()]


def _word(text: str) -> MetadataValue:
    if text in ("true", "false"):
        return text == "true"
    if not _NUMBER.fullmatch(text):
        return text
    if len(text) > MAX_NUMBER_CHARS:
        raise FilterError(f"A filter has a number of {len(text)} characters; {MAX_NUMBER_CHARS} at most.", hint='In double quotes it is text: field="123".')
    return float(text) if re.search(r"[.eE]", text) else int(text)


def _condition(field: str, condition: object) -> Filter:
    if isinstance(condition, Mapping):
        return _exists(field, condition) if "exists" in condition else _range(field, condition)
    if isinstance(condition, (list, tuple)):
        return AnyOf(field, _values(field, condition))
    return AnyOf(field, (_value(field, condition),))


def _exists(field: str, condition: Mapping[str, object]) -> Exists:
    if len(condition) > 1:
        raise FilterError(f"Filter {field!r}: `exists` stands alone.", hint=ALLOWED)
    present = condition["exists"]
    if not isinstance(present, bool):
        raise FilterError(f"Filter {field!r}: `exists` must be true or false, not {_kind(present)}.", hint=ALLOWED)
    return Exists(field, present=present)


def _range(field: str, condition: Mapping[str, object]) -> Range:
    unknown = [str(key) for key in condition if key not in _BOUNDS]
    if unknown or not condition:
        said = f"does not know {', '.join(map(repr, unknown))}" if unknown else "is an empty object"
        raise FilterError(f"Filter {field!r} {said}.", hint=ALLOWED)
    for low, high in (("gt", "gte"), ("lt", "lte")):
        if low in condition and high in condition:
            raise FilterError(f"Filter {field!r} has both `{low}` and `{high}`; give one.", hint=ALLOWED)
    bounds = {key: _bound(field, key, value) for key, value in condition.items()}
    if len({isinstance(bound, str) for bound in bounds.values()}) > 1:
        raise FilterError(f"Filter {field!r} has one bound that is a number and one that is text.", hint=ALLOWED)
    return Range(field, **bounds)


def _bound(field: str, key: str, value: object) -> MetadataValue:
    if isinstance(value, bool):
        raise FilterError(f"Filter {field!r}: `{key}` must be a number or text, not a truth value.", hint=ALLOWED)
    return _value(field, value)


def _values(field: str, values: Sequence[object]) -> tuple[MetadataValue, ...]:
    if not values:
        raise FilterError(f"Filter {field!r} is an empty list, which nothing can match.", hint=ALLOWED)
    if len(values) > MAX_VALUES:
        raise FilterError(f"Filter {field!r} has {len(values)} values; {MAX_VALUES} at most.", hint=ALLOWED)
    return tuple(_value(field, value) for value in values)


def _value(field: str, value: object) -> MetadataValue:
    if not isinstance(value, (str, int, float, bool)):
        raise FilterError(f"Filter {field!r} has {_kind(value)} as value.", hint=ALLOWED)
    if isinstance(value, float) and not math.isfinite(value):
        raise FilterError(f"Filter {field!r} has {value} as value, which is not a number that can be compared.", hint=ALLOWED)
    return value


def _field(name: object) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_FIELD_CHARS:
        raise FilterError(f"A filter's field must be a name of 1 to {MAX_FIELD_CHARS} characters.", hint=ALLOWED)
    return name


def _check_count(count: int) -> None:
    if count > MAX_FILTERS:
        raise FilterError(f"{count} filters were given; {MAX_FILTERS} at most.", hint=ALLOWED)


def _kind(value: object) -> str:
    names = {type(None): "null", list: "a list", dict: "an object", bool: "a truth value", str: "text", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)
