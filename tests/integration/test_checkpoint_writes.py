"""Writes of tasks go to the disk with the checkpoint that follows, or by themselves where none does; nothing is acknowledged before."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from src.errors import StorageError
from src.infra.config import PersistenceCfg, Settings, StorageCfg
from src.infra.persistence import build_checkpointer
from src.infra.persistence.sqlite import SqliteFile
from tests.integration.postgres_parts import settings_for


@pytest.fixture(params=["sqlite", "postgres"])
async def saver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        made: Any = build_checkpointer(settings_for(server.dsn(server.database())))
    else:
        made = build_checkpointer(Settings(storage=StorageCfg(path=tmp_path), persistence=PersistenceCfg(backend="sqlite")))
    yield made
    await made.aclose()


def config(thread_id: str, checkpoint_id: str | None = None) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", **({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}}


async def put(saver: Any, thread_id: str, before: Any = None) -> Any:
    return await saver.aput(before or config(thread_id), empty_checkpoint(), {"source": "loop", "step": 0, "parents": {}}, {})


async def written(saver: Any, where: Any) -> list[Any]:
    found = await saver.aget_tuple(where)
    return [value for _, _, value in found.pending_writes]


async def test_a_write_is_there_once_it_is_acknowledged_with_a_checkpoint_or_without(saver: Any) -> None:
    first = await put(saver, "t")
    await saver.aput_writes(first, [("channel", "alone")], "task-1")
    assert await written(saver, first) == ["alone"]
    together = asyncio.ensure_future(saver.aput_writes(first, [("channel", "together")], "task-2"))
    await asyncio.sleep(0)
    second = await put(saver, "t", first)
    await together
    assert sorted(await written(saver, first)) == ["alone", "together"]
    assert await written(saver, second) == []


async def test_writes_of_many_threads_at_once_stay_apart(saver: Any) -> None:
    async def one(name: str) -> None:
        first = await put(saver, name)
        await asyncio.gather(*(saver.aput_writes(first, [("channel", f"{name}-{task}")], f"task-{task}") for task in range(3)), put(saver, name, first))
        assert sorted(await written(saver, first)) == [f"{name}-{task}" for task in range(3)]

    await asyncio.gather(*(one(f"t{number}") for number in range(12)))


async def test_a_write_whose_caller_is_cancelled_leaves_nothing_behind_a_deleted_thread(saver: Any) -> None:
    first = await put(saver, "t")
    writing = asyncio.ensure_future(saver.aput_writes(first, [("channel", "late")], "task-1"))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await saver.adelete_thread("t")
    await asyncio.sleep(0.05)
    again = await put(saver, "t")
    assert again["configurable"]["checkpoint_id"] != first["configurable"]["checkpoint_id"]
    assert [saved.pending_writes async for saved in saver.alist(config("t"))] == [[]]


async def test_whoever_waits_is_told_of_a_failure_and_the_checkpoint_is_not_there(tmp_path: Path) -> None:
    saver: Any = build_checkpointer(Settings(storage=StorageCfg(path=tmp_path), persistence=PersistenceCfg(backend="sqlite")))
    first = await put(saver, "t")
    for together in (True, False):
        bad = asyncio.ensure_future(saver.aput_writes(first, [("channel", object())], "task-1"))
        await asyncio.sleep(0)
        outcomes = await asyncio.gather(bad, *([put(saver, "t", first)] if together else []), return_exceptions=True)
        assert all(isinstance(outcome, TypeError | StorageError | ValueError) for outcome in outcomes), outcomes
    assert len([saved async for saved in saver.alist(config("t"))]) == 1
    await saver.aclose()


async def test_who_asks_for_the_file_does_not_hold_up_the_event_loop_while_another_writes(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "threads.sqlite")
    begun, free = threading.Event(), threading.Event()

    def slowly() -> bool:
        with file.connection(write=True):
            begun.set()
            return free.wait(20)

    slow = asyncio.create_task(file.run(slowly))
    await asyncio.to_thread(begun.wait, 20)
    other = asyncio.create_task(file.run(int))
    await asyncio.sleep(0)  # it has asked
    free.set()
    assert await slow
    assert await other == 0
    await file.aclose()
