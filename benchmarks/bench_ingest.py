"""Ingestion end to end against the embedder alone, on the same chunks: `python benchmarks/bench_ingest.py [PATH…]`.

Without paths it reads the 10-Q filings of ../shared/data (or `RAG_TEST_DATA`). Prints chunks per second of both, by wall
clock and by processor time; the second stays true on a machine that does other work too. End to end is from the first file's
bytes to an index that is closed with its views on disk; model and tokenizer are loaded before, the tokenizer's memory of
words is empty. Both embed the same texts in the same order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from src.infra.config import IngestionCfg  # noqa: E402 - after the path is set
from src.infra.providers.local_embedder import LocalEmbedder  # noqa: E402 - as above
from src.infra.providers.tokenizer import ModelTokenizer  # noqa: E402 - as above
from src.infra.search.embedded import EmbeddedSearch  # noqa: E402 - as above
from src.ingestion.pipeline import EMBED_TEXTS, Ingestor  # noqa: E402 - as above
from src.ingestion.prepare import Target, prepare  # noqa: E402 - as above
from src.ingestion.sources.item import SourceItem  # noqa: E402 - as above
from src.ingestion.sources.local_files import discover  # noqa: E402 - as above

CACHE = Path("~/.cache/founders-rag").expanduser()


class Clock:
    """Wall and processor seconds of a block; the second counts all threads of this process."""

    def __enter__(self) -> Clock:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *exc: object) -> None:
        self.wall = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu


async def embed_alone(embedder: LocalEmbedder, texts: list[str]) -> Clock:
    with Clock() as clock:
        for at in range(0, len(texts), EMBED_TEXTS):
            await embedder.embed(texts[at : at + EMBED_TEXTS])
    return clock


async def end_to_end(embedder: LocalEmbedder, cfg: IngestionCfg, items: list[SourceItem]) -> tuple[Clock, int]:
    tokens = ModelTokenizer(CACHE)  # a new one: it remembers the words of what it has cut
    tokens.spans("loaded")
    with tempfile.TemporaryDirectory() as folder:
        search = EmbeddedSearch(Path(folder), embedder=embedder.model, dims=embedder.dims)
        with Clock() as clock:
            report = await Ingestor(search, embedder, tokens, cfg).ingest(items, tenant="bench", acl=["tenant:*"])
            await search.aclose()
    return clock, report.chunks


async def main(paths: list[str], limit: int, rounds: int, chunk_tokens: int) -> None:
    cfg = IngestionCfg(chunk_tokens=chunk_tokens)
    tokens, embedder = ModelTokenizer(CACHE), LocalEmbedder(CACHE)
    target = Target("bench", ("tenant:*",), embedder.model)
    texts: list[str] = []
    items: list[SourceItem] = []
    with Clock() as loading:
        for item in discover(paths).items:
            prepared = prepare(item, None, target, cfg, tokens)
            if prepared is not None:
                texts.extend(prepared.texts)
                items.append(item)
            if len(texts) >= limit:
                break
    length = sum(len(tokens.spans(text)) for text in texts) / len(texts)
    await embedder.embed(texts[:EMBED_TEXTS])
    alone, whole = [], []
    for _ in range(rounds):  # in turn, so that what else the machine does falls on both
        alone.append(await embed_alone(embedder, texts))
        clock, chunks = await end_to_end(embedder, cfg, items)
        assert chunks == len(texts)
        whole.append(clock)
    await embedder.aclose()

    def rates(clocks: list[Clock]) -> dict[str, float]:
        return {"chunks_per_s": round(len(texts) / min(c.wall for c in clocks), 1), "chunks_per_cpu_s": round(len(texts) / min(c.cpu for c in clocks), 1)}

    print(
        json.dumps(
            {
                "documents": len(items),
                "chunks": len(texts),
                "mean_tokens_embedded": round(length, 1),
                "load_and_chunk_s": round(loading.wall, 2),
                "embedder_alone": rates(alone),
                "end_to_end": rates(whole),
                "end_to_end_over_alone_wall": round(min(c.wall for c in whole) / min(c.wall for c in alone), 3),
                "end_to_end_over_alone_cpu": round(min(c.cpu for c in whole) / min(c.cpu for c in alone), 3),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--chunks", type=int, default=600, help="stop adding documents at this many chunks")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--chunk-tokens", type=int, default=180)
    arguments = parser.parse_args()
    data = Path(os.environ.get("RAG_TEST_DATA") or ROOT.parent / "shared" / "data")
    asyncio.run(main(arguments.paths or [str(data / "kgrag-sec10q" / "files")], arguments.chunks, arguments.rounds, arguments.chunk_tokens))
