"""One evaluation from settings to report: what `rag eval` and the benchmarks call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.search import Mode
from ..errors import UnsupportedFeatureError
from ..infra.config import Settings
from ..infra.factories import cache_folder
from ..infra.providers.tokenizer import ModelTokenizer
from ..infra.resource_manager import ResourceManager
from ..infra.search.embedded import EmbeddedSearch
from ..retrieval.intents import compile_rules
from ..retrieval.retriever import Retriever
from .dataset import Dataset
from .index import OnIndexed, ensure_index, index_folder
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
        UnsupportedFeatureError: another engine than the embedded one is configured.
        InputError: the collection is malformed.
    """
    if settings.search.chosen_engine != "embedded":
        raise UnsupportedFeatureError(
            "rag eval measures the embedded engine in this release.", setting="search.engine", hint="Evaluate with engine = embedded and without a host."
        )
    uncached = settings.model_copy(update={"embed": settings.embed.model_copy(update={"cache_entries": 0})})
    async with ResourceManager(uncached) as resources:
        embedder = resources.embedder
        folder = index_folder(cache_folder(settings), plan.dataset, embedder.model, settings.ingestion)
        search = EmbeddedSearch(folder / "index", embedder=embedder.model, dims=embedder.dims)
        try:
            tokens = ModelTokenizer(cache_folder(settings))
            built = await ensure_index(folder, plan.dataset.documents(), search, embedder, tokens, settings.ingestion, on_indexed)
            metrics = tuple(dict.fromkeys((*DEFAULT_METRICS, *plan.metrics)))
            retriever = Retriever(search, embedder, settings.retrieval, compile_rules(settings.intents))
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
