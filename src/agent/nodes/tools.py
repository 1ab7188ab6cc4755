"""The tools that the model called: what they find becomes further passages, numbered on."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.identity import access_scope
from ...core.retrieval import Context, Passage
from ...core.search import Hit
from ...infra.providers.protocol import TokenSpans
from ..limits import STEPS_ENDED
from ..state import AgentState
from ..tools.protocol import Answered, Outcome, Round, ToolContext
from ..tools.toolbox import Toolbox, refused


async def run_tools(state: AgentState, *, toolbox: Toolbox, tokenizer: TokenSpans, max_steps: int) -> AgentState:
    """Answer every call of the last reply. Beyond ``max_steps`` rounds none is run, and the model is told to answer."""
    steps = state.get("steps", 0) + 1
    ended = steps > max_steps
    if ended:
        outcomes = [refused(call, "No more tools can be called for this question. Answer from the passages.") for call in state["calls"]]
    else:
        outcomes = await toolbox.run(state["calls"], context_of(state))
    context, answers = numbered(state["context"], outcomes, tokenizer, toolbox.result_tokens)
    reasons = [*state.get("degraded", ()), *([STEPS_ENDED] if ended else []), *(reason for outcome in outcomes for reason in outcome.result.degraded)]
    return {
        "context": context,
        "rounds": (*state.get("rounds", ()), Round(state.get("said", ""), answers)),
        "calls": (),
        "said": "",
        "steps": steps,
        "degraded": tuple(dict.fromkeys(reasons)),
    }


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
