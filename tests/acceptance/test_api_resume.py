"""Streamed answers that are taken up again, over real connections; and what becomes of them when nobody does."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from src.api.app import create_app
from src.cli import serve
from src.cli.serve import make_server
from src.core.chat import Answer, ChatEvent, ChatRequest, CitationsEvent, DoneEvent, TokenEvent
from src.core.identity import Identity
from src.infra.config import Settings
from src.infra.resource_manager import ResourceManager
from tests.servers.postgres import PASSWORD, PgBouncer, PostgresServer

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

    async def check(self, request: ChatRequest, identity: Identity) -> None:
        """Nothing is wrong."""

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
async def listening(folder: Path, agent: Speaking, persistence: dict[str, Any] | None = None, **api: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A server in this process, on a port of its own."""
    given = {"storage": {"path": folder}, "persistence": persistence or {}, "api": api}
    resources = ResourceManager(Settings.model_validate(given), overrides={"agent": agent})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = make_server(create_app(resources), lambda: None)
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
    await break_off_and_resume(tmp_path, way, elsewhere)


async def test_the_rest_is_had_from_a_replica_on_the_same_database(tmp_path: Path, postgres: PostgresServer, pgbouncer: PgBouncer) -> None:
    dsn = f"postgresql://postgres@127.0.0.1:{pgbouncer.port}/{postgres.database()}?sslmode=disable"
    await break_off_and_resume(tmp_path, "GET", True, {"backend": "postgres", "dsn": dsn, "password": PASSWORD})


async def break_off_and_resume(folder: Path, way: str, elsewhere: bool, persistence: dict[str, Any] | None = None) -> None:
    agent = Speaking()
    folders = [folder / "one", folder / "other"] if persistence else [folder, folder]
    async with listening(folders[0], agent, persistence) as one, listening(folders[1], Speaking(), persistence) as other:
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


MESSAGES = {"model": "rag", "messages": [{"role": "user", "content": QUESTION}]}
STOPPED = "The server stopped before the answer was ready."


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v1/chat", ASK, 200, "event: token"),
        ("/v1/chat/completions", {**MESSAGES, "stream": True}, 200, "One."),
        ("/v1/chat/completions", MESSAGES, 503, ""),
    ],
)
async def test_a_server_that_is_told_to_stop_ends_its_answers_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    monkeypatch.setattr(serve, "ANSWERING_S", 0)
    agent = Speaking()
    agent.words.put_nowait("One.")
    async with listening(tmp_path, agent) as client:
        asking = asyncio.create_task(client.post(path, json=body))
        while not agent.asked or not agent.words.empty():
            await asyncio.sleep(0.01)
        signal.raise_signal(signal.SIGTERM)
        answer = await asking
    assert answer.status_code == status
    assert said in answer.text
    assert answer.text.count(STOPPED) == 1
    assert agent.closed.is_set()
    assert "Exception in ASGI application" not in caplog.text


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
