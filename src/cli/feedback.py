"""`rag feedback`: what users said of answers, as a collection for `rag eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import CommandContext, common_options, printable

if TYPE_CHECKING:
    from ..core.feedback import Feedback


@click.group()
def command() -> None:
    """What users said of answers; for whoever runs the deployment."""


@command.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write; made where it is not there.")
@click.option("--tenant", help="One tenant's feedback alone.")
@common_options
def export(ctx: CommandContext, out: Path, tenant: str | None) -> None:
    """Write queries.jsonl, qrels/feedback.tsv (BEIR) and feedback.jsonl, which holds all that was kept.

    A document that an answer with a good word cites is relevant (1) to its question, one that an answer with a bad word cites is not (0).
    """
    from ..evaluation.feedback import write_collection

    written = write_collection(out, ctx.run(_all(ctx, tenant, "feedback.export")))
    if ctx.json:
        ctx.emit(written)
        return
    click.echo(f"{written.queries} questions and {written.judgements} judgements of {written.answers} answers written to {printable(str(out))}")


@command.command("list")
@click.option("--tenant", help="One tenant's feedback alone.")
@common_options
def list_(ctx: CommandContext, tenant: str | None) -> None:
    """The feedback that is kept, the latest first."""
    found = ctx.run(_all(ctx, tenant, "feedback.list"))
    if ctx.json:
        ctx.emit({"feedback": found})
        return
    for one in found:
        click.echo(
            f"{one.given_at[:16].replace('T', ' ')}  {one.rating:4}  {printable(one.question)}" + (f"  - {printable(one.comment)}" if one.comment else "")
        )


async def _all(ctx: CommandContext, tenant: str | None, action: str) -> list[Feedback]:
    from ..infra.persistence.feedback import FeedbackRecords
    from ..telemetry.audit import AuditEvent, reading

    async with ctx.resources() as resources:
        records = FeedbackRecords(resources.store, resources.checkpointer.serde)
        async with reading(resources.get("audit"), AuditEvent(action, tenant=tenant or "")) as noted:
            found = [one async for one in records.everything(tenant)]
            noted.facts["entries"] = len(found)
    return sorted(found, key=lambda one: (one.given_at, one.thread_id, one.message_id), reverse=True)
