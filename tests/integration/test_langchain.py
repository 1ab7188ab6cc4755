"""Our retriever, tool and subgraph in LangChain's and LangGraph's shapes: their own standard tests, and what ours adds."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, ToolException
from langchain_tests.integration_tests.retrievers import RetrieversIntegrationTests
from langchain_tests.integration_tests.tools import ToolsIntegrationTests
from langchain_tests.unit_tests.tools import ToolsUnitTests
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from src.core.identity import current_identity
from src.errors import FilterError, InputError, QueryError, UnreachableError
from src.infra.config import Settings
from src.infra.persistence import create_langgraph_config
from src.infra.resource_manager import ResourceManager, use_resources
from src.integrations.langchain import RagRetriever, RagTool, as_retriever, rag_graph
from src.integrations.langchain.subgraph import conversation
from src.util.aio import run_sync
from tests.integration.library_parts import ANNE, BOB, OTTO, QUESTION, SECRET_QUESTION, library_resources, program_of

OURS: dict[str, ResourceManager] = {}
"""The resources of this file's tests; LangChain's standard tests read them from properties, which get no fixtures."""


@pytest.fixture(scope="module", autouse=True)
def resources(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Iterator[ResourceManager]:
    opened = library_resources(tmp_path_factory.mktemp("langchain"), model_cache)
    OURS["resources"] = run_sync(opened.__aenter__())
    yield OURS["resources"]
    run_sync(opened.__aexit__(None, None, None))


class TestRetrieverStandard(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return RagRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"resources": OURS["resources"], "identity": ANNE}

    @property
    def retriever_query_example(self) -> str:
        return QUESTION


class TestToolStandardUnit(ToolsUnitTests):
    @property
    def tool_constructor(self) -> type[BaseTool]:
        return RagTool

    @property
    def tool_constructor_params(self) -> dict[str, Any]:
        return {"resources": OURS["resources"], "identity": ANNE}

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"question": QUESTION}


class TestToolStandardIntegration(ToolsIntegrationTests):
    tool_constructor = TestToolStandardUnit.tool_constructor
    tool_constructor_params = TestToolStandardUnit.tool_constructor_params
    tool_invoke_params_example = TestToolStandardUnit.tool_invoke_params_example


# The retriever


async def test_a_document_carries_where_it_stands_its_scores_and_what_it_was_ingested_with(resources: ResourceManager) -> None:
    best = (await as_retriever(resources, identity=ANNE, k=1).ainvoke(QUESTION))[0]
    metadata = best.metadata
    assert best.id == metadata["chunk_id"]
    assert (metadata["document_id"], metadata["title"], metadata["kind"]) == ("leave.md", "Annual leave", "policy")
    assert set(metadata["legs"]) == {"bm25", "knn"}
    assert isinstance(metadata["score"], float)
    assert "degraded" not in metadata


async def test_every_call_sees_what_its_caller_may_see(resources: ResourceManager) -> None:
    async def found(retriever: RagRetriever, **more: Any) -> set[str]:
        return {document.metadata["document_id"] for document in await retriever.ainvoke(SECRET_QUESTION, **more)}

    assert "reserve.md" in await found(as_retriever(resources, identity=ANNE))
    assert await found(as_retriever(resources, identity=BOB)) == {"leave.md", "power.md"}
    assert await found(as_retriever(resources, identity=OTTO)) == {"boats.txt"}
    unbound = as_retriever(resources)
    assert await found(unbound) == {"leave.md", "power.md"}  # the local user
    assert await found(unbound, config=create_langgraph_config({"user_id": "otto", "tenant": "elsewhere"}, "t")) == {"boats.txt"}
    token = current_identity.set(ANNE)
    try:
        assert "reserve.md" in await found(unbound)
        assert "reserve.md" in await found(unbound, config=create_langgraph_config({"user_id": "otto", "tenant": "elsewhere"}, "t"))
        assert await found(as_retriever(resources, identity=OTTO)) == {"boats.txt"}
        documents = await asyncio.to_thread(unbound.invoke, SECRET_QUESTION)  # the synchronous way, from another thread
        assert "reserve.md" in {document.metadata["document_id"] for document in documents}
    finally:
        current_identity.reset(token)


async def test_mode_and_filters_narrow_each_call(resources: ResourceManager) -> None:
    retriever = as_retriever(resources, identity=ANNE, mode="bm25", filters={"kind": "policy"}, tags=["ours"])
    assert retriever.tags == ["ours"]
    documents = await retriever.ainvoke("leave power")
    assert {document.metadata["document_id"] for document in documents} == {"leave.md"}
    assert set(documents[0].metadata["legs"]) == {"bm25"}
    others = await retriever.ainvoke("leave power", filters={"kind": ["procedure"]})
    assert {document.metadata["document_id"] for document in others} == {"power.md"}


async def test_bad_input_and_outages_are_our_errors_never_an_empty_list(resources: ResourceManager) -> None:
    retriever = as_retriever(resources, identity=ANNE)
    with pytest.raises(QueryError):
        await retriever.ainvoke("  ")
    for k in (0, -1):
        with pytest.raises(QueryError):
            retriever.invoke(QUESTION, k=k)
    with pytest.raises(FilterError):
        await retriever.ainvoke(QUESTION, filters={"kind": None})
    unreachable = Settings.model_validate({"search": {"host": "http://127.0.0.1:9", "timeout_s": 2}})
    async with ResourceManager(unreachable) as cut_off:
        with pytest.raises(UnreachableError):
            await as_retriever(cut_off, identity=ANNE, mode="bm25").ainvoke(QUESTION)


def test_nothing_of_the_resources_is_written_into_a_trace(resources: ResourceManager) -> None:
    for part in (as_retriever(resources, identity=ANNE), RagTool(resources=resources, identity=ANNE)):
        assert "resources" not in repr(part)
        assert "resources" not in part.model_dump()
        assert "anne" not in str(part.model_dump())


# The tool


async def test_the_tool_answers_with_citations_and_keeps_no_thread(resources: ResourceManager) -> None:
    tool = RagTool(resources=resources, identity=ANNE)
    message = await tool.ainvoke({"name": tool.name, "args": {"question": QUESTION}, "id": "1", "type": "tool_call"})
    assert "25 days" in message.content
    assert message.content.splitlines()[-1].startswith("[1] Annual leave: “")
    assert message.artifact["citations"][0]["document_id"] == "leave.md"
    assert (await resources.get("threads").list(ANNE)).threads == ()


async def test_what_goes_wrong_is_told_to_the_model_with_what_to_do(resources: ResourceManager) -> None:
    call = {"name": "company_documents", "args": {"question": " "}, "id": "1", "type": "tool_call"}
    message = await RagTool(resources=resources, identity=ANNE).ainvoke(call)
    assert message.status == "error"
    assert message.content == "The message is empty. Ask with at least one word."
    with pytest.raises(ToolException) as raised:
        await RagTool(resources=resources, identity=ANNE, handle_tool_error=False).ainvoke({"question": " "})
    assert isinstance(raised.value.__cause__, InputError)


@pytest.mark.parametrize("synchronous", [True, False])
async def test_the_tool_works_in_a_graph_under_the_user_of_its_config(resources: ResourceManager, synchronous: bool) -> None:
    graph = StateGraph(MessagesState).add_node("tools", ToolNode([RagTool(resources=resources)])).add_edge(START, "tools").compile(InMemorySaver())
    asked: Any = {"messages": [AIMessage("", tool_calls=[{"name": "company_documents", "args": {"question": SECRET_QUESTION}, "id": "1"}])]}
    for user, sees in (("anne", True), ("bob", False)):
        config = create_langgraph_config({"user_id": user, "tenant": "default"}, "t")
        result = await asyncio.to_thread(graph.invoke, asked, config) if synchronous else await graph.ainvoke(asked, config)
        message = result["messages"][-1]
        assert isinstance(message, ToolMessage)
        assert ("hall nine" in message.content) == sees
        assert message.artifact["refused"] != sees


# The subgraph


@pytest.mark.parametrize("synchronous", [True, False])
async def test_the_subgraph_answers_in_somebody_else_s_graph_and_the_conversation_goes_on(resources: ResourceManager, synchronous: bool) -> None:
    builder = StateGraph(MessagesState).add_node("documents", rag_graph(resources)).add_edge(START, "documents")
    graph = builder.compile(checkpointer=InMemorySaver())
    config = create_langgraph_config({"user_id": "anne", "tenant": "default"}, "thread")

    async def say(text: str) -> AIMessage:
        asked: Any = {"messages": [HumanMessage(text)]}
        result = await asyncio.to_thread(graph.invoke, asked, config) if synchronous else await graph.ainvoke(asked, config)
        message = result["messages"][-1]
        assert isinstance(message, AIMessage)
        return message

    first = await say(QUESTION)
    assert "25 days" in str(first.content)
    assert first.response_metadata["rag"]["citations"][0]["document_id"] == "leave.md"
    second = await say("And how many of them may be carried over?")
    assert "five unused days" in str(second.content)
    assert "hall nine" in str((await say(SECRET_QUESTION)).content)
    assert (await resources.get("threads").list(ANNE)).threads == ()


async def test_the_subgraph_streams_its_sentences(resources: ResourceManager) -> None:
    graph = rag_graph(resources, identity=ANNE, checkpointer=InMemorySaver())
    asked: Any = {"messages": [HumanMessage(QUESTION)]}
    config = create_langgraph_config({"user_id": "otto", "tenant": "elsewhere"}, "t")  # the identity that was given counts
    parts = [part async for part in graph.astream(asked, config, stream_mode=["custom", "values"])]
    told = "".join(part["token"] for mode, part in parts if mode == "custom")
    values = [part for mode, part in parts if mode == "values"]
    assert told.strip() == values[-1]["rag"]["answer"].strip()
    assert values[-1]["rag"]["citations"]


def test_a_conversation_becomes_turns_and_a_question() -> None:
    call = {"name": "x", "args": {}, "id": "1"}
    messages = [
        SystemMessage("Be kind."),
        HumanMessage("A?"),
        HumanMessage("B?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("found", tool_call_id="1"),
        AIMessage("C."),
        HumanMessage([{"type": "text", "text": "D?"}]),
    ]
    question, history = conversation(messages)
    assert question == "D?"
    assert [(turn.question, turn.answer) for turn in history] == [("A?\n\nB?", "C.")]
    for wrong in ([], [AIMessage("C.")], [HumanMessage("A?"), AIMessage("B.")], [HumanMessage("")]):
        with pytest.raises(InputError):
            conversation(wrong)


def test_the_page_s_program_works(resources: ResourceManager, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with use_resources(resources):
        exec(compile(program_of(root, "LangChain and LangGraph"), "clients.md", "exec"), {})
    said = capsys.readouterr().out
    assert "leave.md" in said
    assert said.count("25 days") >= 2


def test_without_the_library_the_error_names_the_extra() -> None:
    code = (
        "import sys\nsys.modules['langchain_core'] = None\nfrom src.errors import MissingExtraError\n"
        "try:\n    import src.integrations.langchain\nexcept MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs the extra `langchain`" in done.stdout
    assert "Install founders-rag[langchain]." in done.stdout
