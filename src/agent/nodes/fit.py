"""The last look at a prompt before it is sent: whether the model can read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...core.chat import Message, ToolSpec
from ...core.retrieval import Context
from ...errors import InputError
from ...infra.config import ChatCfg
from ...infra.providers.passages import new_fence
from ...telemetry.stages import stage
from ..context.counting import PRIMING, LazyCounter, TokenCounter, message_tokens, spec_tokens
from ..context.history import History, narrowed
from ..context.model_window import input_room
from ..prompts import Prompts
from ..state import AgentState
from .generate import prompt_of


async def fit(
    state: AgentState, *, counter: LazyCounter, chat: ChatCfg, prompts: Prompts, tools: Sequence[ToolSpec] = (), extractive: bool = False
) -> AgentState:
    """Make the prompt fit the model: earlier turns give way first, then whole passages from the last one up; again after each round of tools.

    Instructions, question and the passages that stay are never cut.

    Raises:
        InputError: they alone do not fit.
    """
    if extractive:  # it reads as many sentences as it may, of any passages
        return {}
    with stage("fit"):
        counts = await counter.ready()
        room = input_room(chat.context_window, chat.model, chat.max_output_tokens, exact=counts.exact)
        history = state.get("history", History())
        fence = state.get("fence") or new_fence()
        if room is None:
            return {"fence": fence}
        room -= spec_tokens(tools, counts) + PRIMING
        bare: AgentState = {**state, "history": History()}
        context, size = _within(bare, counts, room, fence, tools=bool(tools), prompts=prompts)
        shown = narrowed(history, counts, room - size)
    dropped = len(state["context"].passages) - len(context.passages)
    if dropped and shown.use is not None:
        shown = replace(shown, use=replace(shown.use, dropped_passages=shown.use.dropped_passages + dropped))
    reasons = [f"{dropped} passage{'s' if dropped > 1 else ''} found had no room in the prompt ([chat] context_window)"] if dropped else []
    return {"fence": fence, "context": context, "history": shown, "degraded": tuple(dict.fromkeys((*state.get("degraded", ()), *reasons)))}


def _within(state: AgentState, counts: TokenCounter, room: int, fence: str, *, tools: bool, prompts: Prompts) -> tuple[Context, int]:
    """The context with as many of its first passages as fit, at least one, and the tokens of the prompt without its history."""
    context = state["context"]
    for kept in range(len(context.passages), -1, -1):
        shorter = replace(context, passages=context.passages[:kept])
        size = _size({**state, "context": shorter}, counts, fence, tools=tools, prompts=prompts)
        if size <= room and (kept or not context.passages):
            return shorter, size
    if state.get("rounds"):
        raise InputError(
            f"What tools brought, with the question and its instructions, takes {size} tokens; the model has room for {max(room, 0)}.",
            hint="Set `[agent] tool_result_tokens` or `max_steps` lower, or `[chat] context_window` to what the model reads.",
            setting="agent.tool_result_tokens",
        )
    raise InputError(
        f"The question with its instructions{' and one passage' if context.passages else ''} takes {size} tokens; the model has room for {max(room, 0)}.",
        hint="Ask a shorter question, or set `[chat] context_window` to what the model reads, `max_output_tokens` lower, or `[ingestion] chunk_tokens` lower.",
        setting="chat.context_window",
    )


def _size(state: AgentState, counts: TokenCounter, fence: str, *, tools: bool, prompts: Prompts) -> int:
    messages: list[Message] = prompt_of(state, fence, extractive=False, tools=tools, prompts=prompts)
    return message_tokens(messages, counts)
