"""The sample handbook asked end to end: answers that cite a gold document, refusals of what it does not hold, times.

python -m benchmarks.bench_handbook [--data examples/questions] [--documents examples/handbook] [--show]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from src.core.chat import Answer, ChatRequest
from src.core.identity import DEFAULT_TENANT, EVERYONE, Identity
from src.infra.config import AgentCfg, Settings, StorageCfg
from src.infra.resource_manager import ResourceManager
from src.ingestion.sources.local_files import discover

ROOT = Path(__file__).resolve().parents[1]


def questions(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def judgements(folder: Path) -> dict[str, set[str]]:
    gold: dict[str, set[str]] = defaultdict(set)
    for path in (folder / "qrels").glob("*.tsv"):
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            query, document, _ = line.split("\t")
            gold[query].add(document)
    return gold


async def run(data: Path, documents: Path, show: bool, refuse_below: float | None) -> None:
    gold = judgements(data)
    with tempfile.TemporaryDirectory() as folder:
        async with ResourceManager(Settings(storage=StorageCfg(path=Path(folder)), agent=AgentCfg(refuse_below=refuse_below))) as resources:
            await resources.get("ingestor").ingest(discover([documents]).items, tenant=DEFAULT_TENANT, acl=(EVERYONE,))
            agent, me = resources.get("agent"), Identity("bench")
            answered = [(query, await agent.ask(ChatRequest(query["text"]), me)) for query in questions(data / "queries.jsonl")]
            refused = [(query, await agent.ask(ChatRequest(query["text"]), me)) for query in questions(data / "queries-unanswerable.jsonl")]
    right = [_cites(answer, gold[query["_id"]], documents) for query, answer in answered]
    quoted = [_quotes(answer, query["metadata"].get("gold_quote", "")) for query, answer in answered]
    print(f"answerable: {len(answered)}, cite a gold document {sum(right)} ({100 * sum(right) / len(right):.1f}%), of these the gold sentence {sum(quoted)}")
    print(f"            refused {sum(answer.refused for _, answer in answered)}")
    said_no = sum(answer.refused for _, answer in refused)
    print(f"unanswerable: {len(refused)}, refused {said_no} ({100 * said_no / len(refused):.1f}%)")
    times = sorted(answer.timings_ms["total"] for _, answer in [*answered, *refused])
    print(f"ms an answer: p50 {statistics.median(times):.0f}, p95 {times[int(len(times) * 0.95)]:.0f}")
    if show:
        for (query, answer), ok in zip(answered, right, strict=True):
            if not ok:
                print(f"--- {query['_id']} {query['text']}\n    gold {sorted(gold[query['_id']])}\n    {'REFUSED' if answer.refused else answer.answer}")
        for query, answer in refused:
            if not answer.refused:
                print(f"--- {query['_id']} {query['text']} {query.get('metadata')}\n    {answer.answer}")


def _cites(answer: Answer, gold: set[str], documents: Path) -> bool:
    cited = {Path(citation.document_id).resolve().relative_to(documents.resolve()).as_posix() for citation in answer.citations}
    return bool(cited & gold)


def _quotes(answer: Answer, sentence: str) -> bool:
    wanted = " ".join(sentence.split())
    return bool(wanted) and any(wanted in " ".join(c.quote.split()) or " ".join(c.quote.split()) in wanted for c in answer.citations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "examples" / "questions")
    parser.add_argument("--documents", type=Path, default=ROOT / "examples" / "handbook")
    parser.add_argument("--show", action="store_true", help="print what went wrong")
    parser.add_argument("--refuse-below", type=float, help="instead of the calibrated threshold")
    args = parser.parse_args()
    asyncio.run(run(args.data, args.documents, args.show, args.refuse_below))


if __name__ == "__main__":
    main()
