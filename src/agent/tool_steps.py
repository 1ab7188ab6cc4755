"""The steps that follow a reply of the model: tools that it called, and before them a decision where one is needed."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Any

from langgraph.graph.state import StateGraph

from ..infra.search.protocol import SearchClient
from .nodes.approve import approve, hold_turn
from .nodes.tools import needs_approval
from .state import AgentState

Node = partial[Coroutine[Any, Any, AgentState]]


def add_tool_steps(
    graph: StateGraph[AgentState, None, AgentState, AgentState],
    tools: Node | None,
    *,
    back: str,
    max_steps: int,
    names: frozenset[str],
    search: SearchClient | None,
) -> None:
    """What follows ``generate``: verify, or the tools, which lead back to the node ``back``.

    Args:
        tools: the step that runs them; None where the model is offered none.
        names: tools whose calls wait for a decision; empty where nothing is kept, for then nobody can be asked.
        search: what a turn that waited reads its passages from.
    """
    after = ["verify"]
    if tools is not None:
        graph.add_node("tools", tools)
        graph.add_edge("tools", back)
        after.append("tools")
    waits = names if tools is not None and search is not None else frozenset[str]()
    if search is not None and waits:
        graph.add_node("hold", hold_turn)
        graph.add_node("approve", partial(approve, search=search))
        graph.add_edge("hold", "approve")
        graph.add_edge("approve", "tools")
        after.append("hold")

    async def following(state: AgentState) -> str:
        if not state["calls"]:
            return "verify"
        ends = state.get("steps", 0) >= max_steps  # no call is run then, so nobody is asked about one
        return "hold" if needs_approval(state["calls"], waits) and not ends else "tools"

    graph.add_conditional_edges("generate", following, after)
