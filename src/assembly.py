"""The one place that knows all parts: how the floors above infrastructure are put together.

`pyproject.toml` announces each function here as an entry point of the group ``founders_rag.resources``; the
ResourceManager calls it when its name is first asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from .agent.runtime import Agent
    from .infra.config import Settings
    from .infra.hotspots.recorder import HotspotRecorder
    from .infra.persistence.feedback import FeedbackRecords, FeedbackService
    from .infra.persistence.threads import ThreadService
    from .infra.providers.protocol import TokenSpans
    from .infra.resource_manager import ResourceManager
    from .ingestion.pipeline import Ingestor
    from .retrieval.retriever import Retriever


def build_tokenizer(resources: ResourceManager) -> TokenSpans:
    """The embedding model's own tokenizer, which sizes chunks; for remote models the local one stands in."""
    from .infra.factories import cache_folder
    from .infra.providers.tokenizer import ModelTokenizer

    return ModelTokenizer(cache_folder(resources.settings))


def build_retriever(resources: ResourceManager) -> Retriever:
    from .retrieval.intents import compile_rules
    from .retrieval.rerank import reranking_of
    from .retrieval.retriever import Retriever

    rules = compile_rules(resources.settings.intents)
    return Retriever(resources.search, resources.embedder, resources.settings.retrieval, rules, resources.get("audit"), reranking_of(resources))


def build_ingestor(resources: ResourceManager) -> Ingestor:
    from .ingestion.pipeline import Ingestor

    tokenizer = cast("TokenSpans", resources.get("tokenizer"))
    return Ingestor(resources.search, resources.embedder, tokenizer, resources.settings.ingestion)


def build_threads(resources: ResourceManager) -> ThreadService:
    from .infra.persistence.threads import Beside, ThreadService
    from .infra.persistence.waiting_list import WaitingList

    beside: list[Beside] = [_feedback_records(resources), WaitingList(resources.store)]
    return ThreadService(resources.settings, resources.checkpointer, beside, resources.get("audit"))


def build_feedback(resources: ResourceManager) -> FeedbackService:
    from .infra.persistence.feedback import FeedbackService

    return FeedbackService(cast("ThreadService", resources.get("threads")), _feedback_records(resources))


def _feedback_records(resources: ResourceManager) -> FeedbackRecords:
    from .infra.persistence.feedback import FeedbackRecords

    return FeedbackRecords(resources.store, resources.checkpointer.serde)


def build_agent(resources: ResourceManager) -> Agent:
    from .agent.runtime import Agent
    from .agent.tools.toolbox import build_toolbox

    return Agent(
        chat=resources.chat,
        embedder=resources.embedder,
        retriever=resources.get("retriever"),
        tokenizer=resources.get("tokenizer"),
        checkpointer=resources.checkpointer,
        threads=resources.get("threads"),
        settings=resources.settings,
        toolbox=build_toolbox(resources),
        search=resources.search,
        store=resources.store,
        audit=resources.get("audit"),
    )


@asynccontextmanager
async def hotspots_recorded(settings: Settings, *, make_folder: bool = True) -> AsyncIterator[HotspotRecorder | None]:
    """Inside, what the stages of this process's requests take is recorded for `rag hotspots`; not where `[telemetry] hotspots` is off.

    ``make_folder``: whether the data folder is made for it; a command that only asks leaves no trace where there is none.
    """
    if not settings.telemetry.hotspots:
        yield None
        return
    from .infra.hotspots.recorder import HotspotRecorder
    from .infra.hotspots.store import make_store

    recorder = HotspotRecorder(make_store(settings, make_folder=make_folder), stage_budgets(settings))
    recorder.start()
    try:
        yield recorder
    finally:
        await recorder.aclose()


def stage_budgets(settings: Settings) -> dict[str, float]:
    """Seconds that a call of a stage may take, where a setting says so; a chat without one may take `[telemetry] slow_ms`."""
    from .retrieval.budgets import Budgets

    budgets, agent, rerank = Budgets.of(settings.retrieval), settings.agent, settings.rerank
    found = {
        "chat": agent.max_seconds or settings.telemetry.slow_ms / 1000,
        "retrieve": budgets.whole.seconds,
        "embed": budgets.embed.seconds,
        "search": budgets.search.seconds,
        "rerank": rerank.timeout_s if rerank.provider != "off" else None,
        "tool": agent.tool_timeout_s,
    }
    return {stage: seconds for stage, seconds in found.items() if seconds}
