"""Passages: rules that hold for any document, and how structure decides the cuts."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from src.ingestion.blocks import Block, BlockKind, Part, PartBuilder
from src.ingestion.chunking import MODEL_TOKENS, Passage, chunk_parts, embedding_text, section_label


class Words:
    """A tokenizer of its own: a token is a CJK letter, or up to four other letters of a word."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"[一-鿿]|[^\s一-鿿]{1,4}", text)]


TOKENS = Words()
KINDS: st.SearchStrategy[BlockKind] = st.sampled_from(["heading", "paragraph", "list", "table", "code"])
TEXT = st.lists(st.sampled_from([*"aB1.!?。今\t\n -", "word ", "Sentence ends. ", "\u00a0", "verylongword" * 9]), min_size=1, max_size=60).map("".join)


@st.composite
def parts(draw: st.DrawFn) -> Part:
    builder = PartBuilder()
    for kind, text, level in draw(st.lists(st.tuples(KINDS, TEXT, st.integers(1, 4)), max_size=14)):
        builder.add(kind, text, level=level, header="A | B" if kind == "table" else "")
    return builder.build(page=draw(st.sampled_from([None, 1])))


def squeezed(text: str) -> str:
    return "".join(text.split())


@given(st.lists(parts(), min_size=1, max_size=3), st.integers(32, 80))
def test_passages_cover_all_text_once_are_exact_slices_and_keep_the_budget(many: list[Part], budget: int) -> None:
    many = [Part(part.text, part.blocks, number) for number, part in enumerate(many, 1)]
    passages = chunk_parts(many, TOKENS, budget)
    for part in many:
        own = [p for p in passages if p.page == part.page]
        assert squeezed("".join(p.text for p in own)) == squeezed(part.text)
        assert all(p.text == part.text[p.start : p.end] for p in own)
        assert all(a.end <= b.start for a, b in pairwise(own))
    assert all(p.tokens == len(TOKENS.spans(p.text)) <= budget for p in passages)
    assert all(p.text.strip() == p.text != "" for p in passages)


@given(parts(), st.integers(40, 80), st.integers(1, 20))
def test_overlap_repeats_the_passage_before_and_stays_within_the_budget(part: Part, budget: int, overlap: int) -> None:
    passages = chunk_parts([part], TOKENS, budget, overlap)
    for before, after in pairwise(passages):
        assert before.start <= after.start
        assert before.end < after.end
        assert len(TOKENS.spans(part.text[after.start : before.end])) <= overlap + 1
    assert all(len(TOKENS.spans(p.text)) <= budget for p in passages)
    assert all(p.text == part.text[p.start : p.end] for p in passages)


def document(*blocks: tuple[BlockKind, str, int]) -> Part:
    builder = PartBuilder()
    for kind, text, level in blocks:
        builder.add(kind, text, level=level)
    return builder.build()


def prose(word: str, sentences: int) -> str:
    return " ".join(f"{word.capitalize()} is what this line is of." for _ in range(sentences))


def cut(*blocks: tuple[BlockKind, str, int], budget: int = 60) -> list[Passage]:
    return chunk_parts([document(*blocks)], TOKENS, budget)


def test_a_document_below_the_budget_is_one_passage() -> None:
    passages = cut(("heading", "Safety", 1), ("paragraph", "Be safe.", 0), ("heading", "Ladders", 2), ("paragraph", "Climb.", 0))
    assert [(p.section, p.start) for p in passages] == [("Safety", 0)]


def test_sections_are_not_mixed_and_carry_their_heading_path() -> None:
    passages = cut(
        ("heading", "Safety", 1),
        ("paragraph", prose("gloves", 4), 0),
        ("heading", "Ladders", 2),
        ("paragraph", prose("rungs", 4), 0),
        ("heading", "Leave", 1),
        ("paragraph", prose("days", 4), 0),
    )
    assert [p.section for p in passages] == ["Safety", "Safety > Ladders", "Leave"]
    assert [p.text.split("\n")[0] for p in passages] == ["Safety", "Ladders", "Leave"]


