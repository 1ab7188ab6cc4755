"""Searching a real OpenSearch: deep pages, questions worded by the configuration, one state behind all pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from src.core.search import MODES, HybridTuning, Mode, SearchRequest
from src.errors import ConfigurationError, IndexMissingError
from src.infra.config import SearchCfg
from src.infra.opensearch_client import OpenSearchClient
from tests.contract.search.builders import DIMS, EMBEDDER, SYSTEM, vector_of, write
from tests.servers.opensearch.cluster import Cluster

COUNT = 420
Make = Callable[..., OpenSearchClient]


@pytest.fixture
async def make(opensearch: Cluster, index_prefix: str) -> AsyncIterator[Make]:
    made: list[OpenSearchClient] = []

    def one(**settings: Any) -> OpenSearchClient:
        cfg = SearchCfg(host=opensearch.url, index_alias=f"{index_prefix}docs", replicas=0, **settings)
        made.append(OpenSearchClient(cfg, embedder=EMBEDDER, dims=DIMS))
        return made[-1]

    yield one
    for client in made:
        await client.aclose()


def question(text: str, mode: Mode, **more: Any) -> SearchRequest:
    return SearchRequest(text, mode=mode, vector=vector_of(text), **more)


async def pages(client: OpenSearchClient, request: dict[str, Any]) -> list[tuple[str, float]]:
    found, cursor = [], None
    while True:
        result = await client.search(question(**request, cursor=cursor), SYSTEM)
        found += [(hit.chunk_id, hit.score) for hit in result.hits]
        cursor = result.next_cursor
        if cursor is None:
            return found


async def test_deep_pages_neither_overlap_nor_skip_with_ties_and_several_segments(make: Make) -> None:
    client = make()
    texts = ["meter tariff", "meter", "storm meter", "night"]
    for start in range(0, COUNT, 70):  # a segment each, and ties everywhere
        await client.write([write(f"d{at}", [f"{texts[at % 4]} {at}"]) for at in range(start, start + 70)])
        await client.refresh()
    for mode, size in (("bm25", 37), ("knn", 37), ("hybrid", 50)):
        for tuning in (
            (HybridTuning(), HybridTuning(fusion="server"), HybridTuning(fusion="server", technique="rrf")) if mode == "hybrid" else (HybridTuning(),)
        ):
            found = await pages(client, {"text": "meter tariff", "mode": mode, "top_k": size, "tuning": tuning})
            keys = [key for key, _ in found]
            assert len(keys) == len(set(keys))
            assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
            if mode == "bm25":
                assert len(found) == COUNT * 3 // 4
                assert found == await pages(client, {"text": "meter tariff", "mode": mode, "top_k": 10_000})
            elif mode == "knn":
                assert len(found) == COUNT
            else:
                assert len(found) >= tuning.candidates


async def test_pages_of_one_request_ask_the_same_copy_of_each_shard(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make()
    await client.write([write(f"d{at}", ["meter"]) for at in range(9)])
    await client.refresh()
    asked = []
    perform = client.transport.perform_raw

    async def recorded(*args: Any, **options: Any) -> Any:
        if "preference" in options["params"]:  # without one the cluster is tried
            asked.append(options["params"]["preference"])
        return await perform(*args, **options)

    monkeypatch.setattr(client.transport, "perform_raw", recorded)
    await pages(client, {"text": "meter", "mode": "bm25", "top_k": 2})
    assert len(asked) == 5
    assert len(set(asked)) == 1


async def test_fuzziness_finds_misspelled_words_only_where_it_is_asked_for(make: Make) -> None:
    exact, fuzzy = make(), make(fuzziness="AUTO")
    await exact.write([write("d1", ["reading the meter"]), write("d2", ["storm"])])
    await exact.refresh()
    for mode in ("bm25", "hybrid"):
        request = question("metre raeding", mode, top_k=1)
        hits = (await fuzzy.search(request, SYSTEM)).hits
        assert [hit.document_id for hit in hits] == ["d1"]
        assert hits[0].legs["bm25"] > 0
    assert (await exact.search(question("metre raeding", "bm25"), SYSTEM)).hits == ()
    long = " ".join(["metre", *(f"word{at}" for at in range(2000))])
    assert (await fuzzy.search(question(long, "bm25"), SYSTEM)).hits == ()  # long questions are taken as they are spelled


async def test_a_phrase_and_further_fields_weigh_where_the_configuration_says_so(make: Make) -> None:
    plain, phrase, titles = make(), make(phrase_boost=5.0), make(fields=("title^20",))
    await plain.write(
        [write("d1", ["night tariff of the meter"]), write("d2", ["tariff meter night night tariff-less"]), write("d3", ["meter at noon"], title="Night")]
    )
    await plain.refresh()
    request = question("tariff of the meter", "bm25")
    scores = [{hit.document_id: hit.score for hit in (await client.search(request, SYSTEM)).hits} for client in (plain, phrase)]
    assert scores[1]["d1"] > scores[0]["d1"]
    assert scores[1]["d2"] == pytest.approx(scores[0]["d2"])
    assert (await titles.search(question("night", "bm25"), SYSTEM)).hits[0].document_id == "d3"
    long = question(" ".join(f"night{at} tariff" for at in range(3000)), "bm25")
    for client in (phrase, titles):
        assert (await client.search(long, SYSTEM)).hits


@pytest.mark.parametrize("wrong", ["titel", "title^x", "title^-1", "vector", "body"])
async def test_fields_that_the_index_does_not_have_are_a_configuration_error(make: Make, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=r"search\.fields"):
        make(fields=(wrong,))


async def test_a_missing_index_is_an_error_before_anything_is_searched(make: Make) -> None:
    client = make()
    for call in (client.search(question("x", "hybrid"), SYSTEM), client.count(SYSTEM), client.capabilities(), client.refresh()):
        with pytest.raises(IndexMissingError, match="rag ingest"):
            await call


async def test_searches_from_several_event_loops_share_one_client(make: Make) -> None:
    client = make()
    await client.write([write("d1", ["meter"])])
    await client.refresh()
    requests = [question("meter", "hybrid", tuning=tuning) for tuning in (HybridTuning(), HybridTuning(fusion="server"))]

    def elsewhere() -> list[Any]:
        return asyncio.run(client.multi_search(requests, SYSTEM))

    here, *others = await asyncio.gather(client.multi_search(requests, SYSTEM), *(asyncio.to_thread(elsewhere) for _ in range(4)))
    for other in others:
        assert [result.hits for result in other] == [result.hits for result in here]


@pytest.mark.parametrize("mode", MODES)
async def test_words_of_another_language_are_highlighted_where_the_server_finds_them(make: Make, mode: Mode) -> None:
    client = make(language="german")
    await client.write([write("d", ["Die Häuser, das Haus und 电表"])])
    await client.refresh()
    for tuning in (HybridTuning(), HybridTuning(fusion="server")):
        (hit,) = (await client.search(question("Hauses 电", mode, highlight=True, tuning=tuning), SYSTEM)).hits
        assert [hit.text[start:end] for start, end in hit.highlights] == ["Häuser", "Haus", "电"]
