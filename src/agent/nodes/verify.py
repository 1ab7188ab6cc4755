"""The check of citations at the end of an answer, for ``[agent] verify = after``."""

from __future__ import annotations

from ...telemetry.stages import stage
from ..citing import CitationChecker
from ..state import AgentState, Verify
from .generate import dropped_reason


async def verify(state: AgentState, *, mode: Verify) -> AgentState:
    """Take back what no passage supports. The sentences have left already, so the answer that counts is the final one."""
    if mode != "after" or state["refused"]:
        return {}
    with stage("verify"):
        checker = CitationChecker(state["context"].passages)
        kept = [text for sentence in state["sentences"] if (text := checker.check(sentence)) is not None]
    return {
        "answer": "".join(kept).lstrip(),
        "citations": checker.citations,
        "refused": not kept,
        "degraded": (*state.get("degraded", ()), *dropped_reason(checker.dropped)),
    }
