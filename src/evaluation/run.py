"""One evaluation from settings to report: what `rag eval` and the benchmarks call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.search import Mode
from ..infra.config import Settings
from ..infra.factories import cache_folder, make_engine
from ..infra.providers.tokenizer import ModelTokenizer
from ..infra.resource_manager import ResourceManager
from ..infra.search.embedded import EmbeddedSearch
from ..infra.search.protocol import SearchClient
from ..retrieval.intents import compile_rules
from ..retrieval.rerank import reranking_of
from ..retrieval.retriever import Retriever
from .dataset import Dataset
from .index import OnIndexed, ensure_index, index_alias, index_folder
from .metrics import MetricAt
from .report import EvalReport
from .runner import DEFAULT_METRICS, OnAsked, ask_all


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure; ``metrics`` are added to those that are always reported."""

    dataset: Dataset
    mode: Mode
    metrics: Sequence[MetricAt] = ()
    history: bool = False


async def evaluate(plan: Plan, settings: Settings, *, on_indexed: OnIndexed | None = None, on_asked: OnAsked | None = None) -> EvalReport:
    """Index the collection where that is still to be done, and ask its questions.

    Question vectors are never taken from the embedding cache, so latencies are those of new questions.

    Raises:
        InputError: the collection is malformed.
    """
    uncached = settings.model_copy(update={"embed": settings.embed.model_copy(update={"cache_entries": 0})})
    async with ResourceManager(uncached) as resources:
        embedder = resources.embedder
        folder, search = _engine(plan.dataset, resources)
        try:
            tokens = ModelTokenizer(cache_folder(settings))
            built = await ensure_index(folder, plan.dataset.documents(), search, embedder, tokens, settings.ingestion, on_indexed)
            metrics = tuple(dict.fromkeys((*DEFAULT_METRICS, *plan.metrics)))
            retriever = Retriever(search, embedder, settings.retrieval, compile_rules(settings.intents), reranking=reranking_of(resources))
            scores = await ask_all(plan.dataset, retriever, plan.mode, metrics, history=plan.history, on_asked=on_asked)
        finally:
            await search.aclose()
    return EvalReport(
        dataset=plan.dataset.name,
        split=plan.dataset.split,
        mode=plan.mode,
        documents=built.documents,
        queries=len(plan.dataset.questions),
        scores=scores,
        index_s=built.seconds,
    )


def _engine(dataset: Dataset, resources: ResourceManager) -> tuple[Path, SearchClient]:
    """The folder of the collection's index, and the configured engine on it."""
    settings, embedder = resources.settings, resources.embedder
    cache = cache_folder(settings)
    if settings.search.chosen_engine == "opensearch":
        folder = index_folder(cache, dataset, embedder.model, settings.ingestion, settings.search)
        return folder, make_engine(resources, "opensearch", settings.search.model_copy(update={"index_alias": index_alias(folder)}))
    folder = index_folder(cache, dataset, embedder.model, settings.ingestion)
    return folder, EmbeddedSearch(folder / "index", embedder=embedder.model, dims=embedder.dims)
