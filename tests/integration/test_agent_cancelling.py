"""A caller that goes away stops the model call, wherever the turn is, and leaves the thread as it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from src.agent.tools.toolbox import TOOLS
from src.api.app import create_app
from src.core.chat import ChatRequest
from tests.emulators.azure_openai import AzureOpenAIEmulator, Reply
from tests.integration.agent_parts import ME
from tests.integration.tool_parts import SpyTool, gone, tool_agent

LEAVE = "How many days of annual leave do employees get?"
SENTENCE = "Employees receive 25 days of paid annual leave each calendar year. "
THINKING = Reply(stall_after=1)
WRITING = Reply(pieces=[SENTENCE, "Up to five"], stall_after=3)
CALLING = Reply(calls=[("spy", "{}")])


async def until(reached: Callable[[], bool]) -> None:
    while not reached():
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(("reply", "follow_up"), [(THINKING, False), (WRITING, False), (CALLING, False), (WRITING, True), (CALLING, True)])
async def test_cancelling_stops_the_model_and_leaves_the_thread_as_it_was(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: Any, monkeypatch: pytest.MonkeyPatch, reply: Reply, follow_up: bool
) -> None:
    stopped = asyncio.Event()

    async def hang(*_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    spy = SpyTool(does=hang)
    monkeypatch.setitem(TOOLS._factories, "spy", lambda _: spy)
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, tools=("spy",), history_turns=0) as (agent, resources):
        threads = resources.get("threads")
        azure.always = lambda _: Reply(pieces=[SENTENCE])
        thread_id = (await agent.ask(ChatRequest(LEAVE), ME)).thread_id if follow_up else None
        before, asked = len(azure.requests), len(azure.requests) + 1
        azure.script.append(reply)
        task = asyncio.create_task(agent.ask(ChatRequest("And once more?", thread_id=thread_id), ME))
        await until(lambda: len(azure.requests) >= asked and (reply is not CALLING or bool(spy.ran)))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert reply is CALLING or await gone(azure)
        assert stopped.is_set() == (reply is CALLING)
        assert len(azure.requests) == before + 1
        listed = (await threads.list(ME)).threads
        assert [thread.thread_id for thread in listed] == ([thread_id] if follow_up else [])
        again = await agent.ask(ChatRequest(LEAVE, thread_id=thread_id), ME)
        assert len(await threads.history(again.thread_id, ME)) == 1 + follow_up
    assert await gone(azure)


TOOL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "ask", "arguments": {"question": LEAVE}}}
REQUESTS = {
    "/v1/chat": ({"message": LEAVE}, [499]),
    "/v1/chat/completions": ({"model": "rag", "messages": [{"role": "user", "content": LEAVE}]}, [499]),
    "/mcp": (TOOL, []),
}


@pytest.mark.parametrize("path", REQUESTS)
async def test_a_connection_that_closes_cancels_its_request(tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: Any, path: str) -> None:
    """At whichever door: MCP's library cancels again at every turn of the loop, OpenAI's path keeps no thread."""
    azure.script.append(THINKING)
    asked, statuses = REQUESTS[path]
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg) as (_, resources):
        body = [{"type": "http.request", "body": json.dumps(asked).encode(), "more_body": False}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if body:
                return body.pop()
            await until(lambda: bool(azure.requests))
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "scheme": "http", "http_version": "1.1"}
        names = {"content-type": "application/json", "host": "127.0.0.1:8000", "accept": "application/json, text/event-stream"}
        headers = [(name.encode(), value.encode()) for name, value in names.items()]
        app: Any = create_app(resources)
        await asyncio.wait_for(app({**scope, "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000)}, receive, send), 30)
        assert await gone(azure)
        assert (await resources.get("threads").list(ME)).threads == ()
    assert [message["status"] for message in sent if message["type"] == "http.response.start"] == statuses
