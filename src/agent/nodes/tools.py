"""The tools that the model called: what they find becomes further passages, numbered on."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.chat import ToolCall
from ...core.identity import access_scope
from ...core.retrieval import Context, Passage
from ...core.search import Hit
from ...infra.providers.protocol import TokenSpans
from ..limits import STEPS_ENDED
from ..state import AgentState
from ..tools.protocol import Answered, Outcome, Round, ToolContext
from ..tools.toolbox import Toolbox, refused

DENIED = "The person who asks did not allow this call."
NOBODY_ASKED = "This call needs a person's approval, which cannot be given here."


async def run_tools(state: AgentState, *, toolbox: Toolbox, tokenizer: TokenSpans, max_steps: int, approve: frozenset[str] = frozenset()) -> AgentState:
    """Answer every call of the last reply. Beyond ``max_steps`` rounds none is run, and the model is told to answer.

    Args:
        approve: tools that run only where a person has allowed it.
    """
    steps = state.get("steps", 0) + 1
    ended = steps > max_steps
    if ended:
        outcomes = [refused(call, "No more tools can be called for this question. Answer from the passages.") for call in state["calls"]]
    else:
        outcomes = await _run(state, toolbox, approve)
    context, answers = numbered(state["context"], outcomes, tokenizer, toolbox.result_tokens)
    reasons = [*state.get("degraded", ()), *([STEPS_ENDED] if ended else []), *(reason for outcome in outcomes for reason in outcome.result.degraded)]
    return {
        "context": context,
        "rounds": (*state.get("rounds", ()), Round(state.get("said", ""), answers)),
        "calls": (),
        "said": "",
        "steps": steps,
        "denied": None,
        "degraded": tuple(dict.fromkeys(reasons)),
    }


async def _run(state: AgentState, toolbox: Toolbox, approve: frozenset[str]) -> list[Outcome]:
    """The outcomes of all calls in order; what a person did not allow is not run."""
    denied = state.get("denied")
    if denied is False or not needs_approval(state["calls"], approve):
        return await toolbox.run(state["calls"], context_of(state))
    why = DENIED if denied else NOBODY_ASKED
    ran = iter(await toolbox.run([call for call in state["calls"] if call.name not in approve], context_of(state)))
    return [refused(call, why) if call.name in approve else next(ran) for call in state["calls"]]


def needs_approval(calls: Sequence[ToolCall], approve: frozenset[str]) -> bool:
    return any(call.name in approve for call in calls)


def context_of(state: AgentState) -> ToolContext:
    """This turn's, and nobody else's."""
    request, identity = state["request"], state["identity"]
    return ToolContext(identity, access_scope(identity), state.get("thread_id", ""), request.filters, request.mode, state["context"].passages)


def numbered(context: Context, outcomes: Sequence[Outcome], tokenizer: TokenSpans, most_tokens: int) -> tuple[Context, tuple[Answered, ...]]:
    """The context with what the calls found, and each call's answer: passages whole, in order, as many as ``most_tokens`` holds.

    A passage that is known already keeps its number and is not repeated; the answer says what was left out.
    """
    passages, tokens = list(context.passages), context.tokens
    known = {passage.hit.chunk_id: passage.n for passage in passages}
    answers = []
    for outcome in outcomes:
        text, numbers, room = outcome.result.text, [], most_tokens
        hits = outcome.result.hits
        for place, hit in enumerate(hits):
            size = 0 if hit.chunk_id in known else len(tokenizer.spans(hit.text))
            if size > room:
                text = "\n".join(part for part in (text, left_out(hits[place:])) if part)
                break
            if hit.chunk_id not in known:
                passages.append(Passage(n=(passages[-1].n if passages else 0) + 1, hit=hit))
                known[hit.chunk_id] = passages[-1].n
                room, tokens = room - size, tokens + size
            numbers.append(known[hit.chunk_id])
        answers.append(Answered(outcome.call, text, tuple(numbers)))
    return Context(tuple(passages), tokens, context.degraded), tuple(answers)


def left_out(hits: Sequence[Hit]) -> str:
    """What the model is told of passages that did not fit."""
    return f"{len(hits)} more did not fit and are left out; the first of them is part {hits[0].position} of its document."
