"""A reranker orders what a search found; where it fails, the search's order stands and the result says so. The engine is real, the reranker scripted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.core.documents import Chunk, Document, chunk_id
from src.core.identity import EVERYONE, AccessScope
from src.core.search import Hit, SearchResult
from src.errors import ModelCredentialsError, ModelError, QueryError, RagError, ServiceUnavailableError, UnreachableError
from src.infra.config import CacheCfg, IntentCfg, NetworkCfg, Settings, StorageCfg
from src.infra.providers.local_embedder import LocalEmbedder
from src.infra.resource_manager import ResourceManager
from src.infra.search.embedded import EmbeddedSearch
from src.infra.search.protocol import DocumentWrite
from src.retrieval.budgets import Budget
from src.retrieval.config import RetrievalCfg
from src.retrieval.intents import compile_rules
from src.retrieval.rerank import Reranking
from src.retrieval.retriever import Retriever
from tests.emulators.azure_openai import Reply
from tests.emulators.reranker import RerankerEmulator, reranker  # noqa: F401 - fixtures are taken by importing them
from tests.integration.test_reranker import cfg_of

SCOPE = AccessScope("default", frozenset({EVERYONE}))
COUNT = 30
NUMBERS = [f"{number:02}" for number in range(COUNT)]


class Scripted:
    """Scores by a function of the text; ``fails``: raised instead."""

    model = "scripted"

    def __init__(self, score: Callable[[str], float], fails: Exception | None = None, waits: bool = False) -> None:
        self.score_of, self.fails, self.waits = score, fails, waits
        self.read: list[Sequence[str]] = []

    async def score(self, query: str, texts: Sequence[str]) -> tuple[float, ...]:
        self.read.append(texts)
        if self.waits:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        return tuple(map(self.score_of, texts))

    async def aclose(self) -> None: ...


def number(text: str) -> float:
    """Of a meter; the later ones are the better ones."""
    return float(text.split("number ")[1][:2]) / 100


@pytest.fixture
async def search(tmp_path: Path) -> AsyncIterator[EmbeddedSearch]:
    """Thirty passages that BM25 ranks in the order of their numbers: the later, the longer."""
    engine = EmbeddedSearch(tmp_path / "index", embedder="none", dims=2)
    writes = []
    for place, key in enumerate(NUMBERS):
        text = f"gas meter number {key} " + "reads digits " * place
        document = Document(key, "default", f"Meter {key}", f"/{key}", "text/plain", key, (EVERYONE,), {"kind": "old" if place < 5 else "new"})
        writes.append(DocumentWrite(document, (Chunk(chunk_id("default", key, 0, text), key, "default", 0, text),), np.eye(1, 2, dtype=np.float32)))
    await engine.write(writes)
    yield engine
    await engine.aclose()


def retriever(
    search: EmbeddedSearch, model: Scripted, candidates: int = 10, seconds: float = 30.0, cfg: RetrievalCfg | None = None, **intents: IntentCfg
) -> Retriever:
    reranking = Reranking(model, candidates, Budget(seconds, "rerank.timeout_s", "Reranking"))
    unused: LocalEmbedder = None  # type: ignore[assignment] - every search here is by words
    return Retriever(search, unused, cfg or RetrievalCfg(mode="bm25", top_k=4), compile_rules(tuple(intents.items())), reranking=reranking)


def ids(result: SearchResult) -> list[str]:
    return [hit.document_id for hit in result.hits]


async def pages(one: Retriever, top_k: int, then: Callable[[int], None] = lambda _: None) -> list[SearchResult]:
    found: list[SearchResult] = []
    cursor = None
    while True:
        found.append(await one.search("gas meter", SCOPE, top_k=top_k, cursor=cursor))
        cursor = found[-1].next_cursor
        if cursor is None:
            return found
        then(len(found))


async def test_the_best_hits_stand_in_the_rerankers_order_and_tell_where_they_came_from(search: EmbeddedSearch) -> None:
    model = Scripted(number)
    result = await retriever(search, model).search("gas meter", SCOPE)
    assert ids(result) == ["09", "08", "07", "06"]
    assert result.degraded == ()
    assert len(model.read[0]) == 10
    assert model.read[0][0] == "Meter 00\ngas meter number 00 "
    first = result.hits[0]
    assert first.rerank is not None
    assert (first.score, first.rerank.score, first.rerank.place) == (0.09, 0.09, 10)
    assert first.rerank.fused == first.legs["bm25"]


@pytest.mark.parametrize("top_k", [1, 4, 7, 10, 12, 30])
async def test_pages_hold_every_hit_once_the_rerankers_first_and_deeper_ones_as_the_search_has_them(search: EmbeddedSearch, top_k: int) -> None:
    found = [hit for page in await pages(retriever(search, Scripted(number)), top_k) for hit in page.hits]
    window = 10
    assert [hit.document_id for hit in found] == [*reversed(NUMBERS[:window]), *NUMBERS[window:]]
    assert [hit.rerank is not None for hit in found] == [True] * window + [False] * (COUNT - window)


@pytest.mark.parametrize("fails", [UnreachableError("down"), ModelError("nonsense"), ModelCredentialsError("no")])
async def test_a_reranker_that_fails_leaves_the_order_of_the_search_and_the_result_says_so(search: EmbeddedSearch, fails: RagError) -> None:
    result = await retriever(search, Scripted(number, fails)).search("gas meter", SCOPE)
    assert ids(result) == NUMBERS[:4]
    assert result.degraded == (f"reranking failed ({fails.code}): in the order of the search",)
    assert {hit.rerank for hit in result.hits} == {None}


@pytest.mark.parametrize(
    ("seconds", "cfg", "setting"),
    [(0.1, None, "rerank.timeout_s"), (30.0, RetrievalCfg(mode="bm25", top_k=4, budget_s=1.0), "retrieval.budget_s")],
)
async def test_a_budget_that_the_reranker_misses_costs_its_order_and_nothing_else(
    search: EmbeddedSearch, seconds: float, cfg: RetrievalCfg | None, setting: str
) -> None:
    await retriever(search, Scripted(number)).search("gas meter", SCOPE)  # the first search of a process takes longer
    result = await retriever(search, Scripted(number, waits=True), seconds=seconds, cfg=cfg).search("gas meter", SCOPE)
    assert ids(result) == NUMBERS[:4]
    assert result.degraded == (f"reranking failed (deadline, {setting}): in the order of the search",)


async def test_pages_after_one_without_the_reranker_stay_in_the_order_of_the_search(search: EmbeddedSearch) -> None:
    model = Scripted(number, UnreachableError("down"))

    def mended(_: int) -> None:
        model.fails = None

    found = await pages(retriever(search, model), 4, mended)
    assert [one for page in found for one in ids(page)] == NUMBERS
    assert [bool(page.degraded) for page in found] == [True] * 3 + [False] * 5
    assert len(model.read) == 1


async def test_a_page_that_cannot_go_on_in_the_rerankers_order_is_an_error_and_never_repeats_a_hit(search: EmbeddedSearch) -> None:
    model = Scripted(number)
    one = retriever(search, model)
    first = await one.search("gas meter", SCOPE)
    model.fails = UnreachableError("down")
    with pytest.raises(UnreachableError):
        await one.search("gas meter", SCOPE, cursor=first.next_cursor)
    model.fails = None
    assert ids(await one.search("gas meter", SCOPE, cursor=first.next_cursor)) == ["05", "04", "03", "02"]
    with pytest.raises(QueryError, match="another request"):
        await retriever(search, Scripted(number), candidates=11).search("gas meter", SCOPE, cursor=first.next_cursor)


async def test_preferences_of_an_intent_move_what_the_reranker_ordered(search: EmbeddedSearch) -> None:
    intent = IntentCfg(pattern="gas", boosts=("kind=old ^10",))
    result = await retriever(search, Scripted(number), meters=intent).search("gas meter", SCOPE)
    assert ids(result) == ["04", "03", "02", "01"]


async def test_an_evaluation_measures_the_rerankers_order_whatever_the_scale_of_its_scores(search: EmbeddedSearch, tmp_path: Path) -> None:
    from src.evaluation.dataset import load_dataset
    from src.evaluation.metrics import parse_metrics
    from src.evaluation.runner import ask_all

    (tmp_path / "beir" / "qrels").mkdir(parents=True)
    lines = {"corpus.jsonl": [{"_id": key, "text": key} for key in NUMBERS], "queries.jsonl": [{"_id": "q", "text": "gas meter"}]}
    for name, rows in lines.items():
        (tmp_path / "beir" / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "beir" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t09\t1\n")
    dataset = load_dataset(tmp_path / "beir", "test")
    metrics = parse_metrics("recall@1")
    assert (await ask_all(dataset, retriever(search, Scripted(number)), "bm25", metrics)).means == {"recall@1": 1.0}
    with pytest.raises(ServiceUnavailableError, match="reranking failed"):
        await ask_all(dataset, retriever(search, Scripted(number, UnreachableError("down"))), "bm25", metrics)


async def test_nothing_found_asks_no_reranker(search: EmbeddedSearch) -> None:
    model = Scripted(number)
    assert (await retriever(search, model).search("zeppelin", SCOPE)).hits == ()
    assert model.read == []


async def test_the_configured_reranker_orders_what_the_configured_search_finds(
    tmp_path: Path,
    model_cache: Path,
    search: EmbeddedSearch,
    reranker: RerankerEmulator,  # noqa: F811 - the fixture
) -> None:
    """Over HTTPS, as `rag search` and the API get it: from the resources."""
    from src.api.schemas import SearchOut
    from src.cli.search import as_json, as_text
    from src.integrations.shapes import search_shape

    settings = Settings(
        storage=StorageCfg(path=tmp_path),
        cache=CacheCfg(path=model_cache),
        network=NetworkCfg(ca_bundle=reranker.ca_file),
        retrieval=RetrievalCfg(mode="bm25"),
        rerank=cfg_of(reranker, candidates=10),
    )
    async with ResourceManager(settings, overrides={"search": search}) as resources:
        one = resources.get("retriever")
        result = await one.search("gas meter number 07", SCOPE, top_k=3)
        assert (result.hits[0].document_id, result.degraded) == ("07", ())
        shown = SearchOut.of(result).model_dump(mode="json", exclude_none=True)["hits"][0]
        assert shown["rerank"] == as_json(result)["hits"][0]["rerank"] == search_shape(result)["hits"][0]["rerank"]
        assert set(shown["rerank"]) == {"score", "fused", "place"}
        assert "reranked 1.000 from place" in as_text(1, result.hits[0])
        reranker.script.append(Reply(503, {}))
        result = await one.search("gas meter number 07", SCOPE, top_k=3)
        assert result.degraded == ("reranking failed (unavailable, rerank.api_base): in the order of the search",)
        assert "rerank" not in search_shape(result)["hits"][0]
    assert reranker.requests[0].body["query"] == "gas meter number 07"


def test_equal_scores_keep_their_order_and_an_explanation_tells_the_score() -> None:
    from src.retrieval.rerank import reordered

    hits = [Hit(str(at), str(at), "", "text", "", 1.0 - at, {}, explanation={"why": at}) for at in range(3)]
    moved = reordered(hits, (0.5, 0.5, 0.7))
    assert [hit.chunk_id for hit in moved] == ["2", "0", "1"]
    assert moved[0].explanation == {"why": 2, "rerank": 0.7}
    assert reordered([replace(hits[0], explanation=None)], (0.5,))[0].explanation is None
