"""`rag eval`: measure retrieval on a collection in BEIR layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import CommandContext, common_options
from .progress import overwritten_line

if TYPE_CHECKING:
    from ..core.search import Mode
    from ..evaluation.report import EvalReport


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder in BEIR layout.")
@click.option("--split", required=True, metavar="NAME", help="Judgements to use: qrels/NAME.tsv.")
@click.option("--mode", type=click.Choice(["bm25", "knn", "hybrid"]), help="Search mode; default: that of [retrieval].")
@click.option("--history", is_flag=True, help="Put metadata.history before the question; without it the last turn stands alone.")
@click.option("--metrics", metavar="LIST", help="Further metrics, such as ndcg@5,recall@2 (ndcg, recall, precision, success, mrr, map).")
@common_options
def command(ctx: CommandContext, data: Path, split: str, mode: Mode | None, history: bool, metrics: str | None) -> None:
    """Measure retrieval on a collection in BEIR layout: corpus.jsonl, queries.jsonl, qrels/NAME.tsv.

    A hit counts as its document, by its best chunk. The index lies in the cache folder and is made once for a corpus, an
    embedding model and chunk settings; the data folder is only read.
    """
    from ..evaluation.report import as_text

    report = ctx.run(_evaluate(ctx, (data, split), mode, metrics, history=history))
    if ctx.json:
        ctx.emit(report.as_json())
    else:
        click.echo(as_text(report))


async def _evaluate(ctx: CommandContext, collection: tuple[Path, str], mode: Mode | None, metrics: str | None, *, history: bool) -> EvalReport:
    from ..evaluation.dataset import load_dataset
    from ..evaluation.metrics import parse_metrics
    from ..evaluation.run import Plan, evaluate

    wanted = parse_metrics(metrics) if metrics else ()
    dataset = load_dataset(*collection)
    if dataset.unasked:
        click.echo(f"{dataset.unasked} judged questions have no text in queries.jsonl and are left out.", err=True)
    plan = Plan(dataset, mode or ctx.settings.retrieval.mode, wanted, history)
    asked = len(dataset.questions)
    with overwritten_line() as indexing, overwritten_line() as asking:
        return await evaluate(
            plan,
            ctx.settings,
            on_indexed=lambda done: indexing(f"indexing {done:,} documents"),
            on_asked=lambda done: asking(f"asking {done:,} of {asked:,}"),
        )
