"""Passages for the question, within the token budget."""

from __future__ import annotations

from ...core.identity import access_scope
from ...infra.providers.protocol import TokenSpans
from ...retrieval.config import RetrievalCfg
from ...retrieval.context import build_context
from ...retrieval.retriever import Retriever
from ...telemetry.stages import stage
from ..state import AgentState

SPARE = 3
"""Hits asked for, for each passage of the context: near-identical ones count once, and rarity is judged over all of them."""


async def retrieve(state: AgentState, *, retriever: Retriever, tokenizer: TokenSpans, cfg: RetrievalCfg) -> AgentState:
    """Search as the caller may see, then keep what fits the context."""
    request = state["request"]
    result = await retriever.search(
        state["standalone"], access_scope(state["identity"]), mode=request.mode, top_k=SPARE * cfg.passages, filters=request.filters
    )
    degraded = (*state.get("degraded", ()), *result.degraded)
    with stage("context"):
        context = build_context(result.hits, tokenizer, cfg, degraded=degraded)
    return {"hits": result.hits, "context": context, "degraded": degraded}
