"""The graph: which node follows which, and what each is given. Nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StreamWriter

from ..infra.providers.protocol import ChatModel, Embedder, TokenSpans, tool_calling
from ..infra.resilience.deadline import enforced
from ..retrieval.config import RetrievalCfg
from ..retrieval.retriever import Retriever
from .limits import Limits
from .nodes.assess import assess
from .nodes.condense import condense
from .nodes.generate import generate
from .nodes.respond import respond
from .nodes.retrieve import retrieve
from .nodes.tools import run_tools
from .nodes.verify import verify
from .state import AgentState, Verify
from .tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class Parts:
    """What the nodes work with."""

    chat: ChatModel
    embedder: Embedder
    retriever: Retriever
    tokenizer: TokenSpans
    retrieval: RetrievalCfg
    verify: Verify
    history_turns: int
    threshold: float | None
    toolbox: Toolbox | None = None
    """None: no tool is allowed."""
    limits: Limits = field(default_factory=Limits)


def build_graph(parts: Parts, checkpointer: BaseCheckpointSaver[Any] | None) -> CompiledStateGraph[AgentState, None, AgentState, AgentState]:
    """condense → retrieve → assess → generate → verify → respond; assess may go straight to respond, and tools lead back to generate."""
    toolbox = parts.toolbox if tool_calling(parts.chat) is not None else None
    tools = toolbox.specs if toolbox is not None else ()

    async def generate_node(state: AgentState, writer: StreamWriter) -> AgentState:
        return await generate(state, chat=parts.chat, verify=parts.verify, emit=writer, tools=tools, limits=parts.limits)

    async def respond_node(state: AgentState, writer: StreamWriter) -> AgentState:
        return await respond(state, emit=writer)

    graph = StateGraph(AgentState)
    graph.add_node("condense", _timed(condense, chat=parts.chat, history_turns=parts.history_turns))
    graph.add_node("retrieve", _timed(retrieve, retriever=parts.retriever, tokenizer=parts.tokenizer, cfg=parts.retrieval))
    graph.add_node("assess", _timed(assess, embedder=parts.embedder, threshold=parts.threshold, tools=bool(tools)))
    graph.add_node("generate", generate_node)
    graph.add_node("verify", partial(verify, mode=parts.verify))
    graph.add_node("respond", respond_node)
    graph.add_edge(START, "condense")
    graph.add_edge("condense", "retrieve")
    graph.add_edge("retrieve", "assess")
    graph.add_conditional_edges("assess", lambda state: "respond" if state["refused"] else "generate", ["respond", "generate"])
    if toolbox is not None:
        graph.add_node("tools", _timed(run_tools, toolbox=toolbox, tokenizer=parts.tokenizer, max_steps=parts.limits.steps))
        graph.add_edge("tools", "generate")
    graph.add_conditional_edges("generate", lambda state: "tools" if state["calls"] else "verify", ["verify", *(["tools"] if tools else [])])
    graph.add_edge("verify", "respond")
    graph.add_edge("respond", END)
    return graph.compile(checkpointer=checkpointer)


def _timed(node: Callable[..., Awaitable[AgentState]], **given: Any) -> partial[Coroutine[Any, Any, AgentState]]:
    """A node with its parts, interrupted when the time of the request is over."""
    return partial(_within_time, node, given)


async def _within_time(node: Callable[..., Awaitable[AgentState]], given: Mapping[str, Any], state: AgentState) -> AgentState:
    async with enforced(f"at its step {node.__name__}"):
        return await node(state, **given)
