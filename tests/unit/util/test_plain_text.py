"""A text on one line: what is seen stays, what steers a terminal or turns the direction goes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.util.plain_text import is_blank, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("  Leave\nand\tholidays ", "Leave and holidays"),
        ("\u202egnp.exe\u202c", "gnp.exe"),
        ("a\0b\x1b[1m", "a b [1m"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("\U0001f469\u200d\U0001f52c", "\U0001f469\u200d\U0001f52c"),
        ("\u200b\u2060", ""),
        ("\u200d\ufe0f\u3164\u2800", ""),
        ("\ud800x", "x"),
        ("?", "?"),
    ],
)
def test_a_line_holds_what_can_be_seen(text: str, line: str) -> None:
    assert one_line(text) == line


@given(st.text(max_size=30))
def test_a_line_is_one_says_nothing_twice_and_is_empty_only_where_nothing_was_seen(text: str) -> None:
    line = one_line(text)
    assert one_line(line) == line
    assert not line or len(line.splitlines()) == 1
    assert not {unicodedata.category(char) for char in line if char not in "\u200c\u200d"} & {"Cc", "Cf", "Cs"}
    assert is_blank(line) is (line == "")
    assert (line == "") is is_blank(text)
