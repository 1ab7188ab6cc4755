"""Searching: modes, fusion, legs, and what cannot be asked."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import numpy as np
import pytest

from src.core.search import AnyOf, Exists, HybridTuning, Range, SearchRequest
from src.errors import FilterError, QueryError
from src.infra.search.protocol import SearchClient

from .builders import DIMS, MEMBER, SYSTEM, vector_of, write

TEXTS = ["the meter reading", "the tariff for night storage", "ladders in storms", "storm damage and outage", "meter meter tariff"]


@pytest.fixture
async def corpus(client: SearchClient) -> SearchClient:
    await client.write([write(f"d{at}", [text]) for at, text in enumerate(TEXTS)])
    return client


def ask(query: str, mode: Any = "hybrid", **more: Any) -> SearchRequest:
    return SearchRequest(query, mode=mode, vector=vector_of(query or "x"), **more)


async def test_bm25_finds_stems_and_ranks_by_them(corpus: SearchClient) -> None:
    hits = (await corpus.search(ask("METERS", "bm25"), MEMBER)).hits
    assert [hit.document_id for hit in hits] == ["d4", "d0"]
    assert all(dict(hit.legs) == {"bm25": hit.score} for hit in hits)


async def test_a_word_asked_twice_counts_once(corpus: SearchClient) -> None:
    once = (await corpus.search(ask("the meter and storm", "bm25"), MEMBER)).hits
    twice = (await corpus.search(ask("the meter and the storm, the meters", "bm25"), MEMBER)).hits
    assert [hit.score for hit in twice] == pytest.approx([hit.score for hit in once])


async def test_titles_are_searched(client: SearchClient) -> None:
    await client.write([write("d1", ["nothing here"], title="Ladders"), write("d2", ["nothing there"])])
    assert [hit.document_id for hit in (await client.search(ask("ladder", "bm25"), MEMBER)).hits] == ["d1"]


async def test_knn_ranks_by_cosine(corpus: SearchClient) -> None:
    query = "storm damage"
    hits = (await corpus.search(ask(query, "knn"), MEMBER)).hits
    expected = sorted((float(vector_of(text) @ vector_of(query)) for text in TEXTS), reverse=True)
    assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-5)
    assert all(dict(hit.legs) == {"knn": hit.score} for hit in hits)


async def test_completed_hybrid_gives_every_candidate_both_scores(corpus: SearchClient) -> None:
    hits = (await corpus.search(ask("storm outage", tuning=HybridTuning(vector_weight=0.3)), MEMBER)).hits
    bm25 = {hit.chunk_id: hit.score for hit in (await corpus.search(ask("storm outage", "bm25"), MEMBER)).hits}
    knn = {hit.chunk_id: hit.score for hit in (await corpus.search(ask("storm outage", "knn"), MEMBER)).hits}
    assert len(hits) == len(TEXTS)
    lexical = np.array([bm25.get(hit.chunk_id, 0.0) for hit in hits])
    vector = np.array([knn[hit.chunk_id] for hit in hits])
    assert [hit.legs["bm25"] for hit in hits] == pytest.approx(lexical)
    assert [hit.legs["knn"] for hit in hits] == pytest.approx(vector)
    expected = 0.3 * (vector - vector.mean()) / vector.std() + 0.7 * (lexical - lexical.mean()) / lexical.std()
    assert [hit.score for hit in hits] == pytest.approx(expected)


async def test_completed_scores_reach_beyond_each_legs_own_candidates(client: SearchClient) -> None:
    await client.write([write(f"d{at}", [f"{'storm ' * (at + 1)}{'calm ' * (30 - at)}"]) for at in range(30)])
    hits = (await client.search(ask("storm", top_k=6, tuning=HybridTuning(candidates=3)), MEMBER)).hits
    assert all(hit.legs["bm25"] > 0 for hit in hits)


async def test_server_fusion_names_a_leg_only_where_it_found_the_chunk(corpus: SearchClient) -> None:
    tuning = HybridTuning(fusion="server", technique="min_max", candidates=2)
    hits = (await corpus.search(ask("meter tariff", top_k=2, tuning=tuning), MEMBER)).hits
    assert len(hits) == 2
    assert all(set(hit.legs) <= {"bm25", "knn"} and hit.legs for hit in hits)
    assert hits[0].score <= 1.0 + 1e-9


async def test_a_query_of_punctuation_leaves_hybrid_to_the_vectors(corpus: SearchClient) -> None:
    request = SearchRequest("?!…", vector=vector_of("storm"))
    hits = (await corpus.search(request, MEMBER)).hits
    knn = (await corpus.search(dataclasses.replace(request, mode="knn"), MEMBER)).hits
    assert [hit.chunk_id for hit in hits] == [hit.chunk_id for hit in knn]
    assert (await corpus.search(dataclasses.replace(request, mode="bm25"), MEMBER)).hits == ()


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Der Zählerstand wird jährlich abgelesen", "zahlerstand ZÄHLERSTAND"),
        ("Die Straße ist gesperrt", "STRASSE"),
        ("电表读数每年一次", "电表"),
        ("水", "水"),
        ("停電のお知らせ", "停電"),
        ("정전 안내", "정전"),
        ("ประกาศไฟฟ้าดับ", "ไฟฟ้า"),
        ("انقطاع التيار الكهربائي", "انقطاع"),
        ("बिजली की कटौती", "बिजली"),
        ("ﬁle Ｆｕｌｌ width", "file full"),
    ],
)
async def test_other_languages_are_found(client: SearchClient, text: str, query: str) -> None:
    await client.write([write("d1", [text]), write("d2", ["something else entirely"])])
    assert [hit.document_id for hit in (await client.search(ask(query, "bm25"), MEMBER)).hits] == ["d1"]


@pytest.mark.parametrize(
    "query", ['+-&&||!(){}[]^"~*?:\\/', "title:meter AND NOT tariff", "meter*", "a" * 100_000, "meter " * 20_000, "\u202emeter", "\x00meter"]
)
async def test_query_syntax_means_nothing(corpus: SearchClient, query: str) -> None:
    hits = (await corpus.search(ask(query, "bm25"), MEMBER)).hits
    assert ("d0" in {hit.document_id for hit in hits}) is ("meter" in query)


async def test_thousands_of_distinct_words_are_answered(corpus: SearchClient) -> None:
    query = "storm " + " ".join(f"word{number}" for number in range(9000))
    assert {hit.document_id for hit in (await corpus.search(ask(query), MEMBER)).hits} >= {"d2", "d3"}


@pytest.mark.parametrize("top_k", [0, -1, 100_000, 10_001, True, 1.5])
async def test_page_sizes_out_of_range_are_refused(corpus: SearchClient, top_k: Any) -> None:
    with pytest.raises(QueryError):
        await corpus.search(ask("meter", "bm25", top_k=top_k), MEMBER)


@pytest.mark.parametrize("mode", ["bm25", "knn", "hybrid"])
async def test_the_largest_page_is_answered(corpus: SearchClient, mode: Any) -> None:
    assert (await corpus.search(ask("meter", mode, top_k=10_000), MEMBER)).hits


@pytest.mark.parametrize(
    "request_",
    [
        SearchRequest("", mode="bm25"),
        SearchRequest(" \n\t ", mode="hybrid", vector=vector_of("x")),
        SearchRequest("x", mode="knn"),
        SearchRequest("x", mode="hybrid"),
        SearchRequest("x", mode="knn", vector=np.zeros(DIMS + 1, np.float32)),
        SearchRequest("x", mode="knn", vector=np.zeros((1, DIMS), np.float32)),
        SearchRequest("x", mode="hybrid", vector=np.full(DIMS, np.nan, np.float32)),
        SearchRequest("x", mode="knn", vector=np.full(DIMS, np.inf, np.float32)),
        SearchRequest("x" * 1_000_000, mode="bm25"),
        SearchRequest("x", mode="fuzzy"),  # type: ignore[arg-type]  # the mistake under test
        SearchRequest("x", mode="bm25", cursor="nonsense"),
        SearchRequest("x", mode="bm25", cursor="é"),
        SearchRequest("x", mode="bm25", tuning=HybridTuning(candidates=0)),
        SearchRequest("x", mode="bm25", tuning=HybridTuning(vector_weight=1.5)),
    ],
)
async def test_requests_that_cannot_be_answered_are_query_errors(corpus: SearchClient, request_: SearchRequest) -> None:
    with pytest.raises(QueryError):
        await corpus.search(request_, MEMBER)


@pytest.mark.parametrize(
    "bad",
    [
        *(AnyOf("n", ()), AnyOf("", (1,)), AnyOf("n", (float("nan"),)), AnyOf("n", (None,)), AnyOf("n", (10**5000,))),
        *(Range("n"), Range("n", gte=True), Range("n", lt=-(10**5000)), Exists("")),
        *(Range("s", gte="x" * 241), Range("s", lt="\u00e9" * 121), Range("s", gt="a", lt="x" * 9_000), Range("s", gt="1" * 241)),
    ],
)
async def test_malformed_filters_are_filter_errors(corpus: SearchClient, bad: Any) -> None:
    for call in (corpus.search(ask("x", filters=(bad,)), MEMBER), corpus.count(MEMBER, filters=[bad]), corpus.list_documents(MEMBER, filters=[bad])):
        with pytest.raises(FilterError):
            await call


@pytest.mark.parametrize("field", ["f" * 512, "f" * 5_000, "\ud800" * 300])
async def test_the_longest_bounds_of_ranges_are_served(client: SearchClient, field: str) -> None:
    for at, value in enumerate(["x" * 240 + "a", "x" * 20_000, "x" * 239, "\ud800" * 90]):
        await client.write([write(f"d{at}", ["one"], metadata={field: value})])
    for item, count in ((Range(field, gte="x" * 240), 3), (Range(field, gte="a", lt="x" * 240), 1), (Range(field, gt="\ud800" * 80), 1)):
        assert await client.count(MEMBER, filters=[item]) == count
        assert len((await client.search(ask("one", "bm25", filters=(item,)), MEMBER)).hits) == count
        assert len((await client.list_documents(MEMBER, filters=[item])).documents) == count


async def test_a_field_that_nothing_has_matches_nothing(corpus: SearchClient) -> None:
    assert await corpus.count(MEMBER, filters=[AnyOf("nowhere", (1,))]) == 0
    assert await corpus.count(MEMBER, filters=[Exists("nowhere", present=False)]) == len(TEXTS)
    hostile = "x' OR 1=1 --"
    assert await corpus.count(MEMBER, filters=[AnyOf(hostile, (hostile,))]) == 0


async def test_a_cursor_of_another_request_is_refused(corpus: SearchClient) -> None:
    cursor = (await corpus.search(ask("the storm", "bm25", top_k=1), MEMBER)).next_cursor
    assert cursor is not None
    assert (await corpus.search(ask("the storm", "bm25", top_k=1, cursor=cursor), MEMBER)).hits
    with pytest.raises(QueryError):
        await corpus.search(ask("the meter", "bm25", top_k=1, cursor=cursor), MEMBER)
    with pytest.raises(QueryError):
        await corpus.search(ask("the storm", "bm25", top_k=1, cursor=cursor), SYSTEM)
    with pytest.raises(QueryError):
        await corpus.search(ask("the storm", "bm25", top_k=1, cursor=cursor, filters=(AnyOf("n", (1,)),)), MEMBER)


async def test_several_requests_are_answered_in_order(corpus: SearchClient) -> None:
    results = await corpus.multi_search([ask("meter", "bm25"), ask("storm", "knn"), ask("tariff")], MEMBER)
    assert [result.mode for result in results] == ["bm25", "knn", "hybrid"]
    assert await corpus.multi_search([], MEMBER) == []


async def test_many_searches_and_writes_at_once_all_succeed(corpus: SearchClient) -> None:
    async def one(number: int) -> None:
        await corpus.write([write(f"new{number}", [f"parallel number {number}"])])
        hits = (await corpus.search(ask(f"number {number}", "bm25"), MEMBER)).hits
        assert hits[0].document_id == f"new{number}"

    await asyncio.gather(*(one(number) for number in range(12)))
    assert (await corpus.info()).documents == len(TEXTS) + 12


async def test_each_use_of_the_system_scope_is_logged(corpus: SearchClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        await corpus.search(ask("meter"), SYSTEM)
        assert "system scope used" in caplog.text
        caplog.clear()
        await corpus.search(ask("meter"), MEMBER)
        assert "system scope used" not in caplog.text
