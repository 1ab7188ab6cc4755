"""The graph: which node follows which, and what each is given. Nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from ..infra.config import AgentCfg, ChatCfg
from ..infra.providers.protocol import ChatModel, Embedder, TokenSpans, tool_calling
from ..infra.resilience.deadline import enforced
from ..infra.search.protocol import SearchClient
from ..retrieval.config import RetrievalCfg
from ..retrieval.retriever import Retriever
from .context.counting import LazyCounter
from .emitting import emitting
from .limits import Limits
from .nodes.assess import assess
from .nodes.condense import condense
from .nodes.fit import fit
from .nodes.generate import generate
from .nodes.recall import recall
from .nodes.respond import respond
from .nodes.retrieve import retrieve
from .nodes.tools import run_tools
from .nodes.verify import verify
from .prompts import Prompts
from .state import AgentState, Verify
from .tool_steps import add_tool_steps
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
    agent: AgentCfg
    model: ChatCfg
    threshold: float | None
    toolbox: Toolbox | None = None
    """None: no tool is allowed."""
    limits: Limits = field(default_factory=Limits)
    search: SearchClient | None = None
    """What a turn that waited for a decision reads its passages from."""


def build_graph(parts: Parts, checkpointer: BaseCheckpointSaver[Any] | None) -> CompiledStateGraph[AgentState, None, AgentState, AgentState]:
    """condense (recall first) → retrieve → assess → generate (fit first) → verify → respond. A step of its own costs a checkpoint, about 1 ms.

    Condense goes straight to respond with a question asked back, assess with a refusal; tools lead back to generate. A model that only
    quotes is sent what it can read: nothing has to be made to fit.
    """
    toolbox = parts.toolbox if tool_calling(parts.chat) is not None else None
    tools = toolbox.specs if toolbox is not None else ()
    counter, prompts = LazyCounter(parts.model), Prompts(parts.agent.prompts)
    fit_first = _timed(fit, counter=counter, chat=parts.model, prompts=prompts, tools=tools, extractive=parts.chat.extractive)

    async def generate_node(state: AgentState) -> AgentState:
        fitted = await fit_first(state)
        state = _joined(state, fitted)
        said = await generate(state, chat=parts.chat, verify=parts.verify, emit=emitting.get(), prompts=prompts, tools=tools, limits=parts.limits)
        return _joined(fitted, said)

    async def respond_node(state: AgentState) -> AgentState:
        return await respond(state, emit=emitting.get(), prompts=prompts, versions={"chat": parts.chat.model, "embed": parts.embedder.model})

    graph = StateGraph(AgentState)
    graph.add_node("condense", _condensing(parts, counter, prompts))
    graph.add_node("retrieve", _timed(retrieve, retriever=parts.retriever, tokenizer=parts.tokenizer, cfg=parts.retrieval))
    graph.add_node("assess", _timed(assess, embedder=parts.embedder, threshold=parts.threshold, tools=bool(tools)))
    graph.add_node("generate", generate_node)
    graph.add_node("verify", partial(verify, mode=parts.verify))
    graph.add_node("respond", respond_node)
    graph.add_edge(START, "condense")
    graph.add_conditional_edges("condense", _by(lambda state: "respond" if state.get("clarify") else "retrieve"), ["respond", "retrieve"])
    graph.add_edge("retrieve", "assess")
    graph.add_conditional_edges("assess", _by(lambda state: "respond" if state["refused"] else "generate"), ["respond", "generate"])
    names = frozenset(parts.agent.approve)
    given = {"toolbox": toolbox, "tokenizer": parts.tokenizer, "max_steps": parts.limits.steps, "approve": names}
    running = _timed(run_tools, **given) if toolbox is not None else None
    waits = names if checkpointer is not None else frozenset[str]()
    add_tool_steps(graph, running, back="generate", max_steps=parts.limits.steps, names=waits, search=parts.search)
    graph.add_edge("verify", "respond")
    graph.add_edge("respond", END)
    return graph.compile(checkpointer=checkpointer)


def _by(choose: Callable[[AgentState], str]) -> Callable[[AgentState], Awaitable[str]]:
    """A choice of the next node, made here: LangGraph runs a plain function on a thread of its own, for which each turn would wait three times."""

    async def chosen(state: AgentState) -> str:
        return choose(state)

    return chosen


def _condensing(parts: Parts, counter: LazyCounter, prompts: Prompts) -> partial[Coroutine[Any, Any, AgentState]]:
    """What of the conversation is shown, then the question."""
    recalling = _timed(recall, chat=parts.chat, counter=counter, cfg=parts.agent, prompts=prompts)
    return partial(_one_after_the_other, recalling, _timed(condense, chat=parts.chat, cfg=parts.agent, prompts=prompts))


async def _one_after_the_other(
    first: Callable[[AgentState], Awaitable[AgentState]], second: Callable[[AgentState], Awaitable[AgentState]], state: AgentState
) -> AgentState:
    done = await first(state)
    return _joined(done, await second(_joined(state, done)))


def _joined(state: AgentState, update: AgentState) -> AgentState:
    """A state as the next function sees it, or what two of them return together. None of them returns turns, which would add up."""
    return cast("AgentState", {**state, **update})


def _timed(node: Callable[..., Awaitable[AgentState]], **given: Any) -> partial[Coroutine[Any, Any, AgentState]]:
    """A node with its parts, interrupted when the time of the request is over."""
    return partial(_within_time, node, given)


async def _within_time(node: Callable[..., Awaitable[AgentState]], given: Mapping[str, Any], state: AgentState) -> AgentState:
    async with enforced(f"at its step {node.__name__}"):
        return await node(state, **given)
