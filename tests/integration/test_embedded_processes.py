"""Two processes on one data folder: who waits for whom, what the lock says, what the other one sees."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from src.core.identity import AccessScope, Identity, access_scope, system_scope
from src.core.search import SearchRequest
from src.errors import StorageLockedError
from src.infra.search.embedded import EmbeddedSearch

from .embedded_writer import DIMS, EMBEDDER, item

SCRIPT = Path(__file__).with_name("embedded_writer.py")
SCOPE: AccessScope = access_scope(Identity("ann"))


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder), *arguments], stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline())
    return line


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=60)
    assert process.returncode == 0


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def engine_on(folder: Path, lock_timeout_s: float = 10.0) -> EmbeddedSearch:
    return EmbeddedSearch(folder, embedder=EMBEDDER, dims=DIMS, lock_timeout_s=lock_timeout_s)


async def hits(engine: EmbeddedSearch, query: str, mode: Any = "bm25") -> int:
    request = SearchRequest(query, mode=mode, vector=item("probe", 1).vectors[0], top_k=10_000)
    return len((await engine.search(request, SCOPE)).hits)


async def test_a_second_writer_waits_and_then_names_the_process_that_holds_the_lock(tmp_path: Path) -> None:
    holder = start(tmp_path, "hold", "60")
    assert first_line(holder) == {"holding": True}
    engine = engine_on(tmp_path, lock_timeout_s=0.3)
    with pytest.raises(StorageLockedError) as caught:
        await engine.write([item("d", 1)])
    message = str(caught.value)
    assert f"process {holder.pid} (" in message
    assert "embedded_writer.py" in message
    assert "started 20" in message
    assert str(tmp_path) in message
    stop(holder)
    await engine.write([item("d", 1)])  # the kernel freed the dead holder's lock
    assert await hits(engine, "part0") == 1
    await engine.aclose()


async def test_searching_does_not_wait_for_the_write_lock(tmp_path: Path) -> None:
    engine = engine_on(tmp_path, lock_timeout_s=30)
    await engine.write([item("d", 1)])
    holder = start(tmp_path, "hold", "60")
    assert first_line(holder) == {"holding": True}
    waiting = asyncio.create_task(engine.write([item("e", 2)]))
    assert await hits(engine, "part0") == 1
    assert not waiting.done()
    stop(holder)
    await waiting
    assert await hits(engine, "part0") == 2
    await engine.aclose()


async def test_the_lock_is_free_between_commits(tmp_path: Path) -> None:
    engine, other = engine_on(tmp_path), engine_on(tmp_path)
    await asyncio.gather(*(one.write([item(f"{name}{n}", n)]) for n in range(10) for name, one in (("a", engine), ("b", other))))
    assert (await engine.info()).documents == (await other.info()).documents == 20
    await engine.aclose()
    await other.aclose()


async def test_an_open_reader_sees_what_another_process_committed(tmp_path: Path) -> None:
    engine = engine_on(tmp_path)
    assert await hits(engine, "part0") == 0
    finish(start(tmp_path, "write", "40"))
    for mode in ("bm25", "knn", "hybrid"):
        assert await hits(engine, "other7 part0", mode) >= 40
    finish(start(tmp_path, "delete", "other7"))
    assert await hits(engine, "other7") == 0
    assert (await engine.info()).documents == 39
    await engine.aclose()


async def test_a_reader_keeps_answering_whole_pages_while_another_process_writes(tmp_path: Path) -> None:
    writer = start(tmp_path, "endless", "5")
    assert first_line(writer) == {"ready": True}
    engine = engine_on(tmp_path)
    seen = 0
    for _ in range(60):
        for hit in (await engine.search(SearchRequest("part0 part1", mode="bm25", top_k=100), system_scope())).hits:
            assert hit.text.startswith(f"{hit.document_id} version{hit.metadata['version']} ")
            seen += 1
        info = await engine.info()
        assert info.views == {"lexical": info.chunks, "vector": info.chunks}
    stop(writer)
    assert seen
    await engine.aclose()


async def test_two_writers_and_a_reader_end_with_everything(tmp_path: Path) -> None:
    writers = [start(tmp_path, "write", "30"), start(tmp_path, "endless", "9")]
    engine = engine_on(tmp_path)
    finish(writers[0])
    stop(writers[1])
    known = await engine.content_hashes([f"other{number}" for number in range(30)], "default")
    assert len(known) == 30
    info = await engine.info()
    assert info.views == {"lexical": info.chunks, "vector": info.chunks}
    await engine.aclose()


async def test_the_message_names_this_process_to_others(tmp_path: Path) -> None:
    from src.infra.search.embedded.session import write_lock

    with write_lock(tmp_path, 1.0):
        entry = json.loads((tmp_path / "write.lock").read_text())
    assert entry["pid"] == os.getpid()
    assert entry["started"].startswith("20")
