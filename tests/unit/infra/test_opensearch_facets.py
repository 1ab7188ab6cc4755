"""Terms of filterable values: equal exactly where the values are, sorted as the values sort."""

from __future__ import annotations

import sqlite3

from hypothesis import example, given
from hypothesis import strategies as st

from src.core.documents import Chunk, Document
from src.infra.search.comparing import BOOLEAN, NUMBER, TEXT, facet_value
from src.infra.search.embedded.records import sql_value
from src.infra.search.opensearch.facets import document_terms, exists_term, kind_limits, own_terms, value_term

numbers = st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.integers(2**53 - 5, 2**53 + 5).map(float)
texts = st.text(max_size=6) | st.text(alphabet="ab\x00\udce9\U0010ffff", max_size=4)


@given(numbers, numbers)
@example(2**63 - 1, 2.0**63)
@example(-(2**63), -(2.0**63))
@example(2**53 + 1, 2.0**53)
@example(0.0, -0.0)
@example(1, 1.0)
def test_numbers_sort_and_equal_exactly(one: float, other: float) -> None:
    one, other = facet_value(one)[1], facet_value(other)[1]
    first, second = value_term("n", NUMBER, one).encode(), value_term("n", NUMBER, other).encode()
    assert (first < second, first == second) == (one < other, one == other)
    low, high = kind_limits("n", NUMBER)
    assert low.encode() <= first < high.encode()


@given(texts, texts)
def test_texts_sort_as_the_embedded_engine_sorts_them(one: str, other: str) -> None:
    first, second = value_term("n", TEXT, one).encode(), value_term("n", TEXT, other).encode()
    less, same = sqlite3.connect(":memory:").execute("SELECT ?1 < ?2, ?1 = ?2", (sql_value(one), sql_value(other))).fetchone()
    assert (first < second, first == second) == (bool(less), bool(same))
    low, high = kind_limits("n", TEXT)
    assert low.encode() <= first < high.encode()


@given(st.text(min_size=1, max_size=8) | st.text(alphabet="#\x1fa\udce9", min_size=1, max_size=4), st.text(alphabet="#\x1fa\udce9", min_size=1, max_size=4))
def test_fields_never_run_into_each_other(one: str, other: str) -> None:
    first, second = exists_term(one), exists_term(other)
    assert first == second if one == other else not first.startswith(second)


@given(st.integers(7_990, 9_000), st.integers(7_990, 9_000), st.sampled_from("aé\udce9"))
def test_long_texts_are_equal_only_if_they_are(one: int, other: int, letter: str) -> None:
    first, second = value_term("n", TEXT, letter * one), value_term("n", TEXT, letter * other)
    assert (first == second) is (one == other)
    assert len(first.encode()) < 10_000


def test_a_chunk_carries_what_it_and_its_document_have() -> None:
    document = Document("d", "t", "", "/d", "text/plain", "h", (), {"n": (1, 1.0, "1"), "page": 9, "none": (), "nan": float("nan"), "flag": True})
    terms = document_terms(document) + own_terms(Chunk("c", "d", "t", 0, "text", 3, "s"))
    assert sorted(terms) == sorted(
        [
            *("document_id\x1f", "document_id\x1ftd", "source\x1f", "source\x1ft/d", "content_type\x1f", "content_type\x1fttext/plain"),
            *("n\x1f", value_term("n", NUMBER, 1), "n\x1ft1", "nan\x1f", "flag\x1f", value_term("flag", BOOLEAN, 1)),
            *("page\x1f", value_term("page", NUMBER, 3), "section\x1f", "section\x1fts"),
        ]
    )
