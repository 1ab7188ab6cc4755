"""The sample handbook, asked end to end: ingested into a temporary folder, each question answered by the agent.

    python -m benchmarks.handbook [--config PATH] [--show]

Prints how many answerable questions cite a gold document, how many are refused wrongly, how many unanswerable ones are
refused, how many quotes stand verbatim in their chunk, and the median time of an answer. Nothing is tuned on these questions.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from src.core.chat import ChatRequest, Citation
from src.core.identity import DEFAULT_TENANT, EVERYONE, Identity, access_scope
from src.evaluation.answers import Judged, holds_gold_quote, judge, score_answers
from src.evaluation.dataset import load_dataset, read_questions
from src.infra.resource_manager import ResourceManager
from src.infra.settings import load_settings
from src.ingestion.sources.local_files import discover

if TYPE_CHECKING:
    from src.core.chat import Answer
    from src.infra.config import Settings

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
ME = Identity("benchmark")


async def answer_all(settings: Settings, documents: Path, questions: Path) -> list[Judged]:
    dataset = load_dataset(questions, next((questions / "qrels").glob("*.tsv")).stem)
    async with ResourceManager(settings) as resources:
        report = await resources.get("ingestor").ingest(discover([str(documents)]).items, tenant=DEFAULT_TENANT, acl=(EVERYONE,))
        print(f"ingested {report.stored} documents, {report.chunks} chunks in {report.seconds:.1f} s; failed: {len(report.failed)}")
        agent = resources.get("agent")

        async def ask(text: str) -> Answer:
            answer: Answer = await agent.ask(ChatRequest(text), ME)
            return answer

        async def chunk_text(citation: Citation) -> str | None:
            chunks = await resources.search.get_chunks(citation.document_id, access_scope(ME))
            return next((chunk.text for chunk in chunks if chunk.id == citation.chunk_id), None)

        def key(document_id: str) -> str:
            path = Path(document_id)
            return path.relative_to(documents.resolve()).as_posix() if path.is_relative_to(documents.resolve()) else document_id

        known = [(question, [doc for doc, grade in dataset.judgements[question.id].items() if grade > 0]) for question in dataset.questions]
        judged = [await judge(question, gold, ask, chunk_text, key) for question, gold in known]
        return judged + [await judge(question, None, ask, chunk_text, key) for question in read_questions(questions / "queries-unanswerable.jsonl")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path, default=EXAMPLES / "handbook")
    parser.add_argument("--questions", type=Path, default=EXAMPLES / "questions")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--show", action="store_true", help="print the answers that went wrong")
    args = parser.parse_args()
    settings = load_settings(args.config)
    with tempfile.TemporaryDirectory() as folder:
        temporary = settings.model_copy(update={"storage": settings.storage.model_copy(update={"path": Path(folder)})})
        judged = asyncio.run(answer_all(temporary, args.documents, args.questions))
    scores = score_answers(judged)
    sentences = sum(holds_gold_quote(one, str(one.question.metadata.get("gold_quote", ""))) for one in judged)
    print(f"answerable   {scores.answerable}: cite a gold document {scores.cites_gold:.1%}, refused wrongly {scores.wrongly_refused:.1%}")
    print(f"             quote the very sentence that answers: {sentences}")
    print(f"unanswerable {scores.unanswerable}: refused {scores.rightly_refused:.1%}")
    print(f"quotes       {scores.quotes}: verbatim in their chunk {scores.verbatim:.1%}")
    print(f"latency      p50 {scores.p50_ms:.0f} ms")
    for one in judged:
        if args.show and not one.right:
            said = "REFUSED" if one.answer.refused else one.answer.answer
            print(f"--- {one.question.id} {one.question.text}\n    gold {sorted(one.gold or ())}, cited {sorted(one.cited)}\n    {said}")


if __name__ == "__main__":
    main()
