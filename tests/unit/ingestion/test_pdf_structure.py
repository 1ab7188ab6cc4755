"""Structure of a page from its lines and their type, without a PDF."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from src.ingestion.loaders.pdf import Page, Style, heading_levels, page_blocks, page_edges, page_text, running_lines

BODY, BOLD, LARGE = Style(10.0), Style(10.0, bold=True), Style(16.0, bold=True)


def page(*lines: tuple[str, Style]) -> Page:
    return Page("\n".join(text for text, _ in lines), tuple(style for _, style in lines))


PROSE = ("The body of this page is set in ordinary type and runs on for a while,", BODY), ("over more than one line, as prose does.", BODY)


def kinds(one: Page, pages: list[Page]) -> list[tuple[str, int, str]]:
    levels = heading_levels(pages)
    return [(b.kind, b.level, one.text[b.start : b.end]) for b in page_blocks(one, levels, running_lines(pages))]


def test_larger_type_is_a_higher_heading_and_bold_a_lower_one() -> None:
    one = page(("Safety", LARGE), *PROSE, ("Ladders", BOLD), *PROSE)
    assert [(kind, level) for kind, level, _ in kinds(one, [one])] == [("heading", 1), ("paragraph", 0), ("heading", 2), ("paragraph", 0)]


def test_a_heading_of_two_lines_is_one() -> None:
    one = page(("Consolidated statements", LARGE), ("of operations", LARGE), *PROSE)
    assert kinds(one, [one])[0] == ("heading", 1, "Consolidated statements\nof operations")


def test_totals_in_bold_running_headers_and_sentences_in_bold_are_no_headings() -> None:
    top, end = (("Apple Inc.", BOLD), ("Company report", BOLD)), (("Total net sales $ 82,959", BOLD), ("Read this first.", BOLD))
    pages = [page(*top, (f"Chapter {letter}", BOLD), *PROSE, *PROSE, *PROSE, *end) for letter in "abcd"]
    found = [text for one in pages for kind, _, text in kinds(one, pages) if kind == "heading"]
    assert found == ["Chapter a", "Chapter b", "Chapter c", "Chapter d"]


def test_the_type_of_a_cover_alone_makes_no_heading_above_all_sections() -> None:
    cover = page(("ANNUAL REPORT", Style(40.0)), *PROSE)
    inner = [page(("Section of it", LARGE), *PROSE) for _ in range(2)] + [page(("Another one", LARGE), *PROSE) for _ in range(2)]
    assert [text for kind, _, text in kinds(cover, [cover, *inner]) if kind == "heading"] == []
    assert heading_levels([cover, *inner]) == {LARGE: 1}


def test_unknown_type_gives_no_headings() -> None:
    one = Page("Safety\nGloves are worn.", ())
    assert kinds(one, [one]) == [("paragraph", 0, "Safety\nGloves are worn.")]


def test_rows_of_figures_are_one_table_even_with_a_label_between() -> None:
    one = page(("Products 63,355 63,948", BODY), ("Services 19,604 17,486", BODY), ("Cost of sales:", BODY), ("Products 41,485 40,899", BODY))
    assert [kind for kind, _, _ in kinds(one, [one])] == ["table"]


def test_items_begin_blocks_of_their_own() -> None:
    one = page(*PROSE, ("• open the door and", BODY), ("leave", BODY), ("• close it", BODY))
    assert [kind for kind, _, _ in kinds(one, [one])] == ["paragraph", "list", "list"]


def test_line_ends_of_pdfium_become_what_the_page_shows() -> None:
    assert page_text("long\ufffeterm\r\ncut\x02ting\u00adedge\x00") == "long-\nterm\ncut-\nting-edge"


def body(pages: list[Page]) -> list[str]:
    edges = page_edges(pages)
    return ["|".join(one.text[b.start : b.end] for b in page_blocks(one, {}, frozenset(), edges[n])) for n, one in enumerate(pages)]


def test_headers_and_footers_lie_in_no_block_though_their_page_numbers_differ() -> None:
    pages = [Page(f"Contoso handbook\nChapter {letter} says so.\nContoso Inc. | Q3 2022 Form 10-Q | {n}", ()) for n, letter in enumerate("abcde", 7)]
    assert body(pages) == [f"Chapter {letter} says so." for letter in "abcde"]


def test_figures_that_do_not_grow_with_the_pages_and_lines_between_are_no_footers() -> None:
    figures = [900, 17, 350, 42]
    pages = [Page(f"Region {letter}\nSold in total {figure}", ()) for letter, figure in zip("abcd", figures, strict=True)]
    assert body(pages) == [page.text for page in pages]
    inside = [Page(f"One {letter}\nSee the annex.\nTwo {letter}", ()) for letter in "abcd"]
    assert body(inside) == [page.text for page in inside]


def test_pages_that_all_say_the_same_keep_their_text() -> None:
    assert body([Page("Keep out.", ())] * 4) == ["Keep out."] * 4


@given(st.lists(st.tuples(st.text(alphabet="aB1 .$,•", max_size=30), st.sampled_from([BODY, BOLD, LARGE])), min_size=1, max_size=30))
def test_blocks_cover_every_line_in_order(lines: list[tuple[str, Style]]) -> None:
    one = page(*lines)
    end = 0
    for block in page_blocks(one, heading_levels([one]), running_lines([one])):
        assert not one.text[end : block.start].strip()
        assert block.start < block.end
        end = block.end
    assert not one.text[end:].strip()
