"""The agent on PostgreSQL: threads move between replicas, and come back after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from src.core.chat import ChatRequest
from src.core.identity import EVERYONE
from src.infra.config import CacheCfg, PersistenceCfg, Settings, StorageCfg
from src.infra.resource_manager import ResourceManager
from src.ingestion.sources.upload import upload_item
from tests.integration.agent_parts import DOCUMENTS, ME
from tests.servers.postgres import PgBouncer, PostgresServer

LEAVE = "How many days of annual leave do employees get?"


@pytest.fixture
async def replicas(tmp_path: Path, model_cache: Path, postgres: PostgresServer, pgbouncer: PgBouncer) -> AsyncIterator[list[ResourceManager]]:
    """Two servers' resources on one database behind one pooler; each with its own copy of the index."""
    persistence = PersistenceCfg(backend="postgres", dsn=SecretStr(pgbouncer.dsn(postgres.database())), encryption_keys=SecretStr("k:" + "A" * 43 + "="))
    async with AsyncExitStack() as stack:
        made = []
        for name in ("one", "two"):
            settings = Settings(storage=StorageCfg(path=tmp_path / name), cache=CacheCfg(path=model_cache), persistence=persistence)
            manager = await stack.enter_async_context(ResourceManager(settings))
            items = [upload_item(text.encode(), name, title=title) for name, (title, text) in DOCUMENTS.items()]
            await manager.get("ingestor").ingest(items, tenant=ME.tenant, acl=(EVERYONE,))
            made.append(manager)
        yield made


async def test_a_thread_moves_between_replicas(replicas: list[ResourceManager]) -> None:
    thread_id: str | None = None
    for number in range(6):
        agent = replicas[number % 2].get("agent")
        answer = await agent.ask(ChatRequest(LEAVE, thread_id=thread_id), ME)
        thread_id = answer.thread_id
        assert "25 days" in answer.answer
    assert thread_id is not None
    history = await replicas[1].get("threads").history(thread_id, ME)
    assert len(history) == 6
    assert history[0].citations[0].document_id == history[5].citations[0].document_id
    await replicas[0].get("threads").delete(thread_id, ME)
    assert (await replicas[1].get("threads").list(ME)).threads == ()


async def test_questions_that_come_to_one_thread_at_both_replicas_at_once_are_answered_one_after_the_other(replicas: list[ResourceManager]) -> None:
    agents: list[Any] = [manager.get("agent") for manager in replicas]
    thread_id = (await agents[0].ask(ChatRequest(LEAVE), ME)).thread_id
    answers = await asyncio.gather(*(agents[number % 2].ask(ChatRequest(LEAVE, thread_id=thread_id), ME) for number in range(6)))
    history = await replicas[0].get("threads").history(thread_id, ME)
    assert {answer.message_id for answer in answers} == {turn.message_id for turn in history[1:]}
    assert (await replicas[1].get("threads").get(thread_id, ME)).turns == len(history) == 7


async def test_health_asks_the_database(replicas: list[ResourceManager]) -> None:
    health = await replicas[0].health.check_all()
    assert {component.name: component.status for component in health.components}["threads"] == "healthy"
