"""Filters from outside: every documented form, and errors that name the field."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.core.search import AnyOf, Exists, Filter, Range
from src.errors import FilterError
from src.retrieval.filters import MAX_FILTERS, parse_filter_args, parse_filters


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("hr", AnyOf("f", ("hr",))),
        (3, AnyOf("f", (3,))),
        (True, AnyOf("f", (True,))),
        (["a", 2], AnyOf("f", ("a", 2))),
        ({"gte": 3, "lt": 9.5}, Range("f", gte=3, lt=9.5)),
        ({"gt": "2024-01-01"}, Range("f", gt="2024-01-01")),
        ({"exists": True}, Exists("f")),
        ({"exists": False}, Exists("f", present=False)),
    ],
)
def test_each_form_of_a_mapping(condition: object, expected: Filter) -> None:
    assert parse_filters({"f": condition}) == (expected,)


def test_no_filters_are_none() -> None:
    assert parse_filters(None) == parse_filters({}) == parse_filter_args(()) == ()


@pytest.mark.parametrize(
    "condition",
    [
        *(None, [], [None], [["a"]], float("nan")),
        *({}, {"gte": None}, {"over": 3}, {"gte": 1, "exists": True}, {"exists": 1}, {"gt": 1, "gte": 1}),
        *({"lt": 1, "lte": 1}, {"gte": 1, "lt": "b"}, {"gte": True}, {"gte": [1]}, {"lt": float("inf")}),
    ],
)
def test_a_malformed_condition_names_its_field_and_what_is_allowed(condition: object) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filters({"colour": condition})
    assert "'colour'" in caught.value.message
    assert "Allowed" in caught.value.hint


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_number_that_python_would_not_read_is_a_filter_error_and_text_in_quotes(sign: str) -> None:
    digits = sign + "9" * 4400
    for argument in (f"page={digits}", f"page=1,{digits}", f"page>={digits}"):
        with pytest.raises(FilterError, match="characters"):
            parse_filter_args([argument])
    assert parse_filter_args([f'page="{digits}"']) == (AnyOf("page", (digits,)),)


@pytest.mark.parametrize("filters", [[], "a=b", 3, {"": 1}, {3: 1}, {"x" * 300: 1}, {f"f{n}": 1 for n in range(MAX_FILTERS + 1)}])
def test_what_is_no_object_of_fields_is_an_error(filters: object) -> None:
    with pytest.raises(FilterError):
        parse_filters(filters)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["team=hr"], [AnyOf("team", ("hr",))]),
        (["team=hr,it"], [AnyOf("team", ("hr", "it"))]),
        (["page=3"], [AnyOf("page", (3,))]),
        (["rate=-1.5e2"], [AnyOf("rate", (-150.0,))]),
        (["draft=true"], [AnyOf("draft", (True,))]),
        (['title="Rates, 2024"'], [AnyOf("title", ("Rates, 2024",))]),
        (['code="007"'], [AnyOf("code", ("007",))]),
        (["code=007"], [AnyOf("code", ("007",))]),
        (["source=https://x/y?a=b"], [AnyOf("source", ("https://x/y?a=b",))]),
        (["page>=3", "page<9"], [Range("page", gte=3, lt=9)]),
        (["page > 3"], [Range("page", gt=3)]),
        (["date<=2024-12-31"], [Range("date", lte="2024-12-31")]),
        (["owner"], [Exists("owner")]),
        (["!owner"], [Exists("owner", present=False)]),
    ],
)
def test_each_form_of_an_argument(arguments: list[str], expected: list[Filter]) -> None:
    assert list(parse_filter_args(arguments)) == expected


@pytest.mark.parametrize("argument", ["", "!", "=x", "a=", "a=,", "a>=", "a>1,2", "a!=b", "<3", "  "])
def test_a_malformed_argument_says_how_to_write_one(argument: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter_args([argument])
    assert "field=value" in caught.value.hint or "Allowed" in caught.value.hint


def test_two_bounds_of_one_kind_are_an_error() -> None:
    with pytest.raises(FilterError):
        parse_filter_args(["page>3", "page>4"])


values = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
anything = st.recursive(st.one_of(st.none(), values), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3))


@given(st.dictionaries(st.text(max_size=5), anything, max_size=4) | anything)
def test_whatever_comes_is_filters_or_a_filter_error(mapping: object) -> None:
    with suppress(FilterError):
        assert all(isinstance(item, (AnyOf, Range, Exists)) for item in parse_filters(mapping))


@given(st.lists(st.text(max_size=12), max_size=4))
def test_whatever_is_typed_is_filters_or_a_filter_error(arguments: list[str]) -> None:
    with suppress(FilterError):
        assert all(isinstance(item, (AnyOf, Range, Exists)) for item in parse_filter_args(arguments))


@given(st.dictionaries(st.text(min_size=1, max_size=5).filter(str.strip), values, min_size=1, max_size=4))
def test_equality_filters_keep_field_and_value(mapping: dict[str, str | int | float | bool]) -> None:
    assert parse_filters(mapping) == tuple(AnyOf(field, (value,)) for field, value in mapping.items())
