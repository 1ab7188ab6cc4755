"""The question as it reads without its thread."""

from __future__ import annotations

from ...core.chat import Message, Turn
from ...errors import ModelError, ServiceUnavailableError
from ...infra.persistence.turns import turn_from_dict
from ...infra.providers.passages import new_fence
from ...infra.providers.protocol import ChatModel
from ...telemetry.logger import get_logger
from ...telemetry.stages import stage
from ..followup import is_courtesy, standalone_question
from ..prompts import CONDENSE, prompt
from ..state import AgentState, earlier_turns

log = get_logger(__name__)

MAX_ANSWER_CHARS = 1000
"""Of each earlier answer, what a model reads."""


async def condense(state: AgentState, *, chat: ChatModel, history_turns: int) -> AgentState:
    """Add what a follow-up leaves unsaid: by rules where the model only quotes, else by asking the model."""
    question = state["request"].message.strip()
    turns = [turn_from_dict(turn) for turn in earlier_turns(state)][-history_turns:] if history_turns else []
    if not turns or is_courtesy(question):
        return {"standalone": question}
    with stage("condense"):
        by_rules = standalone_question(question, turns)
        if chat.extractive:
            return {"standalone": by_rules}
        try:
            return {"standalone": await _ask(chat, question, turns) or by_rules}
        except (ModelError, ServiceUnavailableError) as error:
            log.warning("the model did not condense the question; rules did", error=error.code, hop=error.hop)
            return {"standalone": by_rules, "degraded": (f"condensing the question failed ({error.code}): done by rules",)}


async def _ask(chat: ChatModel, question: str, turns: list[Turn]) -> str:
    fence = new_fence()
    lines = [line for turn in turns for line in (f"User: {turn.question}", f"Assistant: {turn.answer[:MAX_ANSWER_CHARS]}")]
    conversation = "\n".join([f"<<conversation {fence}>>", *lines, f"User: {question}", f"<<end conversation {fence}>>"])
    result = await chat.generate([Message("system", prompt(CONDENSE, fence=fence)), Message("user", conversation)])
    # A model that answers instead of rewriting writes at length; what is far longer than the question is no question.
    text = " ".join(result.content.split())
    return text if len(text) <= 400 + 2 * len(question) else ""
