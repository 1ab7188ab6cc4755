"""LlamaIndex's metadata filters as ours. Pure. What ours cannot say is refused, never left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from ...core.search import AnyOf, Exists, Filter, Range
from ...errors import FilterError

SUPPORTED = "Supported are ==, >, >=, <, <=, in, any, all, contains and is_empty, joined by `and`, and `or` among == and in of one field."
_RANGES: Mapping[FilterOperator, Callable[[str, Any], Range]] = {
    FilterOperator.GT: lambda key, value: Range(key, gt=value),
    FilterOperator.GTE: lambda key, value: Range(key, gte=value),
    FilterOperator.LT: lambda key, value: Range(key, lt=value),
    FilterOperator.LTE: lambda key, value: Range(key, lte=value),
}
_EQUAL = (FilterOperator.EQ, FilterOperator.CONTAINS)
_ANY = (FilterOperator.IN, FilterOperator.ANY)


def filters_of(given: MetadataFilters | None) -> tuple[Filter, ...]:
    """Our filters, joined by AND.

    Raises:
        FilterError: an operator or a way of joining that our engines do not have.
    """
    if given is None or not given.filters:
        return ()
    if given.condition == FilterCondition.OR:
        return (_either(given.filters),)
    if given.condition not in (FilterCondition.AND, None):
        raise FilterError(f"Filters cannot be joined by {given.condition.value!r}.", hint=SUPPORTED)
    return tuple(item for one in given.filters for item in (filters_of(one) if isinstance(one, MetadataFilters) else _one(one)))


def _one(given: MetadataFilter) -> tuple[Filter, ...]:
    key, operator, value = given.key, given.operator, given.value
    if operator == FilterOperator.IS_EMPTY:
        return (Exists(key, present=False),)
    if operator in _EQUAL:
        return (AnyOf(key, (_single(given),)),)
    if operator in _ANY:
        return (AnyOf(key, _several(given)),)
    if operator == FilterOperator.ALL:
        return tuple(AnyOf(key, (item,)) for item in _several(given))
    if operator in _RANGES:
        return (_RANGES[operator](key, _single(given)),)
    raise FilterError(f"Filter {key!r}: the operator {operator.value!r} ({value!r:.40}) is not one of ours.", hint=SUPPORTED)


def _either(given: Sequence[Any]) -> AnyOf:
    """One of several: of one field's values alone."""
    simple = [one for one in given if isinstance(one, MetadataFilter) and one.operator in (*_EQUAL, *_ANY)]
    if len(simple) < len(given) or len({one.key for one in simple}) > 1:
        raise FilterError("Filters can be joined by `or` only where they ask for values of one field.", hint=SUPPORTED)
    return AnyOf(simple[0].key, tuple(value for one in simple for value in (_several(one) if one.operator in _ANY else (_single(one),))))


def _single(given: MetadataFilter) -> Any:
    if given.value is None or isinstance(given.value, list):
        raise FilterError(f"Filter {given.key!r}: {given.operator.value!r} needs one value.", hint=SUPPORTED)
    return given.value


def _several(given: MetadataFilter) -> tuple[Any, ...]:
    if not isinstance(given.value, list) or not given.value:
        raise FilterError(f"Filter {given.key!r}: {given.operator.value!r} needs a list of values, and at least one.", hint=SUPPORTED)
    return tuple(given.value)
