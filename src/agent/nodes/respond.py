"""The end of a turn: its answer, or the refusal, added to the thread."""

from __future__ import annotations

from ...core.chat import TokenEvent, Turn, Usage
from ...infra.persistence.turns import REPLACES, turn_to_dict
from ...util.clock import iso_now
from ..prompts import REFUSAL, prompt
from ..state import AgentState, Emit, Outcome, earlier_turns


async def respond(state: AgentState, *, emit: Emit) -> AgentState:
    """Make the turn; the checkpoint after this node is what makes it part of the thread."""
    refused = state["refused"]
    answer = prompt(REFUSAL) if refused else state["answer"]
    if refused:
        emit(TokenEvent(answer))
    turn = Turn(
        message_id=state["message_id"],
        question=state["request"].message.strip(),
        answer=answer,
        citations=() if refused else state["citations"],
        refused=refused,
        degraded=state.get("degraded", ()),
        created_at=iso_now(),
    )
    emit(Outcome(turn=turn, usage=state.get("usage", Usage()), turns=len(earlier_turns(state)) + 1))
    return {"turns": [{**turn_to_dict(turn), REPLACES: state["request"].replaces}]}
