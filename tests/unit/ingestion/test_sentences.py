"""Sentence spans: rules that hold for any text, and the cases the rules were made for."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.util.sentences import is_table_row, sentence_spans, split_sentences, starts_item

PIECES = st.sampled_from(
    [
        "Dr. ",
        "No. 4",
        "3.5",
        ". ",
        "! ",
        "? ",
        "。",
        "\n",
        "\n\n",
        "  ",
        "• ",
        "1. ",
        "The",
        "plan",
        "U.S.",
        "Haus",
        "\t",
        "今天",
        "e.g. ",
        '."',
        "\u00a0",
        "(a) ",
        "12",
        "…",
    ]
)
TEXTS = st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=60).map("".join))


@given(TEXTS)
def test_spans_cover_all_that_is_not_white_space_in_order_without_overlap(text: str) -> None:
    spans = sentence_spans(text)
    covered = "".join(text[start:end] for start, end in spans)
    assert "".join(covered.split()) == "".join(text.split())
    assert all(a_end <= b_start for (_, a_end), (b_start, _) in pairwise(spans))
    assert all(start < end and text[start:end] == text[start:end].strip() for start, end in spans)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith paid $3.5 million. See No. 4 for it.", ["Dr. Smith paid $3.5 million.", "See No. 4 for it."]),
        ("J. K. Rowling wrote it! Did she? Yes.", ["J. K. Rowling wrote it!", "Did she?", "Yes."]),
        ("Is it open? No. Call us.", ["Is it open?", "No.", "Call us."]),
        ("Sold in the U.S. The rest stays.", ["Sold in the U.S.", "The rest stays."]),
        ("Sold by the U.S. Army in May.", ["Sold by the U.S. Army in May."]),
        ("Apple Inc. Notes follow.", ["Apple Inc. Notes follow."]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("Version 2.1 of example.com is out. Try it.", ["Version 2.1 of example.com is out.", "Try it."]),
        ("It ended in 1999. Nobody noticed.", ["It ended in 1999.", "Nobody noticed."]),
        ("Wait... There is more.", ["Wait...", "There is more."]),
    ],
)
def test_english(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Geprüft am 3. Mai 2024, z. B. durch Hr. Meier. Danach war alles gut.", ["Geprüft am 3. Mai 2024, z. B. durch Hr. Meier.", "Danach war alles gut."]),
        ("Siehe Nr. 5 und Abs. 3. Das gilt immer.", ["Siehe Nr. 5 und Abs. 3.", "Das gilt immer."]),
        ("今天天气好。我们去吧！好吗？是的", ["今天天气好。", "我们去吧！", "好吗？", "是的"]),
        ("料金は「無料」。次へ。", ["料金は「無料」。", "次へ。"]),
    ],
)
def test_german_and_cjk(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


def test_a_wrapped_sentence_stays_whole_and_a_heading_above_it_stands_alone() -> None:
    text = "Working hours\nThe office is open from nine to five on every working day of\nthe year, and on Saturdays until noon."
    assert split_sentences(text) == ["Working hours", text.split("\n", 1)[1]]


def test_each_row_of_figures_and_each_list_item_is_one() -> None:
    text = "Products $ 63,355 $ 63,948\nServices 19,604 17,486\nSteps:\n• open the door\n• close it"
    assert split_sentences(text) == ["Products $ 63,355 $ 63,948", "Services 19,604 17,486", "Steps:", "• open the door", "• close it"]


def test_rows_with_one_figure_each_are_told_from_wrapped_prose() -> None:
    assert split_sentences("Standing charge 12.50\nNight unit rate 8.30\nDay unit rate 30.10") == [
        "Standing charge 12.50",
        "Night unit rate 8.30",
        "Day unit rate 30.10",
    ]
    assert len(split_sentences("The plant was bought in the year 2019\nand sold again in 2024.")) == 1


def test_rows_and_items_are_told_from_prose() -> None:
    assert is_table_row("Total net sales 82,959 81,434")
    assert is_table_row("Tariff\tPrice")
    assert not is_table_row("In 2022 the company sold 5 of its 30 plants to other owners.")
    assert starts_item("(a) first")
    assert starts_item("12. twelfth")
    assert not starts_item("Also the door")


def test_a_long_run_of_marks_is_gone_over_once() -> None:
    text = "." * 300_000 + "x"
    assert split_sentences(text) == [text]
    assert split_sentences('He left..." She stayed?! Yes.') == ['He left..."', "She stayed?!", "Yes."]
