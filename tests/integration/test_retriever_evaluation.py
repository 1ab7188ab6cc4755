"""Evaluation over the real engine and model: the cached index, documents by their best chunk, resuming."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from src.core.search import Mode
from src.errors import InputError, UnreachableError
from src.evaluation.dataset import CorpusDocument, Dataset, load_dataset
from src.evaluation.index import ensure_index, index_folder
from src.evaluation.metrics import parse_metrics
from src.evaluation.run import Plan, evaluate
from src.infra.config import CacheCfg, IngestionCfg, SearchCfg, Settings
from src.infra.providers.local_embedder import LocalEmbedder
from src.infra.providers.tokenizer import ModelTokenizer
from src.infra.search.embedded import EmbeddedSearch

CORPUS = {
    "leave": ("Annual leave", "Employees receive twenty-five days of paid leave. " * 20),
    "outage": ("Power cuts", "Report a power cut by calling the emergency line, which is staffed day and night."),
    "meter": ("", "Read the digits of your gas meter from left to right and ignore those in red."),
    "title only": ("Smart thermostats", ""),
    "nothing": ("", ""),
}
QUERIES = {"q1": "how much paid leave", "q2": "which digits of the gas meter", "q3": "smart thermostats"}
GOLD = {"q1": "leave", "q2": "meter", "q3": "title only"}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": key, "title": title, "text": text} for key, (title, text) in CORPUS.items()]
    questions = [
        {"_id": key, "text": text, "metadata": {"history": [{"speaker": "user", "text": "smart thermostats"}] if key == "q1" else []}}
        for key, text in QUERIES.items()
    ]
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps(line) for line in documents))
    (folder / "queries.jsonl").write_text("\n".join(json.dumps(line) for line in questions))
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t1\n" for q, d in GOLD.items()))
    return load_dataset(folder, "dev")


@pytest.fixture
def settings(tmp_path: Path, model_cache: Path) -> Settings:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "models").symlink_to(model_cache / "models")  # the model alone: indices and vectors are each test's own
    return Settings(cache=CacheCfg(path=cache))


class CountingEmbedder:
    """The real model, counting texts, that can be made to stop after some of them as a kill would."""

    def __init__(self, inner: LocalEmbedder, fails_after: int | None = None) -> None:
        self.inner, self.model, self.dims, self.texts, self.fails_after = inner, inner.model, inner.dims, 0, fails_after

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.fails_after is not None and self.texts >= self.fails_after:
            raise KeyboardInterrupt
        self.texts += len(texts)
        return await self.inner.embed(texts)

    async def aclose(self) -> None:
        await self.inner.aclose()


@pytest.mark.parametrize("mode", ["bm25", "knn", "hybrid"])
async def test_each_mode_finds_the_documents_and_the_second_run_reuses_the_index(dataset: Dataset, settings: Settings, mode: Mode) -> None:
    before = sorted(path for path in dataset.folder.rglob("*"))
    indexed: list[int] = []
    report = await evaluate(Plan(dataset, mode, parse_metrics("success@1")), settings, on_indexed=indexed.append)
    assert (report.documents, report.queries, indexed) == (5, 3, [5])
    assert report.scores.means["success@1"] == 1.0
    assert {"ndcg@10", "recall@100", "mrr@10"} <= report.scores.means.keys()
    again = await evaluate(Plan(dataset, mode), settings, on_indexed=indexed.append)
    assert indexed == [5]
    assert again.scores.per_query["ndcg@10"] == report.scores.per_query["ndcg@10"]
    assert again.index_s == report.index_s > 0
    assert sorted(path for path in dataset.folder.rglob("*")) == before


async def test_history_goes_before_the_question(dataset: Dataset, settings: Settings) -> None:
    question = {"_id": "q1", "text": "Who sells them?", "metadata": {"history": [{"speaker": "user", "text": "smart thermostats"}]}}
    (dataset.folder / "queries.jsonl").write_text(json.dumps(question))
    (dataset.folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ttitle only\t1\n")
    follow_up = load_dataset(dataset.folder, "dev")
    alone = await evaluate(Plan(follow_up, "bm25"), settings)
    with_history = await evaluate(Plan(follow_up, "bm25", history=True), settings)
    assert alone.scores.per_query["mrr@10"]["q1"] == 0.0  # no document has its words
    assert with_history.scores.per_query["mrr@10"]["q1"] == 1.0


async def test_an_interrupted_index_is_finished_by_the_next_run(dataset: Dataset, tmp_path: Path, model_cache: Path) -> None:
    cfg, tokens = IngestionCfg(), ModelTokenizer(model_cache)
    many = [CorpusDocument(f"d{number}", f"Title {number}", f"Passage number {number} about meters.") for number in range(150)]
    inner = LocalEmbedder(model_cache)
    folder = index_folder(tmp_path, dataset, inner.model, cfg)

    async def build(embedder: CountingEmbedder) -> int:
        search = EmbeddedSearch(folder / "index", embedder=embedder.model, dims=embedder.dims)
        try:
            await ensure_index(folder, many, search, embedder, tokens, cfg)
            return (await search.info()).documents
        finally:
            await search.aclose()

    with pytest.raises(KeyboardInterrupt):
        await build(CountingEmbedder(inner, fails_after=1))
    second, third = CountingEmbedder(inner), CountingEmbedder(inner)
    assert await build(second) == 150
    assert second.texts == 150 - 64  # the first group was stored before the interruption
    assert await build(third) == 150
    assert third.texts == 0
    await inner.aclose()


async def test_the_index_is_keyed_by_corpus_model_and_chunk_size(dataset: Dataset, tmp_path: Path) -> None:
    cfg = IngestionCfg()
    places = {
        index_folder(tmp_path, dataset, "m1", cfg),
        index_folder(tmp_path, dataset, "m2", cfg),
        index_folder(tmp_path, dataset, "m1", cfg.model_copy(update={"chunk_tokens": 99})),
    }
    assert len(places) == 3
    with dataset.corpus.open("a") as file:
        file.write('\n{"_id": "new", "text": "more"}')
    assert index_folder(tmp_path, dataset, "m1", cfg) not in places
    assert all(place.is_relative_to(tmp_path) for place in places)


async def test_a_malformed_corpus_is_reported_and_leaves_no_finished_index(dataset: Dataset, settings: Settings) -> None:
    with dataset.corpus.open("a") as file:
        file.write("\nnonsense")
    for _ in range(2):
        with pytest.raises(InputError, match="line 6"):
            await evaluate(Plan(dataset, "bm25"), settings)


async def test_an_outage_of_the_cluster_is_an_error_and_never_another_engine(dataset: Dataset, settings: Settings) -> None:
    remote = settings.model_copy(update={"search": SearchCfg(host="http://127.0.0.1:9", max_retries=0)})
    with pytest.raises(UnreachableError):
        await evaluate(Plan(dataset, "bm25"), remote)
