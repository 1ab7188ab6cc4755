"""The local embedder's figures: build and load times, question latency, chunks a second, likeness to fp32.

    python benchmarks/bench_embedding.py [--chunks 120] [--questions 200]

Chunks are 200 tokens, special ones included, cut from SciFact's abstracts where `../shared/data` has them (RAG_TEST_DATA
names another folder), else from a made-up text of the same length.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from src.infra.providers.embedding_cache import CachedEmbedder
from src.infra.providers.local_embedder import LocalEmbedder
from src.infra.providers.minilm import MAX_TOKENS, WEIGHTS_SHA256, prepare_model, source_file
from src.infra.providers.tokenizer import LazyTokenizer, ModelTokenizer

TOKENS = 200


def texts(count: int, questions: int) -> tuple[list[str], list[str]]:
    """Long texts and questions."""
    folder = Path(os.environ.get("RAG_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data") / "scifact"
    if not folder.is_dir():
        word = "The night tariff applies to households with a two-rate meter, from ten at night until six in the morning. "
        return [f"{place} {word * 20}" for place in range(count)], [f"What does the tariff number {place} cost at night?" for place in range(questions)]
    with (folder / "corpus.jsonl").open() as file:
        docs = [json.loads(line)["text"] for line in file]
    with (folder / "queries.jsonl").open() as file:
        asked = [json.loads(line)["text"] for line in file]
    return [text for text in docs if len(text) > 1500][:count], asked[:questions]


def cut(text: str, tokenizer: ModelTokenizer) -> str:
    """The first 198 tokens: 200 with [CLS] and [SEP]."""
    return text[: tokenizer.spans(text)[: TOKENS - 2][-1][1]]


def percentile(seconds: list[float], q: float) -> float:
    return round(float(np.percentile(seconds, q)) * 1000, 2)


async def latency(embedder: LocalEmbedder | CachedEmbedder, questions: list[str]) -> dict[str, float]:
    await embedder.embed(["warm up"])
    times = []
    for question in questions:
        start = time.perf_counter()
        await embedder.embed([question])
        times.append(time.perf_counter() - start)
    return {"p50": percentile(times, 50), "p95": percentile(times, 95)}


async def rate(cache: Path, chunks: list[str], threads: int) -> float:
    embedder = LocalEmbedder(cache, threads)
    await embedder.embed(chunks[:4])
    start = time.perf_counter()
    await embedder.embed(chunks)
    seconds = time.perf_counter() - start
    await embedder.aclose()
    return round(len(chunks) / seconds, 1)


def intra_rate(cache: Path, chunks: list[str], threads: int) -> float:
    """The other way to use several threads: all of them inside one text."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(prepare_model(cache) / "model.onnx"), options, providers=["CPUExecutionProvider"])
    ids = encoded(cache, chunks)
    session.run(None, {"ids": ids[0]})
    start = time.perf_counter()
    for one in ids:
        session.run(None, {"ids": one})
    return round(len(ids) / (time.perf_counter() - start), 1)


def encoded(cache: Path, chunks: list[str]) -> list[np.ndarray]:
    tokenizer = LazyTokenizer(cache, MAX_TOKENS).get()
    return [np.array([tokenizer.encode(text).ids], np.int64) for text in chunks]


async def cosines(cache: Path, sample: list[str]) -> dict[str, float]:
    import onnxruntime
    from safetensors.numpy import load_file

    from src.infra.providers.minilm_graph import build_model

    weights = load_file(source_file("model.safetensors", WEIGHTS_SHA256))
    session = onnxruntime.InferenceSession(build_model(weights, quantised=False), providers=["CPUExecutionProvider"])
    exact = np.concatenate([session.run(None, {"ids": ids})[0] for ids in encoded(cache, sample)])
    embedder = LocalEmbedder(cache)
    found = ((await embedder.embed(sample)) * exact).sum(axis=1)
    await embedder.aclose()
    return {"mean": round(float(found.mean()), 5), "min": round(float(found.min()), 5)}


async def measure(count: int, questions: int) -> dict[str, object]:
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        start = time.perf_counter()
        path = prepare_model(cache)
        figures["build_s"] = round(time.perf_counter() - start, 2)
        figures["size_mb"] = round(sum(file.stat().st_size for file in path.iterdir()) / 1e6, 1)
        start = time.perf_counter()
        prepare_model(cache)
        figures["find_again_ms"] = round((time.perf_counter() - start) * 1000, 2)
        embedder = LocalEmbedder(cache)
        start = time.perf_counter()
        embedder.load()
        figures["load_s"] = round(time.perf_counter() - start, 2)
        long, asked = texts(count, questions)
        chunks = [cut(text, ModelTokenizer(cache)) for text in long]
        figures["question_ms"] = await latency(embedder, asked)
        cached = CachedEmbedder(embedder, cache / "embeddings.sqlite", 100_000)
        figures["question_new_to_cache_ms"] = await latency(cached, asked)
        figures["question_in_memory_ms"] = await latency(cached, asked)
        await cached.aclose()
        again = CachedEmbedder(LocalEmbedder(cache), cache / "embeddings.sqlite", 100_000)
        figures["question_on_disk_ms"] = await latency(again, asked)
        await again.aclose()
        for threads in (1, 2):
            figures[f"chunks_per_s_{threads}_threads"] = await rate(cache, chunks, threads)
        figures["chunks_per_s_2_threads_in_one_text"] = intra_rate(cache, chunks, 2)
        figures["cosine_to_fp32"] = await cosines(cache, chunks[:50] + asked[:50])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=120)
    parser.add_argument("--questions", type=int, default=200)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.chunks, options.questions)), indent=2))


if __name__ == "__main__":
    main()
