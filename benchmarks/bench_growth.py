"""What a conversation takes on the disk, turn by turn.

Run: ``python -m benchmarks.bench_growth [--turns 200] [--backends sqlite postgres] [--sealed]``.

The real agent, with a scripted model and search, answers one question after another in one thread. Printed for each backend, as
JSON: the size of the turn itself (as it is stored: msgpack), the bytes that rows and checkpoints take for each turn over the whole and over the
last twenty turns, how many times the turn that is, and by how much the files grew with each turn: SQLite's file without its log, PostgreSQL's
tables with their indexes, vacuumed each ten turns (autovacuum does so once a fifth of a table and 50 rows are dead, which ten turns make here).
Questions are of random letters, so that no compression helps.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import secrets
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.scripted import QUESTION, scripted_resources, scripted_settings
from src.core.chat import ChatRequest
from src.core.identity import Identity
from src.infra.config import Settings
from src.infra.persistence import THREADS_FILE
from tests.servers.postgres import PostgresServer, server_folder

ME = Identity("anne", "acme")
LAST = 20
VACUUM_EACH = 10
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes", "rag_threads")


Files = Callable[[], int]


async def grow(settings: Settings, turns: int, files: Files) -> dict[str, Any]:
    """Bytes after each turn, and what one turn is."""
    async with scripted_resources(settings) as resources:
        agent, threads = resources.get("agent"), resources.get("threads")
        thread_id: str | None = None
        used: list[int] = []
        on_disk: list[int] = []
        for number in range(turns):
            asked = ChatRequest(f"{QUESTION} {secrets.token_urlsafe(200)}", thread_id=thread_id)
            thread_id = (await agent.ask(asked, ME)).thread_id
            used.append(await threads.rows.used_bytes())
            if number % VACUUM_EACH == 0 or number == turns - 1:
                on_disk.append(files())
        history = (await resources.checkpointer.aget_tuple({"configurable": {"thread_id": thread_id}})).checkpoint["channel_values"]["turns"]
        assert len(history) == turns
        turn = len(resources.checkpointer.serde.dumps_typed(history[-1])[1])
    last = min(LAST, turns - 1)
    return {
        "turn_bytes": turn,
        "bytes_per_turn": round((used[-1] - used[0]) / (turns - 1)),
        f"bytes_per_turn_last_{last}": round((used[-1] - used[-1 - last]) / last),
        "times_the_turn": round((used[-1] - used[0]) / (turns - 1) / turn, 2),
        "file_bytes_per_turn": round((on_disk[-1] - on_disk[0]) / (turns - 1)),
    }


def sqlite(turns: int, **persistence: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / THREADS_FILE
        settings, _ = scripted_settings(Path(folder), **persistence)

        def files() -> int:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return path.stat().st_size

        return asyncio.run(grow(settings, turns, files))


def postgres(server: PostgresServer, turns: int, **persistence: Any) -> dict[str, Any]:
    name = server.database()

    def files() -> int:
        for table in TABLES:
            server.execute(f"VACUUM {table}", name)
        return sum(int(server.execute(f"SELECT pg_total_relation_size('{table}')", name)[0][0]) for table in TABLES)

    with tempfile.TemporaryDirectory() as folder:
        settings, _ = scripted_settings(Path(folder), server.dsn(name), **persistence)
        return asyncio.run(grow(settings, turns, files))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--backends", nargs="+", choices=["sqlite", "postgres"], default=["sqlite", "postgres"])
    parser.add_argument("--sealed", action="store_true", help="with checkpoints encrypted")
    options = parser.parse_args()
    persistence: dict[str, Any] = {"encryption_keys": f"k:{base64.b64encode(bytes(32)).decode()}"} if options.sealed else {}
    if "sqlite" in options.backends:
        print(json.dumps({"backend": "sqlite", "turns": options.turns, **sqlite(options.turns, **persistence)}), flush=True)
    if "postgres" in options.backends:
        with server_folder() as folder, PostgresServer(folder / "server").running() as server:
            print(json.dumps({"backend": "postgres", "turns": options.turns, **postgres(server, options.turns, **persistence)}))


if __name__ == "__main__":
    main()
