"""The end of a turn: its answer, or the refusal, added to the thread."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.chat import TokenEvent, Turn, Usage
from ...infra.persistence.turns import REPLACES, turn_to_dict
from ...util.clock import iso_now
from ..context.history import History
from ..prompts import CLARIFY, REFUSAL, Prompts
from ..state import AgentState, Emit, Outcome, earlier_turns, retrieved_of


async def respond(state: AgentState, *, emit: Emit, prompts: Prompts, versions: Mapping[str, str]) -> AgentState:
    """Make the turn; the checkpoint after this node is what makes it part of the thread.

    Args:
        versions: names of the models, kept with the turn for who looks into an answer later.
    """
    unclear = state.get("clarify", "")
    refused = bool(unclear) or state["refused"]
    answer = prompts.text(CLARIFY, words=unclear) if unclear else prompts.text(REFUSAL) if refused else state["answer"]
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
        clarifying=bool(unclear),
        retrieved=retrieved_of(state),
        versions=versions,
    )
    use = state.get("history", History()).use
    emit(Outcome(turn=turn, usage=state.get("usage", Usage()), turns=len(earlier_turns(state)) + 1, context=use))
    ended: AgentState = {"turns": [{**turn_to_dict(turn), REPLACES: state["request"].replaces}]}
    # One that waited when approvals were switched off: the thread went on without it.
    return {**ended, "pending": {}} if state.get("pending") else ended
