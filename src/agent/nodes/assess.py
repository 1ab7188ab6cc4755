"""Whether the passages hold an answer at all, decided before a word of it leaves."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.retrieval import Passage
from ...core.search import Hit
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
        parts = state.get("queries", ())
        if not parts:
            return {"refused": await _evidence(state["standalone"], context.passages, state["hits"], embedder) < threshold}
        # Each part by what was found for it: one that the documents do not speak of is said, not quoted for.
        evidence = [await _evidence(part, _of(hits, context.passages), hits, embedder) for part, hits in zip(parts, state["found"], strict=True)]
        held = [part for part, found in zip(parts, evidence, strict=True) if found >= threshold]
        lacking = [f"part {n} of the question has no answer in the documents" for n, found in enumerate(evidence, 1) if found < threshold]
    reasons = lacking if held else []
    return {"refused": not held, "standalone": "\n".join(held or parts), "degraded": (*state.get("degraded", ()), *reasons)}


async def _evidence(question: str, passages: Sequence[Passage], hits: Sequence[Hit], embedder: Embedder) -> float:
    if not passages:
        return 0.0
    measured = await gather(question, passages, embedder)
    evidence = score(measure(question, passages, hits, measured))
    log.debug("evidence", evidence=round(evidence, 3))
    return evidence


def _of(hits: Sequence[Hit], passages: Sequence[Passage]) -> tuple[Passage, ...]:
    found = {hit.chunk_id for hit in hits}
    return tuple(passage for passage in passages if passage.hit.chunk_id in found)
