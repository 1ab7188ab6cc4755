"""Intent rules over both engines: what a rule changes, how the answer tells it, and that pages stay whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from src.core.documents import Chunk, Document, chunk_id
from src.core.identity import EVERYONE, AccessScope
from src.core.search import AnyOf, SearchResult
from src.infra.config import SearchCfg
from src.infra.providers.local_embedder import LocalEmbedder
from src.infra.search.protocol import DocumentWrite, SearchClient
from src.retrieval.config import IntentCfg, RetrievalCfg
from src.retrieval.intents import compile_rules
from src.retrieval.retriever import Retriever

SCOPE = AccessScope("default", frozenset({EVERYONE}))
COUNT = 230
INTENTS = [
    ("procedure", IntentCfg(examples=("how do I",), boosts=("kind=procedure ^10",))),
    ("recent", IntentCfg(pattern=r"\bnewest\b", filters=("year>=2025",), mode="bm25")),
]


def write(number: int) -> DocumentWrite:
    text = f"Meter guide {number}: the meter is read from left to right. " + "Digits in red do not count. " * (number % 7)
    metadata = {"kind": "procedure" if number % 10 == 3 else "notice", "year": 2020 + number % 8}
    document = Document(f"d{number:03}", "default", f"Guide {number}", f"/d{number}.txt", "text/plain", str(number), (EVERYONE,), metadata)
    vector = np.zeros((1, 384), np.float32)
    vector[0, number % 384] = 1.0
    return DocumentWrite(document, (Chunk(chunk_id("default", document.id, 0, text), document.id, "default", 0, text),), vector)


@pytest.fixture
async def embedder(model_cache: Path) -> AsyncIterator[LocalEmbedder]:
    model = LocalEmbedder(model_cache)
    yield model
    await model.aclose()


@pytest.fixture(params=["embedded", "opensearch"])
async def search(request: pytest.FixtureRequest, tmp_path: Path, embedder: LocalEmbedder) -> AsyncIterator[SearchClient]:
    engine: SearchClient
    if request.param == "embedded":
        from src.infra.search.embedded import EmbeddedSearch

        engine = EmbeddedSearch(tmp_path / "index", embedder=embedder.model, dims=embedder.dims)
    else:
        from src.infra.opensearch_client import OpenSearchClient

        url = request.getfixturevalue("opensearch").url
        prefix = request.getfixturevalue("index_prefix")
        engine = OpenSearchClient(SearchCfg(host=url, index_alias=f"{prefix}docs"), embedder=embedder.model, dims=embedder.dims)
    await engine.write([write(number) for number in range(COUNT)])
    await engine.refresh()
    yield engine
    await engine.aclose()


@pytest.fixture
def retriever(search: SearchClient, embedder: LocalEmbedder) -> Retriever:
    return Retriever(search, embedder, RetrievalCfg(top_k=7), compile_rules(INTENTS))


async def pages(retriever: Retriever, query: str) -> list[SearchResult]:
    found = [await retriever.search(query, SCOPE, mode="bm25")]
    while found[-1].next_cursor:
        found.append(await retriever.search(query, SCOPE, mode="bm25", cursor=found[-1].next_cursor))
    return found


async def test_what_is_preferred_comes_first_and_the_answer_says_why(retriever: Retriever) -> None:
    result = await retriever.search("How do I read the meter?", SCOPE, mode="bm25")
    assert {hit.metadata["kind"] for hit in result.hits} == {"procedure"}
    assert result.intent is not None
    assert (result.intent.name, result.intent.matched, result.intent.fit) == ("procedure", "how do I", 1.0)
    assert (result.intent.boosts, result.intent.boosted, result.intent.mode) == (("kind=procedure ^10",), 7, None)
    plain = await retriever.search("Where is the meter?", SCOPE, mode="bm25")
    assert plain.intent is None
    assert {hit.metadata["kind"] for hit in plain.hits} != {"procedure"}


async def test_pages_of_a_boosted_search_hold_every_hit_once(retriever: Retriever) -> None:
    found = await pages(retriever, "How do I read the meter?")
    ids = [hit.document_id for result in found for hit in result.hits]
    assert sorted(ids) == [f"d{number:03}" for number in range(COUNT)]
    assert all(len(result.hits) == 7 for result in found[:-1])
    first_block = [hit.metadata["kind"] == "procedure" for result in found for hit in result.hits][:100]
    assert first_block == sorted(first_block, reverse=True)


async def test_a_hybrid_search_is_boosted_too(retriever: Retriever) -> None:
    result = await retriever.search("How do I read the meter?", SCOPE)
    assert result.mode == "hybrid"
    assert {hit.metadata["kind"] for hit in result.hits} == {"procedure"}
    again = await retriever.search("How do I read the meter?", SCOPE, cursor=result.next_cursor)
    assert not {hit.chunk_id for hit in result.hits} & {hit.chunk_id for hit in again.hits}


async def test_a_rule_filters_and_chooses_the_mode_unless_the_request_does(retriever: Retriever) -> None:
    result = await retriever.search("the newest meter guide", SCOPE)
    assert result.mode == "bm25"
    assert result.hits
    assert all(int(str(hit.metadata["year"])) >= 2025 for hit in result.hits)
    assert result.intent is not None
    assert (result.intent.mode, result.intent.filters) == ("bm25", ("year>=2025",))
    asked = await retriever.search("the newest meter guide", SCOPE, mode="hybrid", filters=(AnyOf("year", (2021,)),))
    assert (asked.mode, {hit.metadata["year"] for hit in asked.hits}) == ("hybrid", {2021})
    assert asked.intent is not None
    assert (asked.intent.mode, asked.intent.filters) == (None, ())
