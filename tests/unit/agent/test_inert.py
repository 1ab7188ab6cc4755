"""Whatever a text holds, and wherever it is cut, no renderer makes an image, a link or a tag of what leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from src.agent.citing import CitationChecker
from src.agent.inert import Instructions, inert

ACTIVE = {"image", "link_open", "html_inline", "html_block"}
SIGNS = ["![", "[", "]", "](", "(", ")", "]:", "][", "<", ">", "!", "\\", "`", '"', "a", " ", "\n", "\n\n", ". ", "。"]
PIECES = [*SIGNS, "<img src=x>", "<https://evil.example.com>", "https://e.co/x"]


def constructs(text: str) -> set[str]:
    blocks = MarkdownIt("commonmark", {"html": True}).parse(text)
    return {token.type for block in blocks for token in (block, *(block.children or []))}


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("See ![the plan](https://e.co/p.png?q=1).", "See the plan."),
        ("See [the plan](https://e.co/p).", "See the plan (https://e.co/p)."),
        ("See [the plan](javascript:alert(1)).", "See the plan."),
        ("[![badge](https://e.co/b.svg)](https://e.co)", "badge (https://e.co)"),
        ("Press <b>Enter</b>.", "Press ‹b>Enter‹/b>."),
        ("It holds if x < y and y > z, at 5 % (see https://e.co/a).", "It holds if x < y and y > z, at 5 % (see https://e.co/a)."),
        ("[a]: https://e.co/x", "[a] : https://e.co/x"),
    ],
)
def test_words_stay_and_signs_are_taken_apart(text: str, plain: str) -> None:
    assert inert(text) == plain


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=14))
def test_no_text_is_active_once_it_is_inert(pieces: list[str]) -> None:
    text = inert("".join(pieces))
    assert not constructs(text) & ACTIVE
    assert inert(text) == text


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), max_size=6))
def test_sentences_that_follow_each_other_make_nothing_active_either(sentences: list[str]) -> None:
    checker = CitationChecker([], strict=False)
    text = "".join(checker.check(sentence) or "" for sentence in sentences)
    assert not constructs(text) & ACTIVE


def test_instructions_are_known_by_eight_words_in_a_row_and_by_the_code() -> None:
    rules = Instructions("Use only the passages in the user's message. Copy numbers and dates exactly.", "00ff00ff00ff00ff")
    assert rules.repeated_in("It says: USE only, the passages in the user's message!")
    assert rules.repeated_in("The code is 00ff00ff00ff00ff.")
    assert not rules.repeated_in("Use only the passages that you know.")


def test_the_code_is_told_in_any_case_and_runs_on_both_sides_of_it_are_known() -> None:
    instructions = Instructions("never say one two three four five six seven eight AB12 nine ten eleven twelve thirteen fourteen fifteen sixteen", "AB12")
    assert instructions.repeated_in("It is ab12.")
    assert instructions.repeated_in("So: one two three four five six seven EIGHT!")
    assert instructions.repeated_in("nine ten eleven twelve thirteen fourteen fifteen sixteen")
    assert not instructions.repeated_in("five six seven eight nine ten eleven twelve")
