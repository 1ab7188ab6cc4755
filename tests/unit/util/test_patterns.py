from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.util.patterns import Pattern, Places

WRITTEN = [r"C-[0-9]{4,8}", r"EMP( [0-9]+)+", r"\b[A-Z]{2}\d{3}\b", r"(x y )*z", r"meter[ :#]*\d+", r"\(ref \d+\)", r"^abc", r"\d+$", r"a|a b c"]
WORDS = ["C-1234", "EMP", "12", "34", "AB123", "x", "y", "z", "a", "b", "c", "abc", "meter:12", "(ref 12)", "\n", ", ", "ü", "z,"]
SEPARATORS = " \n,;(){}<>[]\"'=&|"


@given(st.sampled_from(WRITTEN), st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))
def test_every_match_is_covered_whole(written: str, text: str) -> None:
    places = list(Places(written).of(text))
    assert all(end <= start for (_, end), (start, _) in pairwise(places))
    for match in re.finditer(written, text, re.IGNORECASE):
        letters = [place for place in range(*match.span()) if text[place] not in SEPARATORS]
        assert all(any(start <= place < end for start, end in places) for place in letters)


@pytest.mark.parametrize("text", ["", "nothing of it", "C-12", "c_1234 (C-)"])
def test_where_nothing_fits_there_is_no_place(text: str) -> None:
    assert list(Places("C-[0-9]{4,8}").of(text)) == []


def test_only_the_pieces_of_the_match_are_covered() -> None:
    text = 'customer="C-12345", since 2024'
    assert [text[start:end] for start, end in Places("C-[0-9]{4,8}").of(text)] == ["C-12345"]


def test_an_expression_that_backtracks_for_minutes_elsewhere_is_answered_at_once() -> None:
    assert not Pattern.of(r"(\w+\s?)+\?$").is_in("a" * 5_000)
    assert list(Places(r"(a+)+b").of("a" * 5_000)) == []


@pytest.mark.parametrize(("written", "message"), [("(", "unclosed"), ("(?=x)", "look"), (r"(a)\1", "backreference"), (".*", "everywhere")])
def test_what_cannot_be_used_is_said(written: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Places(written)
