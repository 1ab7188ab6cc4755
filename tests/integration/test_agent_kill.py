"""`kill -9` in the middle of an answer: no turn is lost, none is there twice, and the thread goes on."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from src.core.identity import EVERYONE
from src.infra.config import Settings
from src.infra.resource_manager import ResourceManager
from src.ingestion.sources.upload import upload_item
from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator, Recorded, Reply
from tests.integration.agent_parts import DOCUMENTS, ME
from tests.integration.tool_parts import gone

SENTENCES = ["Employees receive 25 days of paid annual leave each calendar year. ", "Up to five unused days may be carried over until 31 March. "] * 2
EVENTS = ("pid", "event", "event", "event", "done")
"""After which of the child's lines it is killed, and a moment later: while it searches, writes, saves, or has just ended."""


@asynccontextmanager
async def answering(settings: dict[str, Any], root: Path) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.killed_agent", json.dumps(settings), cwd=root, stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def ask(process: Process, question: str, thread_id: str | None, kill: tuple[int, float] | None) -> dict[str, Any] | None:
    """Ask, and kill who answers after so many lines and a moment; what it had acknowledged by then, if anything."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"question": question, "thread_id": thread_id, "user": ME.user}).encode() + b"\n")
    pid, lines, done = 0, 0, None
    while True:
        said = json.loads(await process.stdout.readline())
        if "ended" in said:
            return done
        pid, done, lines = said.get("pid", pid), said if "done" in said else done, lines + 1
        if kill is not None and lines == kill[0]:
            await asyncio.sleep(kill[1])
            os.kill(pid, signal.SIGKILL)


async def rounds(settings: dict[str, Any], root: Path, seed: int, number: int) -> None:
    chance = random.Random(seed)
    process: Process
    async with answering(settings, root) as process, ResourceManager(Settings.model_validate(settings)) as resources:
        threads = resources.get("threads")
        first = await ask(process, "How much annual leave is there? 0", None, None)
        assert first is not None
        thread_id, acknowledged, questions, killed = first["thread_id"], [first["done"]], ["How much annual leave is there? 0"], 0
        for place in range(1, number + 1):
            questions.append(f"How much annual leave is there? {place}")
            done = await ask(process, questions[-1], thread_id, (chance.randint(1, len(EVENTS)), chance.random() * 0.02))
            killed += done is None
            history = await threads.history(thread_id, ME)
            # As a client does that lost its connection: it looks whether its question was answered, and asks again if not.
            if [turn.question for turn in history] != questions:
                assert [turn.question for turn in history] == questions[:-1], f"seed {seed}, round {place}"
                assert done is None, f"seed {seed}, round {place}: an acknowledged turn is lost"
                done = await ask(process, questions[-1], thread_id, None)
            history = await threads.history(thread_id, ME)
            acknowledged += [done["done"]] if done is not None else [history[-1].message_id]
            assert [turn.question for turn in history] == questions
            assert [turn.message_id for turn in history] == acknowledged, f"seed {seed}, round {place}"
            assert all(turn.answer.count("[") == len(SENTENCES) and turn.citations for turn in history), "a turn is whole or not there"
            assert (await threads.get(thread_id, ME)).turns == len(history)
        assert killed or number < 10


@pytest.mark.parametrize("number", [2, pytest.param(50, marks=pytest.mark.long)])
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_a_killed_answer_loses_and_doubles_no_turn(
    backend: str, number: int, tmp_path: Path, model_cache: Path, azure: AzureOpenAIEmulator, root: Path, request: pytest.FixtureRequest
) -> None:
    def slowly(_: Recorded) -> Reply:
        return Reply(pieces=SENTENCES, event_gap_s=0.01)

    azure.always = slowly
    server = request.getfixturevalue("postgres") if backend == "postgres" else None
    dsn = {"dsn": server.dsn(server.database())} if server else {}
    settings: dict[str, Any] = {
        "storage": {"path": str(tmp_path / "data")},
        "cache": {"path": str(model_cache)},
        "network": {"ca_bundle": str(azure.ca_file)},
        "chat": {"provider": "azure", "model": "gpt-4", "api_base": azure.url, "api_version": "2024-06-01", "api_key": KEY, "max_retries": 0},
        "agent": {"history_turns": 0},
        "persistence": {"backend": backend, **dsn},
    }
    async with ResourceManager(Settings.model_validate(settings)) as resources:
        items = [upload_item(text.encode(), name, title=title) for name, (title, text) in DOCUMENTS.items()]
        await resources.get("ingestor").ingest(items, tenant=ME.tenant, acl=(EVERYONE,))
    await rounds(settings, root, seed=number, number=number)
    assert await gone(azure)
