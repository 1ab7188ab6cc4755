"""The question before it is searched for: as it stands alone, in its parts, or asked back where nobody could know what it means."""

from __future__ import annotations

from ...core.chat import Message, Usage
from ...errors import ModelError, ServiceUnavailableError
from ...infra.config import AgentCfg
from ...infra.persistence.turns import turn_from_dict
from ...infra.providers.passages import new_fence
from ...infra.providers.protocol import ChatModel
from ...infra.resilience.deadline import check
from ...telemetry.logger import get_logger
from ...telemetry.stages import stage
from ..context.history import History, messages_of_turns
from ..followup import is_courtesy, standalone_question
from ..prompts import QUESTION, Prompts
from ..query.plan import Plan, read_plan
from ..query.rules import may_be_compound, standing_parts, unclear_word
from ..state import AgentState, earlier_turns

log = get_logger(__name__)

MAX_ANSWER_CHARS = 1000
"""Of each earlier answer, what a model reads here."""


async def condense(state: AgentState, *, chat: ChatModel, cfg: AgentCfg, prompts: Prompts) -> AgentState:
    """Add what a follow-up leaves unsaid and take a compound question apart, or ask back: at most one call of the model.

    The model is asked only about a question that has a conversation before it, or in which rules see several things or a
    word that stands for nothing. One that only quotes is never asked, nor any with ``[agent] rewrite = rules``; where asking
    fails, rules do it and ``degraded`` says so.
    """
    question = state["request"].message.strip()
    history = state.get("history", History())
    if is_courtesy(question):
        return {"standalone": question}
    with stage("condense"):
        asked_back = _asked_back(state)
        by_rules = _by_rules(question, history, cfg, ask=cfg.clarify and not asked_back, lines=chat.extractive)
        needed = history.turns or history.summary or by_rules.unclear or (cfg.sub_questions > 1 and may_be_compound(question))
        if chat.extractive or cfg.rewrite == "rules" or not needed:
            return _planned(by_rules)
        try:
            plan, usage = await _ask(chat, question, history, cfg.sub_questions, prompts)
        except (ModelError, ServiceUnavailableError) as error:
            check()  # the request's own time is up: nothing is left to fall back for
            log.warning("the model did not condense the question; rules did", error=error.code, hop=error.hop)
            return {**_planned(by_rules), "degraded": (*state.get("degraded", ()), f"condensing the question failed ({error.code}): done by rules")}
    spent: AgentState = {"usage": state.get("usage", Usage()) + usage}
    if plan.unclear and cfg.clarify and not asked_back:
        return {**_planned(plan), **spent}
    return {**_planned(plan if plan.question else Plan(by_rules.question, by_rules.parts)), **spent}


def _asked_back(state: AgentState) -> bool:
    """Whether the turn before was a clarifying question: it is not asked twice in a row."""
    turns = earlier_turns(state)
    return bool(turns) and turn_from_dict(turns[-1]).clarifying


def _by_rules(question: str, history: History, cfg: AgentCfg, *, ask: bool, lines: bool) -> Plan:
    parts = standing_parts(question, history.turns, max(cfg.sub_questions, 1))
    unclear = unclear_word(question, history.turns) if ask and not history.summary else ""
    if len(parts) == 1:
        return Plan(parts[0], unclear=unclear)
    # On lines of their own the local model answers each; any other reads the question as it was asked, with its topic.
    return Plan("\n".join(parts) if lines else standalone_question(question, history.turns), parts, unclear)


def _planned(plan: Plan) -> AgentState:
    if plan.unclear:
        return {"standalone": plan.question, "clarify": plan.unclear}
    return {"standalone": plan.question, "queries": plan.parts}


async def _ask(chat: ChatModel, question: str, history: History, most: int, prompts: Prompts) -> tuple[Plan, Usage]:
    fence = new_fence()
    lines = [f"Summary of what came before: {history.summary}"] if history.summary else []
    lines += [_line(message) for message in messages_of_turns(history.turns)]
    told = "\n".join(lines)
    conversation = f"<<conversation {fence}>>\n{told}\n<<end conversation {fence}>>\n\n" if lines else ""
    system = prompts.text(QUESTION, fence=fence, most=str(max(most, 1)))
    user = f"{conversation}<<message {fence}>>\n{question}\n<<end message {fence}>>"
    result = await chat.generate([Message("system", system), Message("user", user)])
    return read_plan(result.content, question, most=most), result.usage


def _line(message: Message) -> str:
    return f"User: {message.content}" if message.role == "user" else f"Assistant: {message.content[:MAX_ANSWER_CHARS]}"
