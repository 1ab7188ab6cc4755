"""Questions before retrieval, end to end: taken apart, asked back, and never more than one model call for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from src.agent.context.history import History
from src.agent.nodes.generate import asked
from src.agent.state import AgentState
from src.core.chat import ChatRequest, Message
from src.errors import ServiceUnavailableError
from src.infra.providers.passages import PromptContent, parse
from src.infra.providers.protocol import ChatResult
from tests.integration.agent_parts import ME, ScriptedChat, agent_over, number_of

BOTH = "How many days of annual leave do employees get, and what is the number to report a power cut?"


@dataclass
class Planning(ScriptedChat):
    """Answers planning calls from a list, and counts them."""

    plans: list[str] = field(default_factory=list)
    calls: int = 0

    async def generate(self, messages: Sequence[Message] | str) -> ChatResult:
        self.calls += 1
        return ChatResult(self.plans.pop(0))


# -- the local model


async def test_extraction_answers_each_part_of_a_compound_question_with_its_own_citation(tmp_path: Path, model_cache: Path) -> None:
    async with agent_over(tmp_path, model_cache) as (agent, _):
        answer = await agent.ask(ChatRequest(BOTH), ME)
    assert "25 days" in answer.answer
    assert "0800 555 014" in answer.answer
    assert [citation.document_id for citation in answer.citations][:1] == ["leave.md"]
    assert {citation.document_id for citation in answer.citations} >= {"leave.md", "outage.md"}
    assert answer.degraded == ()


async def test_a_part_that_the_documents_do_not_speak_of_is_told(tmp_path: Path, model_cache: Path) -> None:
    async with agent_over(tmp_path, model_cache) as (agent, _):
        answer = await agent.ask(ChatRequest("How many days of annual leave do employees get? Who won the football world cup in 1998?"), ME)
    assert "25 days" in answer.answer
    assert not answer.refused
    assert answer.degraded == ("part 2 of the question has no answer in the documents",)


async def test_a_pronoun_without_a_conversation_is_asked_back_once_and_then_answered(tmp_path: Path, model_cache: Path) -> None:
    async with agent_over(tmp_path, model_cache) as (agent, resources):
        first = await agent.ask(ChatRequest("Can I carry it over?"), ME)
        assert (first.clarifying, first.refused, first.citations) == (True, True, ())
        assert '"it"' in first.answer
        second = await agent.ask(ChatRequest("Unused days of annual leave", thread_id=first.thread_id), ME)
        assert "carried over" in second.answer
        assert not second.clarifying
        assert [turn.clarifying for turn in await resources.get("threads").history(first.thread_id, ME)] == [True, False]


async def test_asking_back_may_be_switched_off(tmp_path: Path, model_cache: Path) -> None:
    async with agent_over(tmp_path, model_cache, clarify=False) as (agent, _):
        assert not (await agent.ask(ChatRequest("Can I carry it over?"), ME)).clarifying


# -- a model


async def test_a_model_takes_a_question_apart_and_the_parts_are_searched_for_side_by_side(tmp_path: Path, model_cache: Path) -> None:
    seen: list[PromptContent] = []

    def script(content: PromptContent) -> list[str]:
        seen.append(content)
        leave, outage = number_of(content, "25 days"), number_of(content, "0800")
        return [f"Employees receive 25 days of paid annual leave each calendar year [{leave}]. ", f"Report a power cut by calling 0800 555 014 [{outage}]."]

    plan = f"QUESTION: {BOTH}\nPART: How many days of annual leave do employees get?\nPART: How is a power cut reported?"
    chat = Planning(script, plans=[plan])
    async with agent_over(tmp_path, model_cache, chat) as (agent, _):
        answer = await agent.ask(ChatRequest(BOTH), ME)
    assert (chat.calls, seen[-1].question) == (1, BOTH)
    texts = [passage.text for passage in seen[-1].passages]
    assert len(texts) == len(set(texts))
    assert [citation.document_id for citation in answer.citations] == ["leave.md", "outage.md"]


async def test_the_answering_model_reads_the_users_own_words_whatever_was_made_of_them_for_the_search(tmp_path: Path, model_cache: Path) -> None:
    other, follow_up = "How is a power cut reported?", "And how many of them may I carry over?"
    chat = Planning(lambda _: ["Up to five unused days may be carried over until 31 March."], plans=[f"QUESTION: {other}"])
    async with agent_over(tmp_path, model_cache, chat) as (agent, _):
        first = await agent.ask(ChatRequest("How many days of annual leave do employees get?"), ME)
        await agent.ask(ChatRequest(follow_up, thread_id=first.thread_id), ME)
    prompt = chat.prompts[-1]
    assert parse(prompt).question == follow_up
    assert other not in str(prompt)
    # Without room for the conversation what the question stands for is there, too.
    state = cast("AgentState", {"request": ChatRequest(follow_up), "standalone": other, "turns": [{"message_id": "m"}]})
    assert asked(state, History()) == f"{follow_up}\nIn full: {other}"
    assert asked(state, History(summary="leave")) == follow_up


async def test_a_question_without_a_conversation_or_parts_costs_no_model_call(tmp_path: Path, model_cache: Path) -> None:
    chat = Planning(lambda _: ["Employees receive 25 days of paid annual leave each calendar year."])
    async with agent_over(tmp_path, model_cache, chat) as (agent, _):
        assert not (await agent.ask(ChatRequest("How many days of annual leave do employees get?"), ME)).refused
    assert chat.calls == 0


async def test_a_model_asks_back_with_words_of_the_user_and_not_twice_in_a_row(tmp_path: Path, model_cache: Path) -> None:
    chat = Planning(lambda _: ["Up to five unused days may be carried over until 31 March."], plans=["ASK: it", "ASK: that", "ASK: <b>it</b>"])
    async with agent_over(tmp_path, model_cache, chat) as (agent, _):
        first = await agent.ask(ChatRequest("Can I carry it over?"), ME)
        assert first.clarifying
        assert '"it"' in first.answer
        second = await agent.ask(ChatRequest("I mean that leave", thread_id=first.thread_id), ME)
        third = await agent.ask(ChatRequest("Can I carry it over?", thread_id=first.thread_id), ME)
    assert (second.clarifying, third.clarifying) == (False, False)
    assert chat.calls == 3


@pytest.mark.parametrize("reply", ["", "x" * 5000, "PART:\nPART:\nQUESTION:"])
async def test_a_reply_that_cannot_be_used_leaves_the_question_to_rules(tmp_path: Path, model_cache: Path, reply: str) -> None:
    chat = Planning(lambda _: ["Employees receive 25 days of paid annual leave each calendar year."], plans=[reply])
    async with agent_over(tmp_path, model_cache, chat) as (agent, _):
        answer = await agent.ask(ChatRequest(BOTH), ME)
    assert "25 days" in answer.answer
    assert chat.prompts[-1][-1].content.count(BOTH) == 1


async def test_a_part_whose_search_fails_is_told_and_an_outage_of_all_is_an_error(tmp_path: Path, model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with agent_over(tmp_path, model_cache) as (agent, resources):
        retriever = resources.get("retriever")
        search = retriever.search

        async def failing(query: str, *args: Any, **options: Any) -> Any:
            if "power" in query:
                raise ServiceUnavailableError("the engine is down")
            return await search(query, *args, **options)

        monkeypatch.setattr(retriever, "search", failing)
        answer = await agent.ask(ChatRequest(BOTH), ME)
        assert "25 days" in answer.answer
        assert answer.degraded == ("1 of 2 parts of the question could not be searched for (unavailable)",)
        with pytest.raises(ServiceUnavailableError):
            await agent.ask(ChatRequest("What is the number to report a power cut?"), ME)
