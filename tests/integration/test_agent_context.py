"""What a model is shown of a conversation: never more than it may read, and what was left out is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from src.agent.context.counting import AROUND, PRIMING, ByteBound, message_tokens, spec_tokens
from src.core.chat import Answer, ChatRequest, Message, ToolSpec, Turn, Usage
from src.errors import InputError, ServiceUnavailableError
from src.infra.config import AgentCfg, ChatCfg
from src.infra.providers.protocol import ChatResult
from tests.emulators.azure_openai import AzureOpenAIEmulator, Reply
from tests.integration.agent_parts import ME, ScriptedChat, agent_over
from tests.integration.tool_parts import tool_agent

LEAVE = "Employees receive 25 days of paid annual leave each calendar year."


@dataclass
class Recalling(ScriptedChat):
    """Answers every question alike, condenses by repeating it, and writes summaries that say how often it was asked."""

    summaries: list[str] = field(default_factory=list)
    fails: bool = False

    async def generate(self, messages: Sequence[Message] | str) -> ChatResult:
        assert not isinstance(messages, str)
        if not messages[0].content.startswith("You keep the running summary"):
            return ChatResult("")  # of no use: rules condense
        if self.fails:
            raise ServiceUnavailableError("the model is down")
        self.summaries.append(messages[1].content)
        return ChatResult(f"Summary number {len(self.summaries)}. " + "They spoke of leave. " * 60, usage=Usage(50, 7))


def recalling() -> Recalling:
    return Recalling(lambda _: [LEAVE])


def history_of(chat: ScriptedChat) -> list[Message]:
    """The messages between the instructions and the question of the last prompt."""
    return list(chat.prompts[-1][1:-1])


async def asked(agent: Any, turns: int, thread_id: str | None = None) -> list[Answer]:
    answers: list[Answer] = []
    for number in range(turns):
        request = ChatRequest(f"How many days of annual leave do employees of office {number} get?", thread_id=thread_id)
        answers.append(await agent.ask(request, ME))
        thread_id = answers[-1].thread_id
    return answers


async def test_the_last_turns_are_shown_without_their_marks_and_the_answer_tells_what_was_left_out(tmp_path: Path, model_cache: Path) -> None:
    chat = recalling()
    async with agent_over(tmp_path, model_cache, chat, history_turns=2) as (agent, _):
        *_, answer = await asked(agent, 4)
    assert [message.role for message in history_of(chat)] == ["user", "assistant"] * 2
    assert [message.content for message in history_of(chat)][0::2] == [f"How many days of annual leave do employees of office {n} get?" for n in (1, 2)]
    assert all("[1]" not in message.content for message in history_of(chat))
    assert answer.context is not None
    assert (answer.context.strategy, answer.context.kept_turns, answer.context.dropped_turns) == ("recent", 2, 1)
    assert answer.context.tokens == message_tokens(history_of(chat), ByteBound()) <= answer.context.budget
    assert {"recall", "fit"} <= answer.timings_ms.keys()


async def test_a_sliding_window_holds_what_its_tokens_hold(tmp_path: Path, model_cache: Path) -> None:
    chat = recalling()
    async with agent_over(tmp_path, model_cache, chat, history_strategy="sliding", history_tokens=500) as (agent, _):
        thread_id = None
        for number in range(7):
            (answer,) = await asked(agent, 1, thread_id)
            thread_id = answer.thread_id
            assert answer.context is not None
            assert answer.context.tokens == message_tokens(history_of(chat), ByteBound()) <= 500
            assert answer.context.dropped_turns == number - len(history_of(chat)) // 2
    assert len(history_of(chat)) < 2 * 6


SUMMARISE: dict[str, Any] = {"history_strategy": "summarise", "history_tokens": 900, "summary_tokens": 400}


def summary_shown(chat: ScriptedChat) -> str:
    before, _, after = chat.prompts[-1][-1].content.partition("<<summary of the conversation ")
    assert not before or not after
    return after.partition(">>\n")[2].partition("\n<<end summary")[0]


async def test_a_summary_takes_in_what_falls_out_each_turn_once_and_outlives_a_restart(tmp_path: Path, model_cache: Path) -> None:
    chat = recalling()
    async with agent_over(tmp_path, model_cache, chat, **SUMMARISE) as (agent, _):
        answers = await asked(agent, 14)
    written = len(chat.summaries)
    assert 1 < written <= 6
    for number in range(answers[-1].context.summarised_turns if answers[-1].context else 0):
        assert sum(f"office {number} get" in read for read in chat.summaries) == 1
    assert "Summary number 1." in chat.summaries[1]
    assert sum(answer.usage.output_tokens for answer in answers) == 14 * 30 + written * 7
    async with agent_over(tmp_path, model_cache, chat, **SUMMARISE) as (agent, _):
        (after,) = await asked(agent, 1, answers[-1].thread_id)
    assert summary_shown(chat).startswith(f"Summary number {len(chat.summaries)}.")
    assert len(chat.summaries) <= written + 1
    for answer in (*answers, after):
        use = answer.context
        assert use is not None
        assert use.summary_tokens <= 400
        assert use.tokens <= 900
        assert use.dropped_turns == 0
    assert after.context is not None
    assert after.context.kept_turns + after.context.summarised_turns == 14


async def test_editing_a_turn_that_a_summary_holds_makes_it_void(tmp_path: Path, model_cache: Path) -> None:
    chat = recalling()
    async with agent_over(tmp_path, model_cache, chat, **SUMMARISE) as (agent, _):
        answers = await asked(agent, 8)
        assert summary_shown(chat)
        edited = await agent.ask(ChatRequest("How much leave is there?", thread_id=answers[0].thread_id, replaces=answers[1].message_id), ME)
    assert edited.context is not None
    assert (edited.context.kept_turns, edited.context.summarised_turns) == (1, 0)
    assert not summary_shown(chat)


async def test_a_summary_that_fails_leaves_the_oldest_turns_out_and_says_so(tmp_path: Path, model_cache: Path) -> None:
    chat = recalling()
    chat.fails = True
    async with agent_over(tmp_path, model_cache, chat, **SUMMARISE) as (agent, _):
        *_, answer = await asked(agent, 8)
    assert answer.answer.startswith("Employees receive 25 days")
    assert answer.context is not None
    assert answer.context.dropped_turns > 0
    assert any("summarising" in reason for reason in answer.degraded)


async def test_a_history_that_the_caller_tells_is_never_summarised(tmp_path: Path, model_cache: Path) -> None:
    chat = recalling()
    told = tuple(Turn("", f"Question {n} about leave?", LEAVE, (), False, (), "") for n in range(30))
    async with agent_over(tmp_path, model_cache, chat, **SUMMARISE) as (agent, _):
        answer = await agent.ask(ChatRequest("How many days of annual leave do employees get?", history=told), ME)
    assert answer.context is not None
    assert (answer.context.strategy, chat.summaries) == ("sliding", [])
    assert answer.context.kept_turns + answer.context.dropped_turns == 30


async def test_passages_give_way_whole_where_the_model_cannot_read_them_all(tmp_path: Path, model_cache: Path) -> None:
    chat = recalling()
    cfg = ChatCfg(context_window=2500, max_output_tokens=300)
    async with agent_over(tmp_path, model_cache, chat, chat_cfg=cfg) as (agent, _):
        *_, answer = await asked(agent, 3)
    assert message_tokens(chat.prompts[-1], ByteBound()) + PRIMING <= 2200
    assert LEAVE in chat.prompts[-1][-1].content
    assert answer.context is not None
    assert answer.context.dropped_passages == 1
    assert [reason for reason in answer.degraded if "context_window" in reason]
    assert answer.citations[0].document_id == "leave.md"


async def test_a_question_that_does_not_fit_the_model_names_the_setting(tmp_path: Path, model_cache: Path) -> None:
    async with agent_over(tmp_path, model_cache, recalling(), chat_cfg=ChatCfg(context_window=2600, max_output_tokens=300)) as (agent, _):
        with pytest.raises(InputError, match="room for") as raised:
            await agent.ask(ChatRequest("How many days of annual leave do employees get? " * 40), ME)
    assert raised.value.setting == "chat.context_window"


async def test_what_tools_bring_gives_way_too_and_the_wire_carries_the_turns_before(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg
) -> None:
    cfg = chat_cfg.model_copy(update={"max_output_tokens": 100, "model": "our-own", "deployment": "gpt-4"})
    found = Reply(calls=[("search", json.dumps({"query": "report a power cut"}))])
    azure.script += [Reply(pieces=[f"{LEAVE} [1]"]), Reply(pieces=["Annual leave?"]), found, Reply(pieces=[f"{LEAVE} [1]"])]
    async with tool_agent(tmp_path, model_cache, azure, cfg, passages=1) as (agent, _):
        (first,) = await asked(agent, 1)
        answer = await agent.ask(ChatRequest("And how many in all offices?", thread_id=first.thread_id), ME)
        roles = [message["role"] for message in azure.requests[-1].body["messages"]]
        assert roles == ["system", "user", "assistant", "user", "assistant", "tool"]
        assert answer.context is not None
        assert answer.context.dropped_passages == 0
        azure.script += [found, Reply(pieces=[f"{LEAVE} [1]"])]
        await asked(agent, 1)
        specs = [ToolSpec(**tool["function"]) for tool in azure.requests[-1].body["tools"]]
        before, after = (sum(AROUND + len(message["content"].encode()) for message in request.body["messages"]) for request in azure.requests[-2:])
    tight = spec_tokens(specs, ByteBound()) + PRIMING + 100 + before + (after - before) * 2 // 3
    azure.script += [found, Reply(pieces=[f"{LEAVE} [1]"])]
    async with tool_agent(tmp_path, model_cache, azure, cfg.model_copy(update={"context_window": tight}), passages=1) as (agent, _):
        (answer,) = await asked(agent, 1)
        assert "Power cuts" not in azure.requests[-1].body["messages"][-1]["content"]
        assert [reason for reason in answer.degraded if "context_window" in reason]
        assert answer.citations[0].document_id == "leave.md"


async def test_the_local_model_is_shown_nothing_of_the_conversation(tmp_path: Path, model_cache: Path) -> None:
    async with agent_over(tmp_path, model_cache) as (agent, _):
        assert (await agent.ask(ChatRequest("How many days of annual leave do employees get?"), ME)).context is None


def test_a_summary_that_leaves_no_room_for_turns_is_a_configuration_error() -> None:
    with pytest.raises(ValueError, match="summary_tokens"):
        AgentCfg(history_strategy="summarise", history_tokens=500, summary_tokens=300)
