"""Another process on a data folder, for the tests: `python embedded_writer.py FOLDER ACTION [ARGUMENT]`.

Imports nothing from the tests; what it writes can be checked from the acknowledgements that it prints, one JSON line each.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from src.core.documents import Chunk, Document, chunk_id
from src.core.identity import EVERYONE, system_scope
from src.core.search import SearchRequest
from src.errors import RagError
from src.infra.search.embedded import EmbeddedSearch
from src.infra.search.embedded.session import write_lock
from src.infra.search.protocol import DocumentWrite

DIMS = 32
EMBEDDER = "test-model/1"


def item(key: str, version: int, words: int = 40) -> DocumentWrite:
    """Version ``version`` of a document: 1 to 5 chunks, all of which name document and version."""
    count = 1 + (version + len(key)) % 5
    texts = [f"{key} version{version} part{part} of{count} " + f"filler{version % 50} " * words for part in range(count)]
    document = Document(key, "default", key, f"/files/{key}", "text/plain", f"{version}", (EVERYONE,), {"version": version, "count": count})
    chunks = tuple(Chunk(chunk_id("default", key, at, text), key, "default", at, text) for at, text in enumerate(texts))
    vectors = np.random.default_rng(version).normal(size=(count, DIMS)).astype(np.float32)
    return DocumentWrite(document, chunks, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def open_engine(folder: Path) -> EmbeddedSearch:
    return EmbeddedSearch(folder, embedder=EMBEDDER, dims=DIMS)


async def endless(folder: Path, seed: str) -> None:
    """Write, replace, delete and search for ever; each acknowledgement is printed once the engine gave it."""
    rng, engine, version = random.Random(seed), open_engine(folder), int(seed) * 1_000_000
    say(ready=True)
    while True:
        batch = []
        for _ in range(rng.randint(1, 6)):
            version += 1
            batch.append(item(f"doc{rng.randint(0, 60)}", version))
        await engine.write(batch)
        say(written={write.document.id: write.document.metadata["version"] for write in batch})
        if rng.random() < 0.2:
            key = f"doc{rng.randint(0, 60)}"
            say(deleting=key)
            await engine.delete([key], system_scope())
            say(deleted=key)
        if rng.random() < 0.3:
            await engine.search(SearchRequest("part0", mode="bm25"), system_scope())


async def write_count(folder: Path, count: str) -> None:
    engine = open_engine(folder)
    await engine.write([item(f"other{number}", number) for number in range(int(count))])
    say(written=int(count))
    await engine.aclose()


async def delete_one(folder: Path, key: str) -> None:
    engine = open_engine(folder)
    say(deleted=await engine.delete([key], system_scope()))
    await engine.aclose()


async def hold_lock(folder: Path, seconds: str) -> None:
    with write_lock(folder, 5.0):
        say(holding=True)
        time.sleep(float(seconds))  # noqa: ASYNC251 - holding is all this process does


async def attempt(folder: Path, user: str) -> None:
    """Try to search and to write, as another user if one is named; print what each gave."""
    write = item("attempt", 1)  # made before: what is imported now may be out of that user's reach
    if int(user):
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    engine = open_engine(folder)
    outcome: dict[str, Any] = {}
    try:
        outcome["hits"] = len((await engine.search(SearchRequest("part0", mode="bm25", top_k=1000), system_scope())).hits)
        outcome["views"] = (await engine.info()).views
    except RagError as error:
        outcome["search"] = type(error).__name__
    try:
        await engine.write([write])
    except RagError as error:
        outcome["write"], outcome["message"] = type(error).__name__, str(error)
    say(**outcome)
    await engine.aclose()


async def fill(folder: Path, limit: str) -> None:
    """Write until the disk, or a file size limit of so many bytes (0: none), is reached; print how it ended."""
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    engine = open_engine(folder)
    for version in range(100_000):
        write = item(f"fill{version}", version, words=400)
        try:
            await engine.write([write])
        except RagError as error:
            say(failed=type(error).__name__, message=str(error))
            break
        say(written={write.document.id: version})
    try:
        await engine.search(SearchRequest("part0", mode="bm25"), system_scope())
        say(search="answered")
    except RagError as error:
        say(search=type(error).__name__)
    await engine.aclose()


ACTIONS = {"endless": endless, "write": write_count, "delete": delete_one, "hold": hold_lock, "attempt": attempt, "fill": fill}

if __name__ == "__main__":
    asyncio.run(ACTIONS[sys.argv[2]](Path(sys.argv[1]), sys.argv[3] if len(sys.argv) > 3 else "0"))
