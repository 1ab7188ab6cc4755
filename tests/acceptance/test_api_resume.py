"""Streamed answers that are taken up again, over real connections; and what becomes of them when nobody does."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from src.api.app import create_app
from src.api.auth import dump_tokens, hash_token
from src.core.chat import Answer, ChatEvent, ChatRequest, CitationsEvent, DoneEvent, TokenEvent
from src.core.identity import Identity
from src.infra.config import Settings
from src.infra.resource_manager import ResourceManager

QUESTION = "How quickly must an uncontrolled gas escape be attended?"
ASK = {"message": QUESTION, "stream": True}


def parse(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.strip().split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


class Speaking:
    """An agent that says a word whenever the test lets it."""

    def __init__(self) -> None:
        self.words: asyncio.Queue[str] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.asked = 0

    async def stream(self, request: ChatRequest, identity: Identity) -> AsyncGenerator[ChatEvent, None]:
        self.asked += 1
        try:
            while word := await self.words.get():
                yield TokenEvent(word)
            yield CitationsEvent(())
            yield DoneEvent(Answer("t1", "m1", "One. Two.", ()))
        finally:
            self.closed.set()


@asynccontextmanager
async def listening(folder: Path, agent: Speaking, **api: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A server in this process, on a port of its own."""
    resources = ResourceManager(Settings.model_validate({"storage": {"path": folder}, "api": api}), overrides={"agent": agent})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(resources), log_config=None, timeout_graceful_shutdown=1))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            await task


async def first_event(client: httpx2.AsyncClient, **headers: str) -> dict[str, str]:
    """Ask, take one event, and close the connection."""
    text = ""
    async with client.stream("POST", "/v1/chat", json=ASK, headers=headers) as response:
        async for piece in response.aiter_text():
            text += piece
            if found := parse(text if text.endswith("\n\n") else ""):
                assert found[0]["id"].startswith(response.headers["x-run-id"])
                return found[0]
    raise AssertionError(text)


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("way", ["GET", "POST"])
async def test_a_client_whose_connection_broke_gets_the_rest_while_the_answer_goes_on(tmp_path: Path, way: str, elsewhere: bool) -> None:
    agent = Speaking()
    async with listening(tmp_path, agent) as one, listening(tmp_path, Speaking()) as other:
        agent.words.put_nowait("One.")
        first = await first_event(one)
        client = other if elsewhere else one
        run = first["id"].partition(":")[0]
        path, body = ("/v1/chat", ASK) if way == "POST" else (f"/v1/chat/runs/{run}/events", None)
        text = ""
        async with client.stream(way, path, json=body, headers={"Last-Event-ID": first["id"]}) as response:
            assert response.status_code == 200
            agent.words.put_nowait(" Two.")
            agent.words.put_nowait("")
            async for piece in response.aiter_text():
                text += piece
        events = [first, *parse(text)]
        assert [event["event"] for event in events] == ["token", "token", "citations", "done"]
        assert [event["id"] for event in events] == [f"{run}:{n}" for n in range(1, 5)]
        assert json.loads(events[-1]["data"])["answer"] == "One. Two."
        assert agent.asked == 1
        over = await client.get(f"/v1/chat/runs/{run}/events", headers={"Last-Event-ID": f"{run}:4"})
        assert (over.status_code, over.content) == (204, b"")


async def test_without_a_window_a_closed_connection_stops_the_answer(tmp_path: Path) -> None:
    agent = Speaking()
    async with listening(tmp_path, agent, resume_s=0) as client:
        agent.words.put_nowait("One.")
        first = await first_event(client)
        await asyncio.wait_for(agent.closed.wait(), 10)
        run = first["id"].partition(":")[0]
        events = parse((await client.get(f"/v1/chat/runs/{run}/events")).text)
        assert [event["event"] for event in events] == ["token", "error"]


async def test_an_answer_is_stopped_at_once_where_its_client_says_so(tmp_path: Path) -> None:
    agent = Speaking()
    async with listening(tmp_path, agent) as client:
        agent.words.put_nowait("One.")
        run = (await first_event(client))["id"].partition(":")[0]
        assert not agent.closed.is_set()
        assert (await client.delete(f"/v1/chat/runs/{run}")).status_code == 204
        assert agent.closed.is_set()


async def test_what_is_wrong_with_an_id_is_said(tmp_path: Path) -> None:
    agent = Speaking()
    async with listening(tmp_path, agent) as client:
        agent.words.put_nowait("")
        done = parse((await client.post("/v1/chat", json=ASK)).text)
        run = done[-1]["id"].partition(":")[0]
        for headers, status in (({"Last-Event-ID": "7"}, 400), ({"Last-Event-ID": f"{run}:9"}, 400), ({"Last-Event-ID": f"{'0' * 32}:1"}, 404)):
            assert (await client.post("/v1/chat", json=ASK, headers=headers)).status_code == status
        other = await client.post("/v1/chat", json={**ASK, "message": "Another?"}, headers={"Last-Event-ID": f"{run}:1"})
        assert (other.status_code, other.json()["code"]) == (400, "bad-input")
        wrong = await client.get(f"/v1/chat/runs/{'0' * 32}/events", headers={"Last-Event-ID": f"{run}:1"})
        assert wrong.status_code == 400
        assert (await client.get("/v1/chat/runs/nothing/events")).status_code == 404


def test_answers_of_a_running_server_are_resumed_from_what_is_kept_by_their_owner_alone(
    serve: Callable[..., Any], handbook_server: Any, tmp_path: Path
) -> None:
    tokens = {"anne-key": Identity("anne"), "bob-key": Identity("bob")}
    path = tmp_path / "tokens.json"
    path.write_text(dump_tokens({hash_token(token): who for token, who in tokens.items()}), encoding="utf-8")
    (tmp_path / "data").symlink_to(handbook_server.folder / "data")
    keys = [{"Authorization": f"Bearer {token}"} for token in tokens]
    with serve(tmp_path, {"auth": "tokens", "tokens_file": path}) as server, server.client(headers=keys[0]) as anne:
        events = parse(anne.post("/v1/chat", json=ASK).text)
        whole = json.loads(events[-1]["data"])
    # Restarted:
    with serve(tmp_path, {"auth": "tokens", "tokens_file": path}) as server, server.client(headers=keys[0]) as anne, server.client(headers=keys[1]) as bob:
        run = events[0]["id"].partition(":")[0]
        where = f"/v1/chat/runs/{run}/events"
        assert parse(anne.get(where).text) == events
        assert parse(anne.get(where, headers={"Last-Event-ID": events[0]["id"]}).text) == events[1:]
        assert bob.get(where).status_code == 404
        assert bob.delete(f"/v1/chat/runs/{run}").status_code == 404
        assert anne.delete(f"/v1/threads/{whole['thread_id']}").status_code == 204
