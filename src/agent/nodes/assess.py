"""Whether the passages hold an answer at all, decided before a word of it leaves."""

from __future__ import annotations

from ...infra.providers.protocol import Embedder
from ...telemetry.logger import get_logger
from ...telemetry.stages import stage
from ..evidence import gather, measure, score
from ..followup import is_courtesy
from ..state import AgentState

log = get_logger(__name__)


async def assess(state: AgentState, *, embedder: Embedder, threshold: float | None, tools: bool = False) -> AgentState:
    """Refuse where nothing was found or asked ("thanks"), or where the evidence lies below ``threshold``.

    Args:
        threshold: None for a model that judges for itself whether the passages answer.
        tools: whether that model may look for passages itself.
    """
    context = state["context"]
    if not (context.passages or tools) or is_courtesy(state["request"].message):
        return {"refused": True}
    if threshold is None:
        return {"refused": False}
    with stage("assess"):
        question = state["standalone"]
        measured = await gather(question, context.passages, embedder)
        evidence = score(measure(question, context.passages, state["hits"], measured))
    log.debug("evidence", evidence=round(evidence, 3), threshold=threshold)
    return {"refused": evidence < threshold}
