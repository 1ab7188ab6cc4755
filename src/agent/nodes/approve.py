"""The step at which a turn waits until a person has decided about the tools that the model wants to have run."""

from __future__ import annotations

from ...core.identity import access_scope
from ...infra.search.protocol import SearchClient
from ..approvals import APPROVED, MOST_DECIDED, held_of, hold, restored
from ..state import AgentState


async def hold_turn(state: AgentState) -> AgentState:
    """Keep the turn: the checkpoint after this step is what survives a restart."""
    return {"pending": hold(state)}


async def approve(state: AgentState, *, search: SearchClient) -> AgentState:
    """Wait; then go on with the turn as it was kept, in whichever process. The decision is on the disk before a tool runs, and counts once."""
    from langgraph.types import interrupt

    approved = interrupt(state["pending"]["approval_id"]) == APPROVED
    held = held_of(state["pending"])
    decided = [*state.get("decided", []), held.approval_id][-MOST_DECIDED:]
    going_on = await restored(held, state, search, access_scope(state["identity"]))
    return {**going_on, "pending": {}, "decided": decided, "denied": not approved}
