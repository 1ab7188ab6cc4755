"""What must hold for every corpus, scope, filter and page: checked against a brute-force oracle."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.core.identity import EVERYONE, AccessScope, system_scope
from src.core.search import MODES, AnyOf, Exists, Filter, HybridTuning, Mode, Range, SearchRequest
from src.infra.search.protocol import DocumentWrite, SearchClient

from .builders import Oracle, vector_of, write

Runner = Callable[[Callable[[SearchClient], Awaitable[None]]], None]

WORDS = ("meter", "tariff", "ladder", "outage", "storm", "bill")
PRINCIPALS = ("user:1", "group:x", EVERYONE)
VALUES: st.SearchStrategy[Any] = st.sampled_from([1, 2, 10, 1.5, "1", "2", "b", "true", True, False])
relaxed = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)


@st.composite
def writes(draw: st.DrawFn) -> DocumentWrite:
    count = draw(st.integers(0, 4))
    return write(
        f"d{draw(st.integers(0, 7))}",
        draw(st.lists(texts, min_size=count, max_size=count)),
        tenant=draw(st.sampled_from(["a", "b"])),
        title=draw(st.sampled_from(["", "storm"])),
        acl=draw(st.lists(st.sampled_from(PRINCIPALS), max_size=2)),
        metadata=draw(st.dictionaries(st.sampled_from(["n", "m"]), VALUES | st.lists(VALUES, max_size=2).map(tuple), max_size=2)),
        pages=draw(st.lists(st.none() | st.integers(1, 3), min_size=count, max_size=count)),
        sections=draw(st.lists(st.sampled_from(["", "s", "2"]), min_size=count, max_size=count)),
    )


scopes = st.builds(AccessScope, tenant=st.sampled_from(["a", "b", "c"]), principals=st.frozensets(st.sampled_from(PRINCIPALS))) | st.just(system_scope())
fields = st.sampled_from(["n", "m", "page", "section", "document_id", "title", "nowhere"])
bounds = st.sampled_from([None, 1, 1.5, 2, "1", "2", "b"])
ranges = st.builds(Range, fields, bounds, bounds, bounds, bounds).filter(lambda item: any(b is not None for b in (item.gt, item.gte, item.lt, item.lte)))
anyofs = st.builds(AnyOf, fields, st.lists(VALUES | st.sampled_from(["d1", "storm", "s", 3]), min_size=1, max_size=3).map(tuple))
filters: st.SearchStrategy[list[Filter]] = st.lists(anyofs | ranges | st.builds(Exists, fields, st.booleans()), max_size=2)
deletes = st.tuples(st.lists(st.sampled_from([f"d{n}" for n in range(8)]), max_size=3), scopes)


def request(query: str, mode: Mode, top_k: int, wanted: list[Filter] | None = None, **more: Any) -> SearchRequest:
    return SearchRequest(query, mode=mode, top_k=top_k, filters=tuple(wanted or ()), vector=vector_of(query), **more)


def matches(query: str, texts_of: tuple[str, ...]) -> bool:
    return bool(set(re.findall(r"\w+", query)) & set(re.findall(r"\w+", " ".join(texts_of))))


@relaxed
@given(
    batches=st.lists(st.lists(writes(), max_size=6) | deletes, min_size=1, max_size=4),
    scope=scopes,
    wanted=filters,
    query=texts,
    top_k=st.integers(1, 12),
)
def test_each_mode_gives_as_many_as_exist_and_only_what_scope_and_filters_allow(
    run_with_client: Runner, batches: list[Any], scope: AccessScope, wanted: list[Filter], query: str, top_k: int
) -> None:
    async def check(client: SearchClient) -> None:
        oracle = Oracle({})
        for batch in batches:
            if isinstance(batch, tuple):
                assert await client.delete(*batch) == oracle.delete(*batch)
                continue
            await client.write(batch)
            for item in batch:
                oracle.put(item)
        seen = oracle.visible(scope, wanted)
        assert await client.count(scope, filters=wanted) == len(seen)

        knn = (await client.search(request(query, "knn", top_k, wanted), scope)).hits
        cosines = {key: float(vector_of(chunk.text) @ vector_of(query)) for key, (chunk, _) in seen.items()}
        assert {hit.chunk_id for hit in knn} <= set(seen)
        assert [hit.score for hit in knn] == pytest.approx(sorted(cosines.values(), reverse=True)[:top_k], abs=1e-5)

        everything = (await client.search(request(query, "bm25", 10_000), system_scope())).hits
        found = {key for key, (chunk, document) in seen.items() if matches(query, (document.title, chunk.section, chunk.text))}
        assert {hit.chunk_id for hit in everything if hit.chunk_id in seen} == found
        bm25 = (await client.search(request(query, "bm25", top_k, wanted), scope)).hits
        expected = [hit.score for hit in everything if hit.chunk_id in seen][:top_k]
        assert [hit.score for hit in bm25] == pytest.approx(expected, rel=1e-5)
        assert {hit.chunk_id for hit in bm25} <= found

        hybrid = (await client.search(request(query, "hybrid", top_k, wanted), scope)).hits
        assert len(hybrid) == min(top_k, len(seen))
        assert {hit.chunk_id for hit in hybrid} <= set(seen)
        assert [hit.score for hit in hybrid] == sorted((hit.score for hit in hybrid), reverse=True)
        assert all(set(hit.legs) == {"bm25", "knn"} for hit in hybrid)

    run_with_client(check)


@relaxed
@given(
    corpus=st.lists(writes(), min_size=1, max_size=12),
    mode=st.sampled_from(MODES),
    query=texts,
    size=st.integers(1, 7),
    candidates=st.integers(1, 30),
    fusion=st.sampled_from(["completed", "server"]),
    technique=st.sampled_from(["min_max", "l2", "z_score", "rrf"]),
)
def test_pages_neither_overlap_nor_skip(
    run_with_client: Runner, corpus: list[DocumentWrite], mode: Mode, query: str, size: int, candidates: int, fusion: Any, technique: Any
) -> None:
    async def check(client: SearchClient) -> None:
        await client.write(corpus)
        tuning = HybridTuning(fusion=fusion, technique=technique, candidates=candidates)
        pages, cursor = [], None
        while True:
            result = await client.search(request(query, mode, size, cursor=cursor, tuning=tuning), system_scope())
            pages.append(result.hits)
            cursor = result.next_cursor
            if cursor is None:
                break
            assert len(result.hits) == size
        keys = [hit.chunk_id for page in pages for hit in page]
        assert len(keys) == len(set(keys))
        scores = [hit.score for page in pages for hit in page]
        assert scores == sorted(scores, reverse=True)
        if mode != "hybrid":
            whole = (await client.search(request(query, mode, 10_000), system_scope())).hits
            assert keys == [hit.chunk_id for hit in whole]
        else:
            assert len(keys) >= min(max(candidates, size), await client.count(system_scope()))

    run_with_client(check)


@relaxed
@given(corpus=st.lists(writes(), max_size=15), scope=scopes, wanted=filters, size=st.integers(1, 4))
def test_listing_pages_hold_every_visible_document_once_in_order(
    run_with_client: Runner, corpus: list[DocumentWrite], scope: AccessScope, wanted: list[Filter], size: int
) -> None:
    async def check(client: SearchClient) -> None:
        oracle = Oracle({})
        await client.write(corpus)
        for item in corpus:
            oracle.put(item)
        found, cursor = [], None
        while True:
            page = await client.list_documents(scope, filters=wanted, limit=size, cursor=cursor)
            found += [(document.id, document.tenant) for document in page.documents]
            cursor = page.next_cursor
            if cursor is None:
                break
        expected = {(document.id, document.tenant) for _, document in oracle.visible(scope, wanted).values()}
        with_chunks = {(item.document.id, item.document.tenant) for item in oracle.documents.values() if item.chunks}
        assert [key for key in found if key in with_chunks] == sorted(expected)
        assert found == sorted(set(found))

    run_with_client(check)


@relaxed
@given(query=st.text(max_size=60) | st.text(alphabet="+-&|!(){}[]^\"~*?:\\/<>=@#' \x00\ud800", max_size=30))
def test_any_query_gets_an_answer_or_a_query_error(run_with_client: Runner, query: str) -> None:
    from src.errors import QueryError

    async def check(client: SearchClient) -> None:
        await client.write([write("d1", ["the meter AND the tariff", "title:meter* ~2"]), write("d2", [query or "x"])])
        vector = np.eye(16, dtype=np.float32)[0]
        for mode in MODES:
            try:
                result = await client.search(SearchRequest(query, mode=mode, vector=vector), system_scope())
            except QueryError:
                assert mode != "knn"
                assert not query.strip()
            else:
                assert len(result.hits) <= 3

    run_with_client(check)
