"""Which threads the words of a search find by their titles, and how the pages of a long list follow each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.infra.persistence import titles
from src.infra.persistence.rows import ThreadRow
from src.infra.persistence.titles import Before, find, fits, words_of


@pytest.mark.parametrize("search", ["gas escape", "ESCAPE", "  gas\tesc ", "", "How escape!"])
def test_a_title_is_found_by_each_of_its_words_or_their_beginnings(search: str) -> None:
    assert fits("How is a gas escape attended? Escape!", words_of(search))


def test_accents_and_case_do_not_matter_and_a_missing_word_does() -> None:
    assert fits("Zähler in der Straße", words_of("zahler STRASSE"))
    assert fits("Zahler", words_of("ZÄHLER"))
    assert not fits("Zähler in der Straße", words_of("zähler turm"))
    assert not fits("100 percent", words_of("100%"))


@given(st.lists(st.sampled_from(["gas", "water", "Gas meter"]), max_size=40), st.integers(1, 7), st.integers(1, 9), st.integers(1, 30))
async def test_the_pages_hold_each_fitting_row_once_in_order(kinds: list[str], limit: int, rows: int, most: int) -> None:
    kept = [ThreadRow(f"{n:03}", "t", "u", title, "", f"{n:03}", 1) for n, title in enumerate(kinds)][::-1]

    async def page(limit: int, before: Before) -> list[ThreadRow]:
        return [row for row in kept if before is None or (row.updated_at, row.thread_id) < before][:limit]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(titles, "ROWS", rows)
        patch.setattr(titles, "MOST_READ", most)
        found: list[ThreadRow] = []
        before: Before = None
        for _ in range(len(kept) + 2):
            some, last = await find(page, words_of("GAS"), limit, before)
            assert len(some) <= limit
            found += some
            if last is None:
                break
            before = (last.updated_at, last.thread_id)
        else:
            raise AssertionError("the pages never end")
    assert found == [row for row in kept if "gas" in row.title.lower()]
