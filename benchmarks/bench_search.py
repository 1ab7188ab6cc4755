"""Latency of the embedded search engine, query embedding excluded.

Run: ``python -m benchmarks.bench_search --chunks 20000``. Without ``--data`` the text is synthetic: words drawn by
Zipf's law, lengths like chunks of 180 tokens, queries cut from chunks; with it, texts of a BEIR folder, repeated.
Vectors are random directions around 200 centres, which is harder on branch prediction than real ones and equal in work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.core.documents import Chunk, Document, chunk_id
from src.core.identity import EVERYONE, AccessScope, Identity, access_scope
from src.core.search import AnyOf, Filter, Mode, Range, SearchRequest
from src.infra.search.embedded import EmbeddedSearch
from src.infra.search.protocol import DocumentWrite

CHUNKS_PER_DOCUMENT = 5
VOCABULARY = 60_000


def synthetic_texts(count: int, rng: np.random.Generator) -> list[str]:
    """Texts of 80 to 180 words by Zipf's law over a vocabulary that reads like words."""
    ranks = np.arange(1, VOCABULARY + 1)
    weights = 1.0 / (ranks + 2.7)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    words = ["".join(letters[rng.integers(0, 26, size=int(size))]) for size in rng.integers(3, 11, size=VOCABULARY)]
    chosen = rng.choice(VOCABULARY, size=count * 130, p=weights / weights.sum())
    lengths = rng.integers(80, 180, size=count)
    starts = rng.integers(0, chosen.size - 200, size=count)
    return [" ".join(words[word] for word in chosen[start : start + length]) for start, length in zip(starts, lengths, strict=True)]


def real_texts(count: int, folder: Path) -> list[str]:
    entries = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    return [f"{entry.get('title', '')} {entry['text']}" for entry in (entries[i % len(entries)] for i in range(count))]


def unit_vectors(count: int, dims: int, rng: np.random.Generator) -> NDArray[np.float32]:
    centres = rng.normal(size=(200, dims))
    raw = centres[rng.integers(0, 200, size=count)] + rng.normal(size=(count, dims))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def documents(texts: list[str], vectors: NDArray[np.float32]) -> list[DocumentWrite]:
    """Five chunks a document; years and kinds as metadata, one document in ten for one group only."""
    writes = []
    for number, start in enumerate(range(0, len(texts), CHUNKS_PER_DOCUMENT)):
        key = f"doc-{number:06d}"
        acl = ("group:board",) if number % 10 == 0 else (EVERYONE,)
        metadata = {"year": 2000 + number % 25, "rare": number % 100 == 0}
        document = Document(key, "default", f"Document {number}", f"/files/{key}.txt", "text/plain", key, acl, metadata)
        part = texts[start : start + CHUNKS_PER_DOCUMENT]
        chunks = tuple(Chunk(chunk_id("default", key, at, text), key, "default", at, text, page=at + 1) for at, text in enumerate(part))
        writes.append(DocumentWrite(document, chunks, vectors[start : start + len(part)]))
    return writes


async def measure(name: str, runs: int, call: Callable[[int], Awaitable[object]]) -> None:
    for at in range(min(20, runs)):
        await call(at)
    times = []
    for at in range(runs):
        began = time.perf_counter()
        await call(at)
        times.append((time.perf_counter() - began) * 1000)
    p50, p95 = np.percentile(times, [50, 95])
    print(f"{name:<28} p50 {p50:7.2f} ms   p95 {p95:7.2f} ms")


async def bench(args: argparse.Namespace, folder: Path) -> None:
    rng = np.random.default_rng(args.seed)
    texts = real_texts(args.chunks, args.data) if args.data else synthetic_texts(args.chunks, rng)
    vectors = unit_vectors(args.chunks, args.dims, rng)
    engine = EmbeddedSearch(folder, embedder="bench", dims=args.dims)
    began = time.perf_counter()
    writes = documents(texts, vectors)
    for start in range(0, len(writes), 50):
        await engine.write(writes[start : start + 50])
    wrote = time.perf_counter() - began
    info = await engine.info()
    total = time.perf_counter() - began
    print(f"{info.chunks} chunks: written in {wrote:.1f} s, searchable after {total:.1f} s ({info.chunks / total:.0f} chunks/s)")
    await engine.aclose()
    began = time.perf_counter()
    engine = EmbeddedSearch(folder, embedder="bench", dims=args.dims)
    await engine.info()
    print(f"opened in {(time.perf_counter() - began) * 1000:.0f} ms")

    queries = [" ".join(texts[at].split()[5 : 5 + int(length)]) for at, length in zip(rng.integers(0, args.chunks, 500), rng.integers(4, 14, 500), strict=True)]
    asked = unit_vectors(500, args.dims, rng)
    everyone, member = access_scope(Identity("u")), access_scope(Identity("u", groups=("board",)))

    def ask(mode: Mode, scope: AccessScope, filters: tuple[Filter, ...] = ()) -> Callable[[int], Awaitable[object]]:
        return lambda at: engine.search(SearchRequest(queries[at % 500], mode=mode, vector=asked[at % 500], filters=filters), scope)

    modes: tuple[Mode, ...] = ("bm25", "knn", "hybrid")
    for mode in modes:
        await measure(mode, args.runs, ask(mode, member))
    for mode in modes:
        await measure(f"{mode}, scope sees 90%", args.runs, ask(mode, everyone))
    for mode in modes:
        await measure(f"{mode}, filter keeps 1%", args.runs, ask(mode, member, (AnyOf("rare", (True,)),)))
    for mode in modes:
        await measure(f"{mode}, filter keeps 40%", args.runs, ask(mode, member, (Range("year", gte=2015),)))
    await engine.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--dims", type=int, default=384)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=None, help="a BEIR folder to take texts from")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(bench(args, Path(folder) / "index"))


if __name__ == "__main__":
    main()
