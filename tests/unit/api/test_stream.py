"""Answers as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from src.api import sse
from src.api.sse import STILL_HERE, EventStream, event
from src.core.chat import Answer, ChatEvent, ChatRequest, Citation, CitationsEvent, DoneEvent, TokenEvent
from src.core.identity import Identity
from src.errors import ServiceUnavailableError

CITATION = Citation(n=1, chunk_id="c", document_id="d", title="T\nwo", source="s", quote="q", score=1.5, page=3)


class Speaking:
    """An agent that says what it is told to, to see how the API passes it on."""

    def __init__(self, *items: ChatEvent | Exception | float) -> None:
        self.items = items
        self.closed = asyncio.Event()

    async def check(self, request: ChatRequest, identity: Identity) -> None:
        """Nothing is wrong."""

    async def stream(self, request: ChatRequest, identity: Identity) -> AsyncGenerator[ChatEvent, None]:
        try:
            for item in self.items:
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, float):
                    await asyncio.sleep(item)
                else:
                    yield item
        finally:
            self.closed.set()


def parse(text: str) -> list[tuple[str, Any]]:
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    return [(block["event"], json.loads(block["data"])) for block in blocks]


def done(*citations: Citation) -> DoneEvent:
    return DoneEvent(Answer("t1", "m1", "One [1]. Two.", citations))


async def ask(client: Any) -> Any:
    return await client.post("/v1/chat", json={"message": "x", "stream": True})


async def test_tokens_then_citations_then_the_whole_response(client_of: Any) -> None:
    agent = Speaking(TokenEvent("One [1].\n\n"), TokenEvent(" Två."), CitationsEvent((CITATION,)), done(CITATION))
    async with client_of({"agent": agent}) as client:
        response = await ask(client)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    events = parse(response.text)
    assert [name for name, _ in events] == ["token", "token", "citations", "done"]
    assert [data["text"] for name, data in events if name == "token"] == ["One [1].\n\n", " Två."]
    assert events[2][1] == events[3][1]["citations"]
    assert events[2][1][0] == {
        "n": 1,
        "chunk_id": "c",
        "document_id": "d",
        "title": "T\nwo",
        "source": "s",
        "page": 3,
        "section": "",
        "quote": "q",
        "score": 1.5,
    }
    assert set(events[3][1]) == {"thread_id", "message_id", "answer", "citations", "refused", "clarifying", "degraded", "usage", "timings_ms"}


@pytest.mark.parametrize(("error", "code", "status"), [(ServiceUnavailableError("down"), "unavailable", 503), (KeyError("secret"), "internal", 500)])
async def test_a_failure_ends_the_stream_with_a_problem_event(client_of: Any, error: Exception, code: str, status: int) -> None:
    agent = Speaking(TokenEvent("One."), error)
    async with client_of({"agent": agent}) as client:
        response = await ask(client)
    *_, (name, problem) = parse(response.text)
    assert (name, problem["code"], problem["status"]) == ("error", code, status)
    assert problem["correlation_id"] == response.headers["x-request-id"]
    assert "secret" not in response.text
    assert agent.closed.is_set()


async def test_an_answer_that_takes_too_long_ends_with_a_problem_event(client_of: Any) -> None:
    agent = Speaking(TokenEvent("One."), 60.0)
    async with client_of({"agent": agent}, request_timeout_s=1.0) as client:
        response = await ask(client)
    assert [name for name, _ in parse(response.text)] == ["token", "error"]
    assert parse(response.text)[-1][1]["setting"] == "api.request_timeout_s"
    assert agent.closed.is_set()


async def test_a_client_that_goes_away_ends_the_run_before_its_next_word() -> None:
    closed = asyncio.Event()
    gone = asyncio.Event()
    sent: list[dict[str, Any]] = []

    async def words() -> AsyncGenerator[bytes, None]:
        try:
            yield event("token", {"text": "One."})
            gone.set()
            await asyncio.sleep(60)
            yield event("token", {"text": "Two."})
        finally:
            closed.set()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await asyncio.wait_for(EventStream(words())({"type": "http"}, receive, send), 10)
    assert closed.is_set()
    assert b"Two." not in b"".join(message.get("body", b"") for message in sent)


async def test_the_source_is_closed_when_sending_fails() -> None:
    closed = asyncio.Event()

    async def words() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x"
        finally:
            closed.set()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await EventStream(words())({"type": "http"}, receive, send)
    assert closed.is_set()


class Wire:
    """Takes a response as a server does: slowly, and nothing outside of its beginning and end."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.state = "new"
        self.sending = 0

    async def send(self, message: dict[str, Any]) -> None:
        start = message["type"] == "http.response.start"
        assert self.state == ("new" if start else "open"), f"{message['type']} while {self.state}"
        self.state = "open" if start or message["more_body"] else "ended"
        self.pieces.append(message.get("body", b""))
        self.sending += 1
        assert self.sending == 1, "two messages at once"
        for _ in range(3):
            await asyncio.sleep(0)
        self.sending -= 1

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}


async def test_no_sign_of_life_comes_before_a_stream_begins_or_after_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEP_ALIVE_S", 0.0)

    async def words() -> AsyncGenerator[bytes, None]:
        for number in range(20):
            for _ in range(number):
                await asyncio.sleep(0)
            yield event("token", {"text": str(number)})

    for _ in range(20):
        wire = Wire()
        await asyncio.wait_for(EventStream(words())({"type": "http"}, wire.receive, wire.send), 10)
        assert wire.state == "ended"
        assert [piece for piece in wire.pieces if piece not in (STILL_HERE, b"")] == [event("token", {"text": str(n)}) for n in range(20)]
        assert STILL_HERE in wire.pieces


async def test_a_stream_that_is_silent_tells_again_and_again_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEP_ALIVE_S", 0.02)
    wire = Wire()

    async def words() -> AsyncGenerator[bytes, None]:
        yield b"x"
        while wire.pieces.count(STILL_HERE) < 2:
            await asyncio.sleep(0.01)
        yield b"y"

    await asyncio.wait_for(EventStream(words())({"type": "http"}, wire.receive, wire.send), 10)
    assert [piece for piece in wire.pieces if piece != STILL_HERE] == [b"", b"x", b"y", b""]


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\u2028", "data: x\n\nevent: done", "\ud800"])
def test_no_text_can_break_out_of_its_event(text: str) -> None:
    raw = event("token", {"text": text})
    assert raw.count(b"\n\n") == 1
    assert raw.endswith(b"\n\n")
    assert raw.count(b"\n") == 3
