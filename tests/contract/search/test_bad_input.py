"""Whatever comes in, both engines give a right answer or the same clear error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from src.core.search import MODES, AnyOf, Exists, Filter, HybridTuning, Mode, Range, SearchRequest
from src.errors import FilterError, InputError, QueryError
from src.infra.search.protocol import SearchClient
from tests.servers.opensearch.cluster import Cluster

from .builders import DIMS, MEMBER, SYSTEM, vector_of, write
from .conftest import Embedded, OpenSearch

TEXTS = [
    "the meter AND the tariff",
    "title:meter* ~2",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
    "\x00 NUL \x00",
    "lone \ud800 surrogate",
    "电表 ﬁle",
]
SYNTAX = "+-&|!(){}[]^\"~*?:\\/<>=@#' \x00\ud800\u202e"
relaxed = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

Outcome = tuple[str, Any]
Both = Callable[[Callable[[SearchClient], Awaitable[Any]]], tuple[Outcome, Outcome]]


@pytest.fixture(scope="module")
def both(opensearch: Cluster) -> Iterator[Both]:
    """Asks both engines, which hold the same corpus; an error is given by its class and message."""
    stores = [Embedded(), OpenSearch(opensearch)]
    with asyncio.Runner() as runner:
        clients = [store.open() for store in stores]
        for client in clients:
            runner.run(client.write([write(f"d{at}", [text], title="Handbook", metadata={"n": at, "s": f"v{at}"}) for at, text in enumerate(TEXTS)]))

        def ask(call: Callable[[SearchClient], Awaitable[Any]]) -> tuple[Outcome, Outcome]:
            return tuple(runner.run(outcome(call, client)) for client in clients)  # type: ignore[return-value]  # there are two

        yield ask
        for client in clients:
            runner.run(client.aclose())
    for store in stores:
        store.drop()


async def outcome(call: Callable[[SearchClient], Awaitable[Any]], client: SearchClient) -> Outcome:
    try:
        return "answer", await call(client)
    except InputError as error:
        return type(error).__name__, error.message


def agree(outcomes: tuple[Outcome, Outcome]) -> None:
    (kind, one), (other_kind, other) = outcomes
    assert kind == other_kind, (one, other)
    if kind != "answer":
        assert one == other
    elif hasattr(one, "hits"):
        assert {hit.chunk_id for hit in one.hits} == {hit.chunk_id for hit in other.hits}
        assert [hit.score for hit in one.hits] == pytest.approx([hit.score for hit in other.hits], rel=1e-4, abs=1e-5)
    else:
        assert one == other


queries = (
    st.text(max_size=80)
    | st.text(alphabet=SYNTAX + "meter", max_size=40)
    | st.sampled_from(["meter AND NOT (tariff OR *)", "/me.*r/", "_exists_:title", "{" * 500, "meter\ud800", "\udfff", "שלום", "\u202emeter", "NUL\x00"])
)


@relaxed
@given(query=queries, mode=st.sampled_from(MODES))
@example(query="meter " * 16_700, mode="hybrid")
@example(query="a" * 100_000, mode="bm25")
@example(query="?!" * 50_000, mode="hybrid")
@example(query="表" * 33_000, mode="bm25")
@example(query="x" * 200_001, mode="bm25")
@example(query=SYNTAX * 4000, mode="hybrid")
def test_any_query_is_answered_alike(both: Both, query: str, mode: Mode) -> None:
    agree(both(lambda client: client.search(SearchRequest(query, mode=mode, vector=vector_of("meter"), highlight=len(query) < 50), MEMBER)))


def test_a_hundred_kilobytes_of_distinct_words_are_answered(both: Both) -> None:
    """OpenSearch counts the first 450 of them, the embedded engine 1,024."""
    query = "meter " + " ".join(f"word{at}" for at in range(12_000))
    assert len(query) > 100_000
    for kind, result in both(lambda client: client.search(SearchRequest(query, vector=vector_of("meter"), highlight=True), MEMBER)):
        assert kind == "answer"
        assert "meter" in result.hits[0].text


vectors = (
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True) | st.floats(-1, 1), max_size=DIMS + 2)
    | st.lists(st.floats(-1, 1), min_size=DIMS, max_size=DIMS)
    | st.just([0.0] * DIMS)
    | st.just([float("nan")] * DIMS)
    | st.just([3e38] * DIMS)
    | st.just([1e-30] * DIMS)
    | st.sampled_from(["text", None, [[0.1] * DIMS], [None] * DIMS, object()])
)


@relaxed
@given(vector=vectors, mode=st.sampled_from(["knn", "hybrid"]))
def test_any_vector_is_answered_alike(both: Both, vector: Any, mode: Mode) -> None:
    outcomes = both(lambda client: client.search(SearchRequest("meter", mode=mode, vector=vector), MEMBER))
    agree(outcomes)
    if outcomes[0][0] != "answer":
        assert outcomes[0][0] == "QueryError"
        assert "vector" in outcomes[0][1]


@relaxed
@given(
    top_k=st.integers(-3, 12) | st.sampled_from([0, -1, 100_000, 10_000, 10_001, 2**70, True, 1.5, "10", None]),
    mode=st.sampled_from(MODES),
    tuning=st.builds(
        HybridTuning,
        fusion=st.sampled_from(["completed", "server", "other"]),
        technique=st.sampled_from(["min_max", "l2", "z_score", "rrf", "none"]),
        vector_weight=st.floats(-0.5, 1.5) | st.sampled_from([0.0, 1.0, float("nan")]),
        candidates=st.integers(-1, 300) | st.just(100_000),
        rrf_k=st.integers(-1, 100),
    ),
    cursor=st.none() | st.text(max_size=20) | st.sampled_from(["W10", "WzEsIm5vIl0", "A" * 30_000]),
)
def test_any_page_and_tuning_is_answered_alike(both: Both, top_k: Any, mode: Mode, tuning: Any, cursor: str | None) -> None:
    request = SearchRequest("meter tariff", mode=mode, top_k=top_k, vector=vector_of("meter"), tuning=tuning, cursor=cursor)
    outcomes = both(lambda client: client.search(request, MEMBER))
    if outcomes[0][0] == "answer" and tuning.fusion == "server" and mode == "hybrid":
        assume(tuning.candidates > len(TEXTS))  # which of equal scores is a leg's last candidate is left to each engine
    agree(outcomes)


values: st.SearchStrategy[Any] = (
    st.integers(-3, 7)
    | st.floats()
    | st.booleans()
    | st.text(max_size=8)
    | st.sampled_from(["v1", "1", "1.0", "true", 10**400, 10**5000, None, b"x", [1], "\ud800", "x" * 40_000])
)
names = st.sampled_from(["n", "s", "page", "section", "document_id", "title", "nowhere", "", "allow", "payload.text", "_id", "a\x1fb", "\ud800", "x" * 5000])
filters: st.SearchStrategy[Filter] = (
    st.builds(AnyOf, names, st.lists(values, max_size=3).map(tuple))
    | st.builds(Range, names, values, values, values, values)
    | st.builds(Exists, names, st.booleans())
)


@relaxed
@given(wanted=st.lists(filters, max_size=2))
@example(wanted=[AnyOf("n", tuple(range(10_000)))])
@example(wanted=[AnyOf("n", tuple(range(10_001)))])
def test_any_filter_is_answered_alike(both: Both, wanted: list[Filter]) -> None:
    agree(both(lambda client: client.count(MEMBER, filters=wanted)))
    agree(both(lambda client: client.search(SearchRequest("meter", mode="bm25", filters=tuple(wanted)), MEMBER)))
    agree(both(lambda client: client.list_documents(MEMBER, filters=wanted)))


@relaxed
@given(limit=st.integers(-2, 12) | st.sampled_from([0, 10_000, 10_001, True, 2.5, None]), cursor=st.none() | st.text(max_size=10))
def test_any_listing_is_answered_alike(both: Both, limit: Any, cursor: str | None) -> None:
    agree(both(lambda client: client.list_documents(MEMBER, limit=limit, cursor=cursor)))


ids = st.sampled_from(["a/b/../c", "x" * 600, "é" * 300, "..", ".", "_all", "a b?c=d#e", "%2F", "\x00", "\ud800", "*", " ", "-1", '"', "\\", "🙂"]) | st.text(
    min_size=1, max_size=30
)


@settings(relaxed, max_examples=25)
@given(document_id=ids)
def test_any_document_id_is_written_found_and_deleted(run_with_client: Callable[..., None], document_id: str) -> None:
    async def check(client: SearchClient) -> None:
        item = write(document_id, ["the meter"], title=document_id, metadata={"id": document_id})
        await client.write([item])
        assert await client.get_document(document_id, MEMBER) == item.document
        assert await client.get_chunks(document_id, MEMBER) == item.chunks
        (hit,) = (await client.search(SearchRequest("meter", mode="bm25", filters=(AnyOf("id", (document_id,)),)), MEMBER)).hits
        assert (hit.document_id, hit.chunk_id) == (document_id, item.chunks[0].id)
        assert [found.id for found in (await client.list_documents(MEMBER)).documents] == [document_id]
        assert await client.content_hashes([document_id], "default") == {document_id: "hash"}
        assert await client.delete([document_id], SYSTEM) == 1
        assert await client.count(MEMBER) == 0

    run_with_client(check)


def test_the_errors_are_of_their_own_kinds(both: Both) -> None:
    request = SearchRequest("meter", mode="bm25")
    bad = {"QueryError": SearchRequest("", mode="bm25"), "FilterError": SearchRequest("x", mode="bm25", filters=(AnyOf("", (1,)),))}
    assert both(lambda client: client.search(request, MEMBER))[0][0] == "answer"
    for kind, one in bad.items():
        assert {found for found, _ in both(lambda client, one=one: client.search(one, MEMBER))} == {kind}  # type: ignore[misc]  # a default argument binds the loop's value
    assert {QueryError, FilterError} < set(InputError.__subclasses__())


def test_a_document_without_an_id_is_refused_alike(both: Both) -> None:
    agree(outcomes := both(lambda client: client.write([write("", ["text"])])))
    assert outcomes[0][0] == "InputError"


def test_vectors_that_cannot_be_stored_are_refused_alike(both: Both) -> None:
    item = write("bad", ["text"])
    for vectors_ in (np.full((1, DIMS), np.nan), np.zeros((1, DIMS + 1)), np.zeros((2, DIMS)), np.full((1, DIMS), np.inf)):
        outcomes = both(lambda client, vectors_=vectors_: client.write([type(item)(item.document, item.chunks, vectors_.astype(np.float32))]))  # type: ignore[misc]  # as above
        agree(outcomes)
        assert outcomes[0][0] == "InputError"


@pytest.mark.parametrize("metadata", [{"a": {"b": 1}}, {"a": None}, {"a": ("x", ("y",))}, {"a": b"x"}, {1: "a"}])
def test_metadata_that_nothing_can_filter_by_is_refused_by_both_and_nothing_is_written(both: Both, metadata: Any) -> None:
    first, second = both(lambda client: client.write([write("fresh", ["x"]), write("odd", ["x"], metadata=metadata)]))
    assert first == second
    assert first[0] == "InputError"
    assert "in its metadata" in first[1]
    assert both(lambda client: client.get_document("fresh", MEMBER)) == (("answer", None), ("answer", None))
