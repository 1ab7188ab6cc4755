"""The retriever over the real engine and the real model: modes, and what happens when the model fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from src.core.documents import Chunk, Document, chunk_id
from src.core.identity import EVERYONE, AccessScope
from src.core.search import AnyOf
from src.errors import FilterError, ModelError, QueryError, RagError, ServiceUnavailableError
from src.infra.providers.local_embedder import LocalEmbedder
from src.infra.search.embedded import EmbeddedSearch
from src.infra.search.protocol import DocumentWrite
from src.retrieval.config import RetrievalCfg
from src.retrieval.filters import parse_filters
from src.retrieval.retriever import MAX_QUERY_CHARS, Retriever
from src.telemetry.stages import collect_timings

SCOPE = AccessScope("default", frozenset({EVERYONE}))
TEXTS = {
    "leave": "Employees receive twenty-five days of paid annual leave each calendar year.",
    "outage": "Report a power cut by calling the emergency line, which is staffed day and night.",
    "meter": "Read the digits of your gas meter from left to right and ignore those in red.",
}


class BrokenEmbedder:
    """A model server that is down."""

    def __init__(self, like: LocalEmbedder, error: RagError) -> None:
        self.model, self.dims, self.error = like.model, like.dims, error

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise self.error

    async def aclose(self) -> None: ...


class UnusedEmbedder(BrokenEmbedder):
    """Fails the test that asks it."""

    def __init__(self, like: LocalEmbedder) -> None:
        super().__init__(like, ModelError("must not be asked"))


@pytest.fixture
async def embedder(model_cache: Path) -> AsyncIterator[LocalEmbedder]:
    model = LocalEmbedder(model_cache)
    yield model
    await model.aclose()


@pytest.fixture
async def search(tmp_path: Path, embedder: LocalEmbedder) -> AsyncIterator[EmbeddedSearch]:
    engine = EmbeddedSearch(tmp_path / "index", embedder=embedder.model, dims=embedder.dims)
    vectors = await embedder.embed(list(TEXTS.values()))
    writes = [
        DocumentWrite(
            Document(key, "default", key, f"/{key}.txt", "text/plain", key, (EVERYONE,), {"topic": key}),
            (Chunk(chunk_id("default", key, 0, text), key, "default", 0, text),),
            vectors[place : place + 1],
        )
        for place, (key, text) in enumerate(TEXTS.items())
    ]
    await engine.write(writes)
    yield engine
    await engine.aclose()


async def test_hybrid_search_finds_by_words_and_by_meaning(search: EmbeddedSearch, embedder: LocalEmbedder) -> None:
    result = await Retriever(search, embedder, RetrievalCfg()).search("How much holiday do staff get?", SCOPE)
    assert result.hits[0].document_id == "leave"
    assert result.mode == "hybrid"
    assert result.degraded == ()
    assert "knn" in result.hits[0].legs


async def test_search_by_words_never_asks_the_model(search: EmbeddedSearch, embedder: LocalEmbedder) -> None:
    result = await Retriever(search, UnusedEmbedder(embedder), RetrievalCfg()).search("gas meter", SCOPE, mode="bm25")
    assert [hit.document_id for hit in result.hits] == ["meter"]


@pytest.mark.parametrize("error", [ServiceUnavailableError("no answer", hop="https://models.example"), ModelError("nonsense")])
async def test_hybrid_search_goes_on_by_words_when_the_model_fails_and_says_so(search: EmbeddedSearch, embedder: LocalEmbedder, error: RagError) -> None:
    result = await Retriever(search, BrokenEmbedder(embedder, error), RetrievalCfg()).search("gas meter", SCOPE)
    assert [hit.document_id for hit in result.hits] == ["meter"]
    assert result.mode == "bm25"
    assert len(result.degraded) == 1
    assert error.code in result.degraded[0]


async def test_search_by_meaning_fails_with_the_model(search: EmbeddedSearch, embedder: LocalEmbedder) -> None:
    retriever = Retriever(search, BrokenEmbedder(embedder, ServiceUnavailableError("down")), RetrievalCfg())
    with pytest.raises(ServiceUnavailableError, match="down"):
        await retriever.search("gas meter", SCOPE, mode="knn")


async def test_the_configuration_gives_mode_and_number_where_the_call_does_not(search: EmbeddedSearch, embedder: LocalEmbedder) -> None:
    retriever = Retriever(search, embedder, RetrievalCfg(mode="knn", top_k=2))
    result = await retriever.search("anything", SCOPE)
    assert (result.mode, len(result.hits)) == ("knn", 2)
    assert len((await retriever.search("anything", SCOPE, top_k=3)).hits) == 3


async def test_pages_follow_each_other(search: EmbeddedSearch, embedder: LocalEmbedder) -> None:
    retriever = Retriever(search, embedder, RetrievalCfg(top_k=2))
    first = await retriever.search("anything", SCOPE)
    second = await retriever.search("anything", SCOPE, cursor=first.next_cursor)
    assert {hit.document_id for hit in (*first.hits, *second.hits)} == set(TEXTS)
    assert second.next_cursor is None


async def test_filters_and_scope_reach_the_engine(search: EmbeddedSearch, embedder: LocalEmbedder) -> None:
    retriever = Retriever(search, embedder, RetrievalCfg())
    hits = (await retriever.search("leave outage meter", SCOPE, filters=parse_filters({"topic": ["outage", "meter"]}))).hits
    assert {hit.document_id for hit in hits} == {"outage", "meter"}
    assert (await retriever.search("leave", AccessScope("other", frozenset({EVERYONE})))).hits == ()


@pytest.mark.parametrize("query", ["", "  \n", "x" * (MAX_QUERY_CHARS + 1)])
async def test_a_question_that_is_none_is_refused_before_the_model_is_asked(search: EmbeddedSearch, embedder: LocalEmbedder, query: str) -> None:
    with pytest.raises(QueryError):
        await Retriever(search, UnusedEmbedder(embedder), RetrievalCfg()).search(query, SCOPE)


async def test_bad_input_passes_through_as_such(search: EmbeddedSearch, embedder: LocalEmbedder) -> None:
    retriever = Retriever(search, embedder, RetrievalCfg())
    with pytest.raises(QueryError):
        await retriever.search("x", SCOPE, mode="fuzzy")  # type: ignore[arg-type]  # what an unchecked caller may send
    with pytest.raises(QueryError):
        await retriever.search("x", SCOPE, top_k=0)
    with pytest.raises(QueryError):
        await retriever.search("x", SCOPE, cursor="nonsense")
    with pytest.raises(FilterError):
        await retriever.search("x", SCOPE, filters=(AnyOf("topic", ()),))


async def test_stages_are_timed(search: EmbeddedSearch, embedder: LocalEmbedder) -> None:
    with collect_timings() as timings:
        await Retriever(search, embedder, RetrievalCfg()).search("gas meter", SCOPE)
    assert {"embed", "search"} <= timings.keys()
