"""Tools as a model calls them: whose context they get, what they bring, and what becomes of calls that are wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from src.agent.tools.protocol import ToolContext, ToolResult
from src.agent.tools.toolbox import TOOLS
from src.core.chat import ChatRequest
from src.core.identity import Identity, access_scope
from src.core.search import AnyOf
from src.errors import ConfigurationError, ServiceUnavailableError
from src.infra.config import AgentCfg, ChatCfg
from tests.emulators.azure_openai import AzureOpenAIEmulator, Reply
from tests.integration.agent_parts import ME
from tests.integration.tool_parts import Note, SpyTool, gone, told, tool_agent

LEAVE = "How many days of annual leave do employees get?"
LEAVE_ANSWER = Reply(pieces=["Employees receive 25 days of paid annual leave each calendar year."])


def calls(*wanted: tuple[str, object], pieces: list[str] | None = None) -> Reply:
    return Reply(calls=[(name, arguments if isinstance(arguments, str) else json.dumps(arguments)) for name, arguments in wanted], pieces=pieces)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> SpyTool:
    tool = SpyTool()
    monkeypatch.setitem(TOOLS._factories, "spy", lambda _: tool)
    return tool


async def test_a_search_brings_passages_that_are_numbered_on_and_may_be_cited(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg
) -> None:
    azure.script += [
        calls(("search", {"query": "report a power cut"})),
        Reply(pieces=["Employees receive 25 days of paid annual leave each calendar year. ", "Report a power cut by calling 0800 555 014 [2]."]),
    ]
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, passages=1, sub_questions=0) as (agent, _):
        answer = await agent.ask(ChatRequest(f"{LEAVE} And whom do I call in a power cut?"), ME)
    assert {citation.document_id for citation in answer.citations} == {"leave.md", "outage.md"}
    assert answer.degraded == ()
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (22, 10)
    (result,) = told(azure)
    first, second = (request.body["messages"][0]["content"] for request in azure.requests[-2:])
    fence = result.split(">>")[0].split()[-1]
    assert result.startswith(f"<<passage 2 {fence}>>\nPower cuts")
    assert first == second
    assert fence in first
    assert [spec["function"]["name"] for spec in azure.requests[-1].body["tools"]] == ["search", "fetch_document"]


async def test_a_document_is_read_in_order_by_the_number_of_a_passage(tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg) -> None:
    parts = [f"## Part {n}\n\n" + " ".join(f"Rule {n}.{m} says that valve {n * 40 + m} is turned once a year." for m in range(12)) for n in range(12)]
    azure.script += [calls(("fetch_document", {"passage": 1})), calls(("fetch_document", {"passage": 1, "start": 11})), LEAVE_ANSWER]
    documents = {"valves.md": ("Valves", "# Valves\n\n" + "\n\n".join(parts))}
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, documents, passages=1, tool_result_tokens=600) as (agent, resources):
        await agent.ask(ChatRequest("Which valve does rule 5.3 speak of?"), ME)
        chunks = await resources.search.get_chunks("valves.md", access_scope(ME))
    beginning, further = told(azure)
    assert chunks[0].text in beginning
    assert chunks[-1].text not in beginning
    assert f"of a document with {len(chunks)}" in beginning
    assert "did not fit and are left out; the first of them is part" in beginning
    assert chunks[11].text in further


async def test_tools_find_nothing_outside_the_callers_scope_and_filters(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg
) -> None:
    private = [("pay.md", "# Pay\n\nMs Example of accounting earns 91,000 euros a year.", "user:bob")]
    wanted = calls(("search", {"query": "what does Ms Example earn"}), ("fetch_document", {"passage": 7}))
    azure.script += [wanted, LEAVE_ANSWER, wanted, LEAVE_ANSWER]
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, private=private) as (agent, _):
        await agent.ask(ChatRequest(LEAVE), ME)
        _, refused = told(azure)
        assert "91,000" not in json.dumps([request.body for request in azure.requests])
        assert "Error: There is no passage 7." in refused
        await agent.ask(ChatRequest(LEAVE, filters=(AnyOf("document_id", ("leave.md",)),)), ME)
        assert "0800" not in json.dumps(azure.requests[-1].body)
        azure.script += [wanted, LEAVE_ANSWER]
        await agent.ask(ChatRequest(LEAVE), Identity("bob"))
        assert "91,000" in told(azure)[0]


async def test_each_call_gets_the_context_of_its_own_thread_and_no_other(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, spy: SpyTool
) -> None:
    people = [Identity(f"user{n}", groups=(f"group{n}",)) for n in range(6)]
    together = asyncio.Barrier(len(people))
    spy.does = lambda _, __: together.wait()  # all run at once, or none ends
    azure.always = lambda request: None if any(m["role"] == "tool" for m in request.body["messages"]) else calls(("spy", {"text": said(request.body)}))
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, tools=("spy",)) as (agent, _):
        answers = await asyncio.gather(*(agent.ask(ChatRequest(f"{LEAVE} I am {person.user}."), person) for person in people))
    assert len(spy.ran) == len(people)
    threads = {person.user: answer.thread_id for person, answer in zip(people, answers, strict=True)}
    for note, context in spy.ran:
        assert context.identity.user == note.text
        assert context.scope == access_scope(context.identity)
        assert context.thread_id == threads[note.text]


def said(body: dict[str, list[dict[str, str]]]) -> str:
    return body["messages"][-1]["content"].split("I am ")[1].split(".")[0]


WRONG = [
    ("delete_everything", "{}", "There is no tool 'delete_everything'. There are: spy."),
    ("search", '{"query": "x"}', "There is no tool 'search'"),
    ("spy", '{"text": ', "The arguments do not fit: Invalid JSON"),
    ("spy", '{"text": 5}', "The arguments do not fit: text: Input should be a valid string"),
    ("spy", '{"text": "a", "scope": "system"}', "The arguments do not fit: scope: Extra inputs are not permitted"),
    ("spy", "[]", "The arguments do not fit"),
    ("spy", "[" * 5000, "The arguments do not fit"),
    ("spy", '{"text": "\\ud800"}', "The arguments do not fit"),
    ("\x00" * 500, "null", "There is no tool"),
]


async def test_a_wrong_call_is_answered_to_the_model_as_an_error(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, spy: SpyTool
) -> None:
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, tools=("spy",)) as (agent, _):
        for name, arguments, said in WRONG:
            azure.script += [calls((name, arguments)), LEAVE_ANSWER]
            answer = await agent.ask(ChatRequest(LEAVE), ME)
            assert "25 days" in answer.answer
            assert f"Error: {said}" in told(azure)[0]
    assert spy.ran == []


async def _fail(_: Note, __: ToolContext) -> None:
    raise ServiceUnavailableError("the weather service is down", hop="https://weather.company.test")


async def _hang(_: Note, __: ToolContext) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("does", "why"), [(_fail, "unavailable"), (lambda *_: 1 / 0, "internal"), (_hang, "deadline, agent.tool_timeout_s")])
async def test_a_tool_that_fails_is_told_to_the_model_and_the_answer_says_so(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, spy: SpyTool, does: Any, why: str
) -> None:
    spy.does = does
    azure.script += [calls(("spy", {})), LEAVE_ANSWER]
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, tools=("spy",), tool_timeout_s=0.2) as (agent, _):
        answer = await agent.ask(ChatRequest(LEAVE), ME)
    assert "25 days" in answer.answer
    assert answer.degraded == (f"the tool spy failed ({why})",)
    assert f"Error: the tool failed ({why})." in told(azure)[0]
    assert "weather.company" not in told(azure)[0]


async def test_results_are_bounded_and_say_what_was_cut(tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, spy: SpyTool) -> None:
    spy.does = lambda _, __: ToolResult("x" * 1_000_000)
    azure.script += [calls(*[("spy", {})] * 6), LEAVE_ANSWER]
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, tools=("spy",), tool_result_tokens=300) as (agent, _):
        await agent.ask(ChatRequest(LEAVE), ME)
    results = told(azure)
    assert len(spy.ran) == 4
    assert all(len(result) < 1500 and "[cut here: the first 1200 of 1000000 characters]" in result for result in results[:4])
    assert all("Only 4 calls of one reply are run" in result for result in results[4:])


async def test_without_an_allowed_tool_none_is_offered(tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg) -> None:
    azure.script += [calls(("search", {"query": "power cut"}), pieces=["Employees receive 25 days of paid annual leave each calendar year."])]
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, tools=()) as (agent, _):
        answer = await agent.ask(ChatRequest(LEAVE), ME)
    assert "25 days" in answer.answer
    assert "tools" not in azure.requests[-1].body
    assert len(azure.requests) == 1


async def test_the_local_model_takes_no_tools_and_answers_as_before(tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator) -> None:
    async with tool_agent(tmp_path, model_cache, azure, ChatCfg()) as (agent, _):
        answer = await agent.ask(ChatRequest(LEAVE), ME)
        assert "25 days" in answer.answer
        assert (await agent.ask(ChatRequest("Who won the football world cup in 1998?"), ME)).refused


async def test_a_tool_that_there_is_not_is_a_configuration_error(tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg) -> None:
    with pytest.raises(ConfigurationError, match="no tool named 'serach'") as caught:
        async with tool_agent(tmp_path, model_cache, azure, chat_cfg, tools=("serach",)):
            pass
    assert caught.value.setting == "agent.tools"
    assert "search" in caught.value.hint


# -- limits


async def test_tool_calls_end_at_the_most_steps_and_the_answer_says_so(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, spy: SpyTool
) -> None:
    azure.always = lambda request: calls(("spy", {})) if "tools" in request.body else LEAVE_ANSWER
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, tools=("spy",), max_steps=2) as (agent, _):
        answer = await agent.ask(ChatRequest(LEAVE), ME)
    assert len(spy.ran) == 2
    assert "25 days" in answer.answer
    assert answer.degraded == ("tool calls were ended at [agent] max_steps",)
    assert "No more tools can be called" in told(azure)[-1]
    assert len(azure.requests) == 4


PRICED = {"input_price": 1_000_000.0, "output_price": 1_000_000.0}


@pytest.mark.parametrize("limit", [{"max_tokens": 50}, {"max_cost": 50.0, **PRICED}])
async def test_a_question_that_cannot_fit_the_limit_is_an_error_before_the_model_is_asked(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, limit: dict[str, float]
) -> None:
    from src.errors import LimitExceededError

    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, **limit) as (agent, resources):
        with pytest.raises(LimitExceededError) as caught:
            await agent.ask(ChatRequest(LEAVE), ME)
        assert caught.value.setting == f"agent.{next(iter(limit))}"
        assert azure.requests == []
        assert (await resources.get("threads").list(ME)).threads == ()


@pytest.mark.parametrize("limit", [{"max_tokens": 1500}, {"max_cost": 1500.0, **PRICED}])
async def test_an_answer_that_reaches_the_limit_ends_after_its_last_whole_sentence_and_says_so(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, limit: dict[str, float]
) -> None:
    sentence = "Employees receive 25 days of paid annual leave each calendar year. "
    azure.script.append(Reply(pieces=[sentence] * 500, event_gap_s=0.001))
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, **limit) as (agent, _):
        answer = await agent.ask(ChatRequest(LEAVE), ME)
    assert answer.answer.endswith("calendar year [1].")
    assert answer.degraded == (f"the answer was cut off at [agent] {next(iter(limit))}",)
    assert answer.usage.output_tokens > 0
    assert answer.usage.input_tokens + answer.usage.output_tokens <= 1500 + len(sentence)
    assert await gone(azure)


@pytest.mark.parametrize(("first", "code"), [([], "deadline"), (["Employees receive 25 days of paid annual leave each calendar year. "], "")])
async def test_a_request_that_takes_too_long_ends_with_what_it_has_or_an_error_that_names_the_limit(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, first: list[str], code: str
) -> None:
    from src.errors import DeadlineExceededError

    # The sentence is whole once another begins; then comes nothing for long.
    azure.script.append(Reply(pieces=[*first, "Up", " to"], stall_after=len(first) + 3 if first else 1))
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, max_seconds=3) as (agent, _):
        if code:
            with pytest.raises(DeadlineExceededError) as caught:
                await agent.ask(ChatRequest(LEAVE), ME)
            assert caught.value.setting == "agent.max_seconds"
        else:
            answer = await agent.ask(ChatRequest(LEAVE), ME)
            assert answer.answer == "Employees receive 25 days of paid annual leave each calendar year [1]."
            assert answer.degraded == ("the answer was cut off at [agent] max_seconds",)
    assert await gone(azure)


def test_a_cost_limit_without_prices_is_a_configuration_error() -> None:
    with pytest.raises(ValueError, match="input_price"):
        AgentCfg(max_cost=1.0)
