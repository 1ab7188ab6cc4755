"""Preferences move hits within a block, the same way whatever the engine, and pages stay whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.core.documents import MetadataValue
from src.core.search import AnyOf, Exists, Filter, Hit, Range, SearchResult
from src.errors import QueryError
from src.retrieval.boosting import BLOCK, block_size, boosted, fitting, prepare
from src.retrieval.intents import Boost
from src.retrieval.paging import Arranged, page

PREFERRED = Boost(AnyOf("kind", ("procedure",)), 0.5, "kind=procedure ^0.5")


def hit(number: int, score: float, **metadata: MetadataValue | tuple[MetadataValue, ...]) -> Hit:
    return Hit(f"c{number}", f"d{number}", f"title {number}", "text", f"/d{number}", score, {}, page=number, section="", metadata=metadata)


async def prefer(block: SearchResult, first: bool, before: bool | None) -> Arranged:
    return Arranged(boosted(block.hits, (PREFERRED,)))


class Engine:
    """The ranking of an engine, handed out as its pages are."""

    def __init__(self, hits: list[Hit], size: int) -> None:
        self.hits, self.size = hits, size

    async def __call__(self, cursor: str | None) -> SearchResult:
        start = int(cursor or 0)
        end = start + self.size
        return SearchResult(tuple(self.hits[start:end]), "bm25", 1.0, next_cursor=str(end) if end < len(self.hits) else None)


async def read(hits: list[Hit], top_k: int) -> list[list[Hit]]:
    engine, cursor, pages = Engine(hits, block_size(top_k)), None, []
    while True:
        result = await page(engine, prefer, top_k, cursor, "mark")
        pages.append(list(result.hits))
        cursor = result.next_cursor
        if cursor is None:
            return pages


KINDS = st.lists(st.tuples(st.floats(-10, 10), st.sampled_from(["procedure", "notice"])), max_size=320)


@given(KINDS, st.integers(1, 150))
async def test_pages_hold_every_hit_once_and_are_full(kinds: list[tuple[float, str]], top_k: int) -> None:
    scores = sorted((score for score, _ in kinds), reverse=True)
    hits = [hit(number, scores[number], kind=kind) for number, (_, kind) in enumerate(kinds)]
    pages = await read(hits, top_k)
    found = [item.chunk_id for items in pages for item in items]
    assert sorted(found) == sorted(item.chunk_id for item in hits)
    assert all(len(items) == top_k for items in pages[:-1])


@given(KINDS, st.integers(1, 30))
async def test_pages_are_cut_from_the_reranked_blocks(kinds: list[tuple[float, str]], top_k: int) -> None:
    scores = sorted((score for score, _ in kinds), reverse=True)
    hits = [hit(number, scores[number], kind=kind) for number, (_, kind) in enumerate(kinds)]
    expected = [item for start in range(0, len(hits), BLOCK) for item in boosted(hits[start : start + BLOCK], (PREFERRED,))]
    assert [item for items in await read(hits, top_k) for item in items] == expected


def test_a_weight_means_standard_deviations_whatever_the_scores_are() -> None:
    hits = [hit(1, 30.0), hit(2, 20.0), hit(3, 10.0, kind="procedure")]
    for scale, shift in ((1, 0), (0.001, 0), (100, -5000)):
        scaled = [replace(item, score=item.score * scale + shift) for item in hits]
        assert [item.chunk_id for item in boosted(scaled, (PREFERRED,))] == ["c1", "c2", "c3"]
        assert [item.chunk_id for item in boosted(scaled, (replace(PREFERRED, weight=1.5),))] == ["c1", "c3", "c2"]
        assert [item.chunk_id for item in boosted(scaled, (replace(PREFERRED, weight=2.5),))] == ["c3", "c1", "c2"]


def test_among_equal_scores_what_is_preferred_stands_first_and_what_is_not_last() -> None:
    hits = [hit(1, 1.0), hit(2, 1.0, kind="procedure"), hit(3, 1.0)]
    assert [item.chunk_id for item in boosted(hits, (PREFERRED,))] == ["c2", "c1", "c3"]
    assert [item.chunk_id for item in boosted(hits, (replace(PREFERRED, weight=-0.5),))] == ["c1", "c3", "c2"]


def test_hits_that_no_boost_fits_keep_their_scores() -> None:
    hits = [hit(1, 2.0), hit(2, 1.0, kind="procedure")]
    assert {item.chunk_id: item.score for item in boosted(hits, (PREFERRED,))} == {"c1": 2.0, "c2": 1.25}
    assert fitting(hits, (PREFERRED,)) == 1


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (AnyOf("kind", ("a",)), True),
        (AnyOf("kind", ("c", "b")), True),
        (AnyOf("year", ("2025",)), True),
        (AnyOf("year", (2025.0,)), True),
        (AnyOf("flag", ("true",)), True),
        (AnyOf("flag", (1,)), False),
        (AnyOf("code", (7,)), True),
        (AnyOf("document_id", ("d3",)), True),
        (AnyOf("page", (3,)), True),
        (AnyOf("section", ("",)), False),
        (AnyOf("missing", ("a",)), False),
        (Range("year", gte=2025, lt=2026), True),
        (Range("year", gt="2025"), False),
        (Range("kind", gte="b"), True),
        (Range("missing", gte=0), False),
        (Exists("kind"), True),
        (Exists("section"), False),
        (Exists("missing", present=False), True),
    ],
)
def test_conditions_hold_as_the_filters_of_the_engines_do(condition: Filter, holds: bool) -> None:
    assert prepare(condition).holds(hit(3, 1.0, kind=("a", "b"), year=2025, flag=True, code="7")) is holds


async def test_a_cursor_of_another_request_or_of_nobody_is_refused() -> None:
    hits = [hit(number, 1.0) for number in range(5)]
    first = await page(Engine(hits, 100), prefer, 2, None, "mark")
    with pytest.raises(QueryError):
        await page(Engine(hits, 100), prefer, 2, first.next_cursor, "another")
    with pytest.raises(QueryError):
        await page(Engine(hits, 100), prefer, 2, "rubbish", "mark")
