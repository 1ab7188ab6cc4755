"""kill -9 during `rag ingest` at random moments: what was acknowledged is whole, in both views, and nothing is double or half."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from src.core.identity import Identity, access_scope
from src.core.search import SearchRequest
from src.infra.config import IngestionCfg
from src.infra.providers.local_embedder import LocalEmbedder
from src.infra.providers.tokenizer import ModelTokenizer
from src.infra.search.embedded import EmbeddedSearch
from src.ingestion.prepare import Target, prepare
from src.ingestion.sources.local_files import discover

RAG = str(Path(sys.executable).parent / "rag")
SCOPE = access_scope(Identity("somebody"))
DOCUMENTS = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Documents of one to four chunks, each with a word of its own."""
    top = tmp_path / "docs"
    top.mkdir()
    for n in range(DOCUMENTS):
        body = " ".join(f"Line {k} of marker{n}x describes how pump {k} is started after a fault." for k in range(6 + 10 * (n % 4)))
        (top / f"pump-{n:03}.md").write_text(f"# Pump {n}\n\n{body}\n")
    return top


def start(folder: Path, cache: Path) -> subprocess.Popen[str]:
    config = folder.parent / "config.ini"
    config.write_text(f"[cache]\npath = {cache}\n[embed]\ncache_entries = 0\n[ingestion]\nbatch_chunks = 8\n")
    command = [RAG, "ingest", "--config", str(config), str(folder)]
    return subprocess.Popen(command, cwd=folder.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def kill_at_random(process: subprocess.Popen[str], rng: random.Random, remaining: int) -> tuple[list[str], bool]:
    """Kill it some time after some document was acknowledged, or before the first.

    Args:
        remaining: documents that it has to ingest; the kill is drawn from the first three quarters, for the last ones are
            acknowledged together, and the process is at its end before a kill can land.

    Returns:
        What it acknowledged, and whether the kill landed before it was done.
    """
    wanted = rng.randrange(-remaining // 4, remaining * 3 // 4)
    timer = threading.Timer(rng.random() * (1.2 if wanted < 0 else 0.05), process.kill)
    stored: list[str] = []
    if wanted < 0:
        timer.start()
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("stored "):
            stored.append(line.removeprefix("stored ").rstrip("\n"))
            if len(stored) == wanted + 1:
                timer.start()
    status = process.wait()
    timer.cancel()
    assert status in (0, -signal.SIGKILL)
    return stored, status != 0


async def check(folder: Path, cache: Path, acknowledged: set[str]) -> set[str]:
    """Every document in the index is whole and in both views; the acknowledged ones are there. Returns what is there."""
    embedder, tokens = LocalEmbedder(cache), ModelTokenizer(cache)
    search = EmbeddedSearch(folder.parent / ".rag" / "index", embedder=embedder.model, dims=embedder.dims)
    there = {document.id for document in (await search.list_documents(SCOPE, limit=1000)).documents}
    assert acknowledged <= there
    total = 0
    for item in discover([folder]).items:
        if item.id not in there:
            assert await search.get_chunks(item.id, SCOPE) == ()
            continue
        prepared = prepare(item, None, Target("default", ("tenant:*",), embedder.model), IngestionCfg(), tokens)
        assert prepared is not None
        assert await search.get_chunks(item.id, SCOPE) == prepared.chunks
        total += len(prepared.chunks)
        marker = f"marker{int(item.name[5:8])}x"
        lexical = await search.search(SearchRequest(marker, mode="bm25", top_k=50), SCOPE)
        assert sorted(hit.chunk_id for hit in lexical.hits) == sorted(chunk.id for chunk in prepared.chunks)
    if there:
        nearest = await search.search(SearchRequest("", mode="knn", top_k=1000, vector=(await embedder.embed(["pump"]))[0]), SCOPE)
        ids = [hit.chunk_id for hit in nearest.hits]
        assert len(ids) == len(set(ids)) == total
        info = await search.info()
        assert (info.documents, info.chunks, info.views) == (len(there), total, {"lexical": total, "vector": total})
    await search.aclose()
    await embedder.aclose()
    return there


async def kill_and_reopen(folder: Path, cache: Path, seed: int) -> None:
    rng = random.Random(seed)
    acknowledged: set[str] = set()
    there: set[str] = set()
    kills = 0
    for _ in range(2):
        stored, killed = kill_at_random(start(folder, cache), rng, DOCUMENTS - len(there))
        kills += killed
        assert not set(stored) & there, "it was ingested twice"
        acknowledged |= set(stored)
        there = await check(folder, cache, acknowledged)
        if len(there) > DOCUMENTS * 3 // 4:
            break  # too little is left for another kill to land
    assert kills, "no kill landed: this proved nothing"
    done = start(folder, cache)
    _, told = done.communicate(timeout=120)
    assert done.returncode == 0, told
    assert await check(folder, cache, acknowledged) == {item.id for item in discover([folder]).items}


@pytest.mark.parametrize("seed", [1, 2])
async def test_kill_9_during_ingestion_loses_nothing_that_was_acknowledged(folder: Path, model_cache: Path, seed: int) -> None:
    await kill_and_reopen(folder, model_cache, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 120))
async def test_kill_9_during_ingestion_20_rounds(folder: Path, model_cache: Path, seed: int) -> None:
    await kill_and_reopen(folder, model_cache, seed)
