"""One turn at a time on a thread among replicas: who is killed lets go, who slept cannot write, who works is left alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from src.errors import ConflictError
from src.infra.persistence import get_checkpointer_and_store
from src.infra.persistence.postgres import leases
from src.infra.persistence.postgres.leases import ThreadLeases
from tests.integration.postgres_parts import config, graph_on, settings_for
from tests.servers.postgres import PostgresServer

HOLDS = """
import asyncio, sys
from src.infra.persistence import postgres_database
from src.infra.persistence.postgres import leases
from tests.integration.postgres_parts import settings_for
leases.LEASE_S, leases.RENEW_S = 1.5, 0.3
async def hold():
    async with leases.ThreadLeases(postgres_database(settings_for(sys.argv[1]))).hold("t1"):
        print("held", flush=True)
        await asyncio.sleep(600)
asyncio.run(hold())
"""


@pytest.fixture
async def saver(postgres: PostgresServer) -> AsyncIterator[Any]:
    checkpointer, _ = get_checkpointer_and_store(settings_for(postgres.dsn(postgres.database())))
    yield checkpointer
    await checkpointer.aclose()  # type: ignore[attr-defined] - PostgreSQL's


def take_over(saver: Any) -> None:
    """As another replica does after the lease's end."""
    with saver.database.connection() as connection:
        connection.execute("UPDATE rag_thread_leases SET holder = 'another', expires_at = now() + interval '1 hour'")


async def test_a_replica_that_lost_its_lease_cannot_write_any_more(saver: Any) -> None:
    graph = graph_on(saver)
    await graph.ainvoke({}, config())

    async def slept() -> None:
        async with ThreadLeases(saver.database).hold("t1"):
            take_over(saver)
            await graph.ainvoke({}, config())

    with pytest.raises(ConflictError, match="taken this conversation over"):
        await slept()
    assert [turn["n"] for turn in (await graph.aget_state(config())).values["turns"]] == [1]
    await graph.ainvoke({}, config("another"))  # whoever holds nothing is not asked


async def test_a_replica_that_lost_its_lease_is_cancelled_and_told(saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.05)

    async def work() -> None:
        async with ThreadLeases(saver.database).hold("t1"):
            take_over(saver)
            await asyncio.sleep(600)

    with pytest.raises(ConflictError):
        await asyncio.wait_for(work(), 20)


async def test_a_lease_is_renewed_while_its_holder_works(saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_S", 1.0)
    monkeypatch.setattr(leases, "RENEW_S", 0.2)
    order: list[str] = []

    async def work(name: str, seconds: float) -> None:
        async with ThreadLeases(saver.database).hold("t1"):
            order.append(f"{name} begins")
            await asyncio.sleep(seconds)
            order.append(f"{name} ends")

    first = asyncio.create_task(work("first", 2.5))
    while not order:
        await asyncio.sleep(0.01)
    await asyncio.gather(first, work("second", 0))
    assert order == ["first begins", "first ends", "second begins", "second ends"]


async def test_a_replica_that_is_killed_lets_go_when_its_lease_ends(saver: Any, postgres: PostgresServer, root: Path) -> None:
    dsn = postgres.dsn(saver.database._target.params["dbname"])
    await saver.database.ping()
    with subprocess.Popen([sys.executable, "-c", HOLDS, dsn], cwd=root, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == b"held\n"

        async def take() -> None:
            async with ThreadLeases(saver.database).hold("t1"):
                pass

        waiting = asyncio.create_task(take())
        done, _ = await asyncio.wait({waiting}, timeout=2.5)  # longer than the lease: it is renewed
        assert not done
        holder.kill()
    await asyncio.wait_for(waiting, 30)


async def test_who_gives_up_waiting_leaves_no_lease(saver: Any) -> None:
    mine, other = ThreadLeases(saver.database), ThreadLeases(saver.database)

    async def hold(locks: ThreadLeases, seconds: float) -> None:
        async with locks.hold("t1"):
            await asyncio.sleep(seconds)

    for pause in range(20):  # cancelled at each step of taking it
        task = asyncio.create_task(hold(mine, 600))
        await asyncio.sleep(0.001 * pause)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.wait_for(hold(other, 0), 5)  # less than a lease
