"""Stages over budget are cut short, and the answer says so. What is slow here is a server that takes connections and never answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from src.core.documents import Chunk, Document, chunk_id
from src.core.identity import EVERYONE, AccessScope
from src.core.search import SearchRequest, SearchResult
from src.errors import DeadlineExceededError
from src.infra.clients import make_embed_client
from src.infra.config import EmbedCfg, SearchCfg
from src.infra.opensearch_client import OpenSearchClient
from src.infra.providers.local_embedder import LocalEmbedder
from src.infra.providers.openai_embedder import OpenAIEmbedder
from src.infra.search.embedded import EmbeddedSearch
from src.infra.search.protocol import DocumentWrite
from src.retrieval.config import RetrievalCfg
from src.retrieval.retriever import Retriever

SCOPE = AccessScope("default", frozenset({EVERYONE}))
SOON = 0.2


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """Address of a server that takes every connection and what is sent on it, and answers nothing."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.fixture
async def slow_embedder(silent: str) -> AsyncIterator[OpenAIEmbedder]:
    cfg = EmbedCfg(provider="openai", model="m", dims=384, api_base=silent, api_key="k")
    embedder = OpenAIEmbedder(lambda: make_embed_client(cfg), cfg)
    yield embedder
    await embedder.aclose()


@pytest.fixture
async def embedder(model_cache: Path) -> AsyncIterator[LocalEmbedder]:
    model = LocalEmbedder(model_cache)
    yield model
    await model.aclose()


async def filled(folder: Path, model: str) -> EmbeddedSearch:
    engine = EmbeddedSearch(folder / "index", embedder=model, dims=384)
    text = "Read the digits of your gas meter from left to right."
    document = Document("meter", "default", "meter", "/meter.txt", "text/plain", "1", (EVERYONE,), {})
    await engine.write(
        [DocumentWrite(document, (Chunk(chunk_id("default", "meter", 0, text), "meter", "default", 0, text),), np.eye(1, 384, dtype=np.float32))]
    )
    return engine


class SlowByMeaning(EmbeddedSearch):
    """The real engine, whose vectors are slow to come."""

    async def search(self, request: SearchRequest, scope: AccessScope) -> SearchResult:
        if request.mode != "bm25":
            await asyncio.Event().wait()
        return await super().search(request, scope)


@pytest.mark.parametrize(("cfg", "setting"), [(RetrievalCfg(embed_budget_s=SOON), "embed_budget_s"), (RetrievalCfg(budget_s=10 * SOON), "budget_s")])
async def test_an_embedding_over_budget_leaves_a_search_by_words(tmp_path: Path, slow_embedder: OpenAIEmbedder, cfg: RetrievalCfg, setting: str) -> None:
    search = await filled(tmp_path, slow_embedder.model)
    result = await Retriever(search, slow_embedder, cfg).search("gas meter", SCOPE)
    await search.aclose()
    assert (result.mode, [hit.document_id for hit in result.hits]) == ("bm25", ["meter"])
    assert result.degraded == (f"embedding failed (deadline, retrieval.{setting}): searched by words alone, not by meaning",)


async def test_a_search_by_meaning_cannot_do_without_its_embedding(tmp_path: Path, slow_embedder: OpenAIEmbedder) -> None:
    search = await filled(tmp_path, slow_embedder.model)
    with pytest.raises(DeadlineExceededError, match=r"Embedding the question did not end within 0\.2 s") as caught:
        await Retriever(search, slow_embedder, RetrievalCfg(embed_budget_s=SOON)).search("gas meter", SCOPE, mode="knn")
    await search.aclose()
    assert caught.value.setting == "retrieval.embed_budget_s"


async def test_a_hybrid_search_over_budget_is_asked_again_by_words(tmp_path: Path, embedder: LocalEmbedder) -> None:
    await (await filled(tmp_path, embedder.model)).aclose()
    search = SlowByMeaning(tmp_path / "index", embedder=embedder.model, dims=384)
    retriever = Retriever(search, embedder, RetrievalCfg(search_budget_s=SOON))
    result = await retriever.search("gas meter", SCOPE)
    assert (result.mode, [hit.document_id for hit in result.hits]) == ("bm25", ["meter"])
    assert result.degraded == ("hybrid search failed (deadline, retrieval.search_budget_s): searched by words alone, not by meaning",)
    with pytest.raises(DeadlineExceededError) as caught:
        await retriever.search("gas meter", SCOPE, mode="knn")
    assert caught.value.setting == "retrieval.search_budget_s"
    await search.aclose()


@pytest.mark.parametrize("mode", ["bm25", "hybrid"])
async def test_a_cluster_that_does_not_answer_is_given_up_at_the_budget(silent: str, embedder: LocalEmbedder, mode: str) -> None:
    search = OpenSearchClient(SearchCfg(host=silent, timeout_s=600), embedder=embedder.model, dims=384)
    with pytest.raises(DeadlineExceededError) as caught:
        await Retriever(search, embedder, RetrievalCfg(search_budget_s=SOON)).search("gas meter", SCOPE, mode=mode)  # type: ignore[arg-type] # parametrize gives plain text
    await search.aclose()
    assert caught.value.setting == "retrieval.search_budget_s"


async def test_the_whole_budget_ends_a_search_whatever_its_stage(silent: str, embedder: LocalEmbedder) -> None:
    search = OpenSearchClient(SearchCfg(host=silent, timeout_s=600), embedder=embedder.model, dims=384)
    # The time named is what the stages before left of the budget: on a busy machine less than all of it.
    with pytest.raises(DeadlineExceededError, match=r"within 0\.\d+ s") as caught:
        await Retriever(search, embedder, RetrievalCfg(budget_s=SOON)).search("gas meter", SCOPE, mode="bm25")
    await search.aclose()
    assert caught.value.setting == "retrieval.budget_s"


async def test_a_search_within_its_budgets_is_a_whole_one(tmp_path: Path, embedder: LocalEmbedder) -> None:
    search = await filled(tmp_path, embedder.model)
    cfg = RetrievalCfg(budget_s=60, embed_budget_s=60, search_budget_s=60)
    result = await Retriever(search, embedder, cfg).search("gas meter", SCOPE)
    await search.aclose()
    assert (result.mode, result.degraded) == ("hybrid", ())
