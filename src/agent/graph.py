"""The graph: which node follows which, and what each is given. Nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StreamWriter

from ..infra.providers.protocol import ChatModel, Embedder, TokenSpans
from ..retrieval.config import RetrievalCfg
from ..retrieval.retriever import Retriever
from .nodes.assess import assess
from .nodes.condense import condense
from .nodes.generate import generate
from .nodes.respond import respond
from .nodes.retrieve import retrieve
from .nodes.verify import verify
from .state import AgentState, Verify


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


def build_graph(parts: Parts, checkpointer: BaseCheckpointSaver[Any] | None) -> CompiledStateGraph[AgentState, None, AgentState, AgentState]:
    """condense → retrieve → assess → generate → verify → respond; assess may go straight to respond."""

    async def generate_node(state: AgentState, writer: StreamWriter) -> AgentState:
        return await generate(state, chat=parts.chat, verify=parts.verify, emit=writer)

    async def respond_node(state: AgentState, writer: StreamWriter) -> AgentState:
        return await respond(state, emit=writer)

    graph = StateGraph(AgentState)
    graph.add_node("condense", partial(condense, chat=parts.chat, history_turns=parts.history_turns))
    graph.add_node("retrieve", partial(retrieve, retriever=parts.retriever, tokenizer=parts.tokenizer, cfg=parts.retrieval))
    graph.add_node("assess", partial(assess, embedder=parts.embedder, threshold=parts.threshold))
    graph.add_node("generate", generate_node)
    graph.add_node("verify", partial(verify, mode=parts.verify))
    graph.add_node("respond", respond_node)
    graph.add_edge(START, "condense")
    graph.add_edge("condense", "retrieve")
    graph.add_edge("retrieve", "assess")
    graph.add_conditional_edges("assess", lambda state: "respond" if state["refused"] else "generate", ["respond", "generate"])
    graph.add_edge("generate", "verify")
    graph.add_edge("verify", "respond")
    graph.add_edge("respond", END)
    return graph.compile(checkpointer=checkpointer)
