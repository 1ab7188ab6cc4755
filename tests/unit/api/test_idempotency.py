"""What was sent twice is done once, and answered the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.api.idempotency import Kept, fingerprint
from src.core.chat import Answer, ChatEvent, ChatRequest, CitationsEvent, DoneEvent, TokenEvent
from src.core.identity import Identity
from src.errors import ServiceUnavailableError
from src.infra.persistence import get_checkpointer_and_store
from src.infra.persistence.threads import ThreadService

ASK = {"message": "x"}
KEY = {"Idempotency-Key": "one"}


class Counting:
    """An agent that counts its answers; it waits, or fails, where a test says so."""

    def __init__(self, *failures: Exception) -> None:
        self.asked = 0
        self.failures = list(failures)
        self.go = asyncio.Event()
        self.go.set()
        self.begun = asyncio.Event()

    async def check(self, request: ChatRequest, identity: Identity) -> None:
        """Nothing is wrong."""

    async def stream(self, request: ChatRequest, identity: Identity) -> AsyncGenerator[ChatEvent, None]:
        self.asked += 1
        number = self.asked
        self.begun.set()
        yield TokenEvent(f"Answer {number}.")
        await self.go.wait()
        if self.failures:
            raise self.failures.pop(0)
        yield CitationsEvent(())
        yield DoneEvent(Answer(f"t{number}", f"m{number}", f"Answer {number}.", ()))

    async def ask(self, request: ChatRequest, identity: Identity) -> Answer:
        async for event in self.stream(request, identity):
            if isinstance(event, DoneEvent):
                return event.answer
        raise AssertionError


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6), st.sampled_from([b"", b"ab", b"--aab", b"xxxx"]))
def test_a_digest_depends_on_what_was_sent_and_not_on_how_it_came(body: bytes, cuts: list[int], boundary: bytes) -> None:
    places = sorted({0, *(min(cut, len(body)) for cut in cuts), len(body)})
    pieces = [body[a:b] for a, b in pairwise(places)]
    assert fingerprint("h", iter(pieces), boundary) == fingerprint("h", iter([body]), boundary)
    assert fingerprint("h", iter(pieces), boundary) != fingerprint("i", iter(pieces), boundary)
    assert fingerprint("h", iter([body, b"z"]), boundary) != fingerprint("h", iter([body]), boundary)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_a_form_is_the_same_whatever_its_boundary(parts: list[bytes]) -> None:
    digests = [fingerprint("h", iter([b"--" + boundary + b"\r\n" + part for part in parts]), boundary) for boundary in (b"f" * 32, b"0123456789abcdef" * 2)]
    assert digests[0] == digests[1]


@given(st.integers(200, 299), st.text(max_size=20), st.binary(max_size=50))
def test_what_is_kept_is_read_back(status: int, kind: str, body: bytes) -> None:
    kept = Kept(status, kind, "", body)
    assert Kept.load(kept.dump()) == kept


async def test_the_same_request_is_answered_once_and_the_same(client_of: Any) -> None:
    agent = Counting()
    async with client_of({"agent": agent}) as client:
        first = await client.post("/v1/chat", json=ASK, headers=KEY)
        again = await client.post("/v1/chat", json=ASK, headers=KEY)
        assert (again.status_code, again.content) == (200, first.content)
        assert (again.headers["idempotent-replayed"], first.headers.get("idempotent-replayed")) == ("true", None)
        assert again.headers["content-type"] == first.headers["content-type"]
        assert agent.asked == 1
        for body, path in (({"message": "y"}, "/v1/chat"), (ASK, "/v1/threads/t1/fork"), (ASK, "/v1/chat?x=1")):
            other = await client.post(path, json=body, headers=KEY)
            assert (other.status_code, other.json()["code"]) == (422, "key-reused")
        assert (await client.post("/v1/chat", json=ASK, headers={"Idempotency-Key": "two"})).json()["message_id"] == "m2"
        assert (await client.post("/v1/chat", json=ASK)).json()["message_id"] == "m3"


async def test_one_that_is_still_being_answered_is_a_conflict(client_of: Any) -> None:
    agent = Counting()
    agent.go.clear()
    async with client_of({"agent": agent}) as client:
        first = asyncio.create_task(client.post("/v1/chat", json=ASK, headers=KEY))
        await asyncio.wait_for(agent.begun.wait(), 20)
        second = await client.post("/v1/chat", json=ASK, headers=KEY)
        assert (second.status_code, second.json()["code"]) == (409, "conflict")
        agent.go.set()
        assert (await first).status_code == 200
        assert (await client.post("/v1/chat", json=ASK, headers=KEY)).content == (await first).content
        assert agent.asked == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_failed_can_be_sent_again(client_of: Any, stream: bool) -> None:
    agent = Counting(ServiceUnavailableError("down"))
    body = {**ASK, "stream": stream}
    async with client_of({"agent": agent}) as client:
        failed = await client.post("/v1/chat", json=body, headers=KEY)
        assert "down" in failed.text
        for _ in range(2):
            assert "Answer 2." in (await client.post("/v1/chat", json=body, headers=KEY)).text
        assert agent.asked == 2


async def test_a_stream_is_told_again_with_the_same_events_and_joined_while_it_goes_on(client_of: Any) -> None:
    agent = Counting()
    agent.go.clear()
    body = {**ASK, "stream": True}
    async with client_of({"agent": agent}) as client:
        both = [asyncio.create_task(client.post("/v1/chat", json=body, headers=KEY))]
        await asyncio.wait_for(agent.begun.wait(), 20)
        both.append(asyncio.create_task(client.post("/v1/chat", json=body, headers=KEY)))
        await asyncio.sleep(0.05)
        agent.go.set()
        first, joined = [await task for task in both]
        again = await client.post("/v1/chat", json=body, headers=KEY)
    assert first.text == joined.text == again.text
    assert [answer.headers.get("idempotent-replayed") for answer in (first, joined, again)] == [None, "true", "true"]
    assert first.text.count("event: done") == 1
    assert agent.asked == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "ü"])
async def test_a_key_that_is_none_is_refused(client_of: Any, key: str) -> None:
    agent = Counting()
    async with client_of({"agent": agent}) as client:
        response = await client.post("/v1/chat", json=ASK, headers={b"Idempotency-Key": key.encode("latin-1")})
    assert (response.status_code, response.json()["code"]) == (400, "bad-input")
    assert agent.asked == 0


async def test_a_body_over_the_limit_is_refused_as_without_a_key(client_of: Any) -> None:
    async with client_of({"agent": Counting()}, max_request_bytes=1000) as client:

        async def pieces() -> AsyncGenerator[bytes, None]:
            for _ in range(30):
                yield b" " * 100

        response = await client.post("/v1/chat", content=pieces(), headers={**KEY, "content-type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (413, "too-large")


async def test_what_was_streamed_under_a_key_is_not_told_again_once_its_thread_is_gone(client_of: Any, make_settings: Any) -> None:
    settings, me = make_settings(), Identity("local")
    checkpointer, _ = get_checkpointer_and_store(settings)
    threads = ThreadService(settings, checkpointer)
    async with threads.turn(None, me, "x") as thread_id:
        await threads.finished(thread_id, 1)
    async with client_of({"agent": Counting(ServiceUnavailableError("down")), "threads": threads}) as client:
        broken = await client.post("/v1/chat", json={**ASK, "thread_id": thread_id, "stream": True}, headers=KEY)
        events = f"/v1/chat/runs/{broken.headers['x-run-id']}/events"
        assert "Answer 1." in (await client.get(events)).text
        assert (await client.delete(f"/v1/threads/{thread_id}")).status_code == 204
        assert (await client.get(events)).status_code == 404
    await checkpointer.aclose()  # type: ignore[attr-defined] - ours has it