def test_a_heading_is_never_the_end_of_a_passage() -> None:
    passages = cut(*(pair for n in range(6) for pair in (("heading", f"Part {n}", 2), ("paragraph", prose("text", 5), 0))))
    assert not any(p.text.splitlines()[-1].startswith("Part") for p in passages)


def test_headings_run_on_over_pages() -> None:
    first = Part("Leave\n\nDays.", (Block("heading", 0, 5, 1), Block("paragraph", 7, 12)), 1)
    second = Part("More days.", (Block("paragraph", 0, 10),), 2)
    assert [(p.page, p.section) for p in chunk_parts([first, second], TOKENS, 60)] == [(1, "Leave"), (2, "Leave")]


def test_a_table_that_fits_is_whole_and_a_longer_one_is_cut_by_rows_below_its_header() -> None:
    builder = PartBuilder()
    builder.add("heading", "Tariffs", level=1)
    builder.add("paragraph", prose("price", 5))
    builder.add_table([["Name", "Price"], *([f"Tariff {n}", f"{n}.50"] for n in range(40))])
    passages = chunk_parts([builder.build()], TOKENS, 60)
    rows = [line for p in passages for line in p.text.split("\n") if "\t" in line]
    assert len(rows) == 41
    assert {p.section for p in passages[2:]} == {"Tariffs > Name | Price"}

    small = PartBuilder()
    small.add("paragraph", prose("price", 5))
    small.add_table([["Name", "Price"], ["A", "1"], ["B", "2"]])
    assert sum("Name\tPrice\nA\t1\nB\t2" in p.text for p in chunk_parts([small.build()], TOKENS, 48)) == 1


def test_sentences_are_not_split_unless_one_is_over_the_budget() -> None:
    passages = cut(("paragraph", prose("wires", 20), 0))
    assert len(passages) > 1
    assert all(p.text.startswith("Wires") and p.text.endswith(".") for p in passages)
    endless = cut(("paragraph", "word " * 200, 0))
    assert all(set(p.text.split()) == {"word"} for p in endless)


def test_tiny_neighbours_are_joined() -> None:
    blocks = [
        pair
        for n in range(3)
        for pair in (("heading", f"Long {n}", 1), ("paragraph", prose("long", 4), 0), ("heading", f"Tiny {n}", 2), ("paragraph", "One.", 0))
    ]
    passages = cut(*blocks, budget=70)
    assert [p.section for p in passages] == ["Long 0", "Long 1", "Long 2"]


def test_a_section_label_is_what_all_parts_share_or_that_of_the_largest() -> None:
    assert section_label([(("A", "B"), 5), (("A", "C"), 9)]) == "A"
    assert section_label([(("A",), 5), (("C",), 9)]) == "C"
    assert section_label([(("A",), 5)], "Name | Price") == "A > Name | Price"
    assert section_label([((), 5)]) == ""


@given(st.text(max_size=60), st.text(max_size=60), st.text(min_size=1, max_size=900))
def test_what_is_embedded_ends_with_the_whole_text_and_its_prefix_takes_only_what_room_is_left(title: str, section: str, text: str) -> None:
    count = len(TOKENS.spans(text))
    embedded = embedding_text(title, section, text, TOKENS.spans, count)
    assert embedded.endswith(text)
    assert len(TOKENS.spans(embedded)) <= max(count, MODEL_TOKENS)


def test_what_is_embedded_names_title_and_section() -> None:
    assert embedding_text("Handbook", "Safety > Ladders", "Climb.", TOKENS.spans, 2) == "Handbook | Safety > Ladders\nClimb."
    assert embedding_text("", "", "Climb.", TOKENS.spans, 2) == "Climb."


def test_what_no_block_covers_at_the_edge_of_a_page_is_in_no_passage() -> None:
    text = "Contoso handbook\nLeave is booked in Compass.\nPage 7"
    block = Block("paragraph", text.index("Leave"), text.index("\nPage"))
    assert [(p.text, p.start) for p in chunk_parts([Part(text, (block,), 7)], Words(), 50)] == [("Leave is booked in Compass.", block.start)]
    assert chunk_parts([Part(text, (), 7)], Words(), 50) == []
