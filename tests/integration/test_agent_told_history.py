"""Turns whose history the caller tells: answered as in a thread, kept nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.core.chat import ChatRequest, Turn
from src.errors import InputError

from .agent_parts import ME, agent_over


def told(question: str, answer: str) -> Turn:
    return Turn("", question, answer, (), refused=False, degraded=(), created_at="")


async def test_a_follow_up_is_understood_from_the_history_that_is_told_and_nothing_is_kept(tmp_path: Path, model_cache: Path) -> None:
    async with agent_over(tmp_path, model_cache) as (agent, resources):
        kept = await agent.ask(ChatRequest("How many days of paid annual leave are there?"), ME)
        follow_up = "And how many of them can I carry over?"
        history = (told("How many days of paid annual leave are there?", kept.answer),)
        expected = await agent.ask(ChatRequest(follow_up, thread_id=kept.thread_id), ME)
        answer = await agent.ask(ChatRequest(follow_up, history=history), ME)
        assert answer.answer == expected.answer
        assert "five unused days" in answer.answer
        assert answer.thread_id == ""
        bare = await agent.ask(ChatRequest("How do I report a power cut?", history=()), ME)
        assert not bare.refused
        with pytest.raises(InputError):
            await agent.ask(ChatRequest("x", thread_id=kept.thread_id, history=()), ME)
        page = await resources.get("threads").list(ME)
        assert [thread.thread_id for thread in page.threads] == [kept.thread_id]
        assert [saved async for saved in resources.checkpointer.alist({"configurable": {"thread_id": ""}})] == []
