"""Our agent as one node of somebody else's LangGraph graph."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph

from ...core.chat import Answer, ChatRequest, DoneEvent, TokenEvent, Turn
from ...core.identity import Identity
from ...core.search import Mode
from ...errors import InputError, RagError
from ...infra.resource_manager import ResourceManager, get_resources
from ...retrieval.filters import parse_filters
from ...util.aio import run_sync
from ..callers import identity_of
from ..shapes import answer_shape

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

    from ...agent.runtime import Agent
    from ...core.chat import ChatEvent


class RagState(MessagesState, total=False):
    """``messages`` as LangGraph's own; ``rag`` is the last answer as data, in the shape of `POST /v1/chat`."""

    rag: dict[str, Any]


def rag_graph(
    resources: ResourceManager | None = None,
    *,
    identity: Identity | None = None,
    mode: Mode | None = None,
    filters: Mapping[str, Any] | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[RagState, None, RagState, RagState]:
    """A compiled graph that answers the last message from the documents; add it as a node, or run it alone.

    The messages before are the conversation; the graph that it is part of keeps them, and no thread of ours is made. The answer
    is an `AIMessage` with its ``[n]`` marks, whose ``response_metadata["rag"]`` holds the citations. With
    ``stream_mode="custom"`` each sentence comes as ``{"token": text}`` once its citations are checked.

    Args:
        resources: the process's own by default.
        identity: who asks in every run; None: whoever the running request or the graph's config names (see `integrations.callers`).
        mode, filters: narrow retrieval, as in `POST /v1/chat`.
        checkpointer: keeps the conversation where the graph runs alone; as a node it has that of the graph around it. Alone and without
            one, run it with ``create_langgraph_config(…, durability=None)``, which says why.
    """
    found = resources or get_resources()
    conditions = parse_filters(filters)

    async def answer(state: RagState, config: RunnableConfig) -> dict[str, Any]:
        question, history = conversation(state["messages"])
        request = ChatRequest(question, mode=mode, filters=conditions, history=history)
        caller = identity_of(found, identity, config.get("configurable"))
        agent = cast("Agent", await asyncio.to_thread(found.get, "agent"))
        shape, text = await _told(agent.stream(request, caller), get_stream_writer())
        return {"messages": [AIMessage(text, response_metadata={"rag": shape})], "rag": shape}

    def answer_sync(state: RagState, config: RunnableConfig) -> dict[str, Any]:
        return run_sync(answer(state, config))

    graph = StateGraph(RagState)
    graph.add_node("rag", RunnableLambda(answer_sync, afunc=answer))
    graph.add_edge(START, "rag")
    graph.add_edge("rag", END)
    return graph.compile(checkpointer=checkpointer)


async def _told(stream: AsyncGenerator[ChatEvent, None], write: Callable[[Any], None]) -> tuple[dict[str, Any], str]:
    """Pass the sentences on; the answer at the end, as data and as text."""
    done: Answer | None = None
    async with aclosing(stream) as events:
        async for event in events:
            if isinstance(event, TokenEvent):
                write({"token": event.text})
            elif isinstance(event, DoneEvent):
                done = event.answer
    if done is None:
        raise RagError("The agent ended without an answer.")
    return answer_shape(done), done.answer


def conversation(messages: Sequence[AnyMessage]) -> tuple[str, tuple[Turn, ...]]:
    """The question and the turns before it; several messages of one side in a row are one. What is neither a person's nor a
    model's (instructions, tool calls and their results) is left out.

    Raises:
        InputError: the last message is not a person's.
    """
    turns: list[Turn] = []
    asked: list[str] = []
    said: list[str] = []
    for message in messages:
        text = str(message.text).strip()
        if isinstance(message, HumanMessage) and text:
            if said:
                turns.append(_turn(asked, said))
                asked, said = [], []
            asked.append(text)
        elif isinstance(message, AIMessage) and text:
            said.append(text)
    if said or not asked:
        raise InputError("The last message must be a person's: it is the question.", hint="Add a HumanMessage to `messages`.")
    return "\n\n".join(asked), tuple(turns)


def _turn(asked: Sequence[str], said: Sequence[str]) -> Turn:
    return Turn("", "\n\n".join(asked), "\n\n".join(said), (), refused=False, degraded=(), created_at="")
