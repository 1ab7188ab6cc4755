"""Tool calls that a person has to allow: the turn waits, also through a restart and on another replica, and each decision counts once."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.agent.runtime import Agent
from src.agent.tools.toolbox import TOOLS
from src.core.chat import Answer, Approval, ApprovalCall, ChatRequest, DoneEvent
from src.core.identity import Identity
from src.core.search import AnyOf
from src.errors import ConflictError, NotFoundError
from src.infra.persistence import THREADS_FILE
from src.infra.persistence.retention import Retention
from tests.emulators.azure_openai import AzureOpenAIEmulator, Reply
from tests.integration.agent_parts import ME
from tests.integration.tool_parts import SpyTool, told, tool_agent

LEAVE = "How many days of annual leave do employees get?"
CALL = Reply(calls=[("spy", '{"text": "25"}'), ("search", '{"query": "power cut"}')])
ANSWER = Reply(pieces=["Employees receive 25 days of paid annual leave each calendar year. ", "Report a power cut by calling 0800 555 014."])
APPROVE = {"tools": ("spy", "search"), "approve": ("spy",), "history_turns": 0}


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> SpyTool:
    tool = SpyTool()
    monkeypatch.setitem(TOOLS._factories, "spy", lambda _: tool)
    return tool


async def decide(agent: Agent, approval: Approval, approved: bool, identity: Identity = ME) -> Answer:
    async for event in agent.decide(approval.thread_id, approval.approval_id, approved, identity):
        if isinstance(event, DoneEvent):
            return event.answer
    raise AssertionError("no answer")


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    if request.param == "sqlite":
        yield {}
        return
    from pydantic import SecretStr

    from src.infra.config import PersistenceCfg

    server = request.getfixturevalue("postgres")
    yield {"persistence": PersistenceCfg(backend="postgres", dsn=SecretStr(server.dsn(server.database())))}


@pytest.mark.parametrize("approved", [True, False])
async def test_a_turn_waits_through_a_restart_and_goes_on_once_it_is_decided(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: Any, spy: SpyTool, settings: dict[str, Any], approved: bool
) -> None:
    azure.script += [CALL]
    async with tool_agent(tmp_path / "one", model_cache, azure, chat_cfg, passages=1, settings=settings, **APPROVE) as (agent, _):
        asked = ChatRequest(LEAVE, filters=(AnyOf("document_id", ("leave.md", "outage.md")),))
        waiting = await agent.ask(asked, ME)
    assert waiting.approval is not None
    assert waiting.approval.calls == (ApprovalCall("spy", '{"text": "25"}'),)
    assert waiting.degraded == ("the turn waits for your decision about tool calls",)
    assert spy.ran == []
    place = tmp_path / ("two" if settings else "one")  # on PostgreSQL another replica
    azure.script += [ANSWER]
    async with tool_agent(place, model_cache, azure, chat_cfg, passages=1, settings=settings, **APPROVE) as (agent, resources):
        assert await agent.approvals(ME) == await agent.approvals(ME, waiting.thread_id) == (waiting.approval,)
        answer = await decide(agent, waiting.approval, approved)
        assert answer.answer.endswith("0800 555 014 [2].")
        assert (answer.message_id, answer.approval) == (waiting.message_id, None)
        assert {citation.document_id for citation in answer.citations} == {"leave.md", "outage.md"}
        assert answer.usage.input_tokens == 22
        assert [turn.message_id for turn in await resources.get("threads").history(answer.thread_id, ME)] == [answer.message_id]
        assert await agent.approvals(ME) == ()
        with pytest.raises(ConflictError, match="decided already"):
            await decide(agent, waiting.approval, approved)
    assert len(spy.ran) == approved
    assert all(context.filters == asked.filters for _, context in spy.ran)
    assert ("Noted." if approved else "did not allow this call") in told(azure)[0]
    assert "0800 555 014" in told(azure)[1]


@pytest.mark.parametrize("strategy", ["recent", "summarise"])
async def test_after_a_decision_the_model_is_sent_what_it_would_have_been_sent_without_the_wait(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: Any, spy: SpyTool, strategy: str
) -> None:
    """Earlier turns or their summary, passages, calls and their results; the restart between must not be seen."""
    budget = 400 if strategy == "summarise" else 4000
    allowed = {**APPROVE, "history_turns": 6, "history_strategy": strategy, "history_tokens": budget, "summary_tokens": 200, "rewrite": "rules"}
    seen: list[Any] = []
    for approve in ((), ("spy",)):
        options: dict[str, Any] = {**allowed, "approve": approve}
        place = tmp_path / str(bool(approve))
        azure.script += [ANSWER, *[Reply(pieces=["She asked about leave."])] * (strategy == "summarise"), CALL, ANSWER]
        async with tool_agent(place, model_cache, azure, chat_cfg, **options) as (agent, _):
            first = await agent.ask(ChatRequest(LEAVE + " I ask for all of us." * 200), ME)  # too long to be shown beside a summary
            answer = await agent.ask(ChatRequest("And who carries unused days over?", first.thread_id), ME)
        async with tool_agent(place, model_cache, azure, chat_cfg, **options) as (agent, resources):
            if answer.approval is not None:
                answer = await decide(agent, answer.approval, True)
            turn = (await resources.get("threads").history(answer.thread_id, ME))[-1]
        messages = re.sub("[0-9a-f]{16}", "FENCE", json.dumps(azure.requests[-1].body["messages"]))
        seen.append((messages, answer.answer, answer.citations, answer.context, answer.usage, turn.retrieved))
    assert seen[0] == seen[1]
    assert ("She asked about leave." if strategy == "summarise" else LEAVE) in seen[1][0]


async def test_only_its_owner_may_decide_and_only_once_however_many_try(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: Any, spy: SpyTool
) -> None:
    azure.script += [CALL]
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, **APPROVE) as (agent, _):
        approval = (await agent.ask(ChatRequest(LEAVE), ME)).approval
        assert approval is not None
        for other in (Identity("bob"), Identity(ME.user, "elsewhere")):
            assert await agent.approvals(other) == ()
            with pytest.raises(NotFoundError):
                await agent.approvals(other, approval.thread_id)
            with pytest.raises(NotFoundError):
                await decide(agent, approval, True, other)
        with pytest.raises(ConflictError, match="waits for a decision"):
            await agent.ask(ChatRequest("And now?", thread_id=approval.thread_id), ME)
        with pytest.raises(NotFoundError, match="no such approval"):
            await decide(agent, Approval("f" * 32, approval.thread_id, "", "", ()), True)
        azure.script += [ANSWER]
        outcomes = await asyncio.gather(*(decide(agent, approval, True) for _ in range(4)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Answer", "ConflictError", "ConflictError", "ConflictError"]
    assert len(spy.ran) == 1


async def test_what_waits_holds_no_passage_and_one_that_is_gone_by_then_is_not_shown(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: Any, spy: SpyTool
) -> None:
    azure.script += [CALL]
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, **APPROVE) as (agent, resources):
        waiting = (await agent.ask(ChatRequest(LEAVE), ME)).approval
        assert waiting is not None
        from src.core.identity import access_scope

        await resources.search.delete(["leave.md"], access_scope(ME))
        azure.script += [Reply(pieces=["Employees receive 25 days of paid annual leave each calendar year."])]
        answer = await decide(agent, waiting, True)
        assert answer.refused
        assert "25 days" not in str(azure.requests[-1].body)
    kept = b"".join(path.read_bytes() for path in tmp_path.glob(f"{THREADS_FILE}*"))
    assert b"not paid out in money" not in kept


@pytest.mark.parametrize("off", [{"approve": ()}, {"approve": (), "tools": ()}])
async def test_where_approvals_were_switched_off_a_thread_goes_on_without_what_waited(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: Any, spy: SpyTool, off: dict[str, Any]
) -> None:
    azure.script += [CALL]
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, **APPROVE) as (agent, _):
        waiting = (await agent.ask(ChatRequest(LEAVE), ME)).approval
    assert waiting is not None
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, **{**APPROVE, **off}) as (agent, resources):
        assert await agent.approvals(ME) == await agent.approvals(ME, waiting.thread_id) == ()
        with pytest.raises(ConflictError, match="by now") as caught:
            await decide(agent, waiting, True)
        assert caught.value.setting == "agent.approve"
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, **APPROVE) as (agent, _):
        assert await agent.approvals(ME) == (waiting,)  # switched on again before anybody went on
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, **{**APPROVE, **off}) as (agent, resources):
        azure.script += [ANSWER]
        await agent.ask(ChatRequest(LEAVE, waiting.thread_id), ME)
        assert len(await resources.get("threads").history(waiting.thread_id, ME)) == 1
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, **APPROVE) as (agent, _):
        assert await agent.approvals(ME) == ()
        azure.script += [ANSWER]
        assert (await agent.ask(ChatRequest(LEAVE, waiting.thread_id), ME)).approval is None
    assert spy.ran == []


async def test_a_deleted_thread_waits_no_more(tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: Any, spy: SpyTool) -> None:
    azure.script += [CALL]
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, **APPROVE) as (agent, resources):
        waiting = (await agent.ask(ChatRequest(LEAVE), ME)).approval
        assert waiting is not None
        assert [item.key for item in await resources.store.asearch(())] == [waiting.thread_id]
        await resources.get("threads").delete(waiting.thread_id, ME)
        assert await resources.store.asearch(()) == []
        report = await Retention(resources.get("threads"), resources.store, resources.settings.persistence).apply()
        assert report.bytes_after <= report.bytes_before
        assert await agent.approvals(ME) == ()
        with pytest.raises(NotFoundError):
            await decide(agent, waiting, True)
    assert spy.ran == []


async def test_the_api_lists_what_waits_and_takes_one_decision(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: Any, spy: SpyTool
) -> None:
    import httpx2

    from src.api.app import create_app

    azure.script += [CALL, ANSWER]
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, **APPROVE) as (_, resources):
        transport = httpx2.ASGITransport(app=create_app(resources), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            waiting = (await client.post("/v1/chat", json={"message": LEAVE})).json()
            assert waiting["approval"]["calls"] == [{"tool": "spy", "arguments": '{"text": "25"}'}]
            path = f"/v1/threads/{waiting['thread_id']}/approvals"
            for listed in ("/v1/approvals", path):
                assert (await client.get(listed)).json() == {"approvals": [waiting["approval"]]}
            place = f"{path}/{waiting['approval']['approval_id']}"
            assert (await client.post(place, json={"approve": "yes"})).status_code == 422
            assert (await client.post(f"{path}/{'0' * 32}", json={"approve": True})).status_code == 404
            for stream in (False, True):
                asked = await client.post("/v1/chat", json={"message": "And?", "thread_id": waiting["thread_id"], "stream": stream})
                assert (asked.status_code, asked.headers["content-type"]) == (409, "application/problem+json")
            answer = (await client.post(place, json={"approve": True})).json()
            assert "25 days" in answer["answer"]
            assert "approval" not in answer
            assert (await client.post(place, json={"approve": True})).status_code == 409
            assert (await client.get("/v1/approvals")).json() == {"approvals": []}
            assert (await client.get("/v1/threads/unknown/approvals")).status_code == 404
    assert len(spy.ran) == 1


async def test_a_decision_is_answered_as_a_stream_that_can_be_taken_up_again(
    tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, chat_cfg: Any, spy: SpyTool
) -> None:
    import httpx2

    from src.api.app import create_app

    azure.script += [CALL, ANSWER]
    async with tool_agent(tmp_path, model_cache, azure, chat_cfg, **APPROVE) as (_, resources):
        transport = httpx2.ASGITransport(app=create_app(resources), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            waiting = (await client.post("/v1/chat", json={"message": LEAVE})).json()["approval"]
            path = f"/v1/threads/{waiting['thread_id']}/approvals"
            unknown = await client.post(f"{path}/{'0' * 32}", json={"approve": True, "stream": True})
            assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/problem+json")
            place, decision, key = f"{path}/{waiting['approval_id']}", {"approve": True, "stream": True}, {"Idempotency-Key": "k"}
            first = await client.post(place, json=decision, headers=key)
            assert "event: done" in first.text
            assert "25 days" in first.text
            again = await client.post(place, json=decision, headers=key)
            assert (again.text, again.headers["x-run-id"]) == (first.text, first.headers["x-run-id"])
            last = first.text.split("id: ")[-1].split("\n")[0]
            assert (await client.post(place, json=decision, headers={"Last-Event-ID": last})).status_code == 204
            assert (await client.post(place, json={**decision, "approve": False}, headers={"Last-Event-ID": last})).status_code == 400
            assert (await client.post(place, json=decision)).status_code == 409
    assert len(spy.ran) == 1
