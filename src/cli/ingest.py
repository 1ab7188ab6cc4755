"""`rag ingest`: read documents into the index."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from ..core.identity import DEFAULT_TENANT, EVERYONE
from ..errors import InputError
from .common import EXIT_FAILED, CommandContext, common_options
from .stopping import heeding_sigterm

if TYPE_CHECKING:
    from ..infra.search.protocol import SearchClient
    from ..ingestion.pipeline import Ingestor
    from ..ingestion.report import IngestReport
    from ..ingestion.sources.item import SourceItem

_NAMED = ("user:", "group:")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Tenant that the documents belong to.")
@click.option("--allow", multiple=True, metavar="PRINCIPAL", help=f"Who may see them: user:ID, group:ID or {EVERYONE}; may be repeated. Default: {EVERYONE}.")
@click.option(
    "--rebuild",
    is_flag=True,
    help="Begin with an empty index, for all tenants, once a document is read and the model answers; needed when the embedding model changes. "
    "OpenSearch keeps serving the old index until the new one is filled, and keeps it for `rag index rollback`.",
)
@common_options
def command(ctx: CommandContext, paths: tuple[str, ...], tenant: str, allow: tuple[str, ...], rebuild: bool) -> None:
    """Read documents into the index: PDF, DOCX, HTML, Markdown, text.

    PATHS are files, folders (everything below them, hidden files left out) or globs such as 'docs/**/*.pdf'. Unchanged
    documents are skipped, changed ones replaced. Documents whose file is gone stay in the index. Who may see a document is
    what its last run said: without --allow, a run opens what an earlier one restricted, and its summary says so.

    A file that cannot be ingested (broken, encrypted, empty, oversized, unreadable, without a text layer, or named but of
    no known format) is reported with its reason and the rest goes on; the command then exits with 1. Files of other
    formats inside folders are left out and counted.

    Ctrl-C and SIGTERM end it with its summary and exit code 130. What is listed as stored is in the index then; a rebuild
    that OpenSearch builds aside is given up instead, and the index in use stays as it was.
    """
    acl = principals(allow)
    if not tenant.strip():
        raise click.BadParameter("must not be empty", param_hint="--tenant")
    report = ctx.run(_ingest(ctx, paths, (tenant, acl), rebuild))
    if report.failed:
        raise SystemExit(EXIT_FAILED)


def principals(allow: tuple[str, ...]) -> tuple[str, ...]:
    """The access list that ``--allow`` means.

    Raises:
        click.BadParameter: not a principal.
    """
    for principal in allow:
        named = principal.startswith(_NAMED) and principal.split(":", 1)[1].strip()
        if principal != EVERYONE and not named:
            raise click.BadParameter(f"{principal!r} is not a principal; write user:ID, group:ID or {EVERYONE}", param_hint="--allow")
    return tuple(dict.fromkeys(allow)) or (EVERYONE,)


async def _ingest(ctx: CommandContext, paths: tuple[str, ...], target: tuple[str, tuple[str, ...]], rebuild: bool) -> IngestReport:
    """Ingest and print the summary, also of a run that an error, Ctrl-C or SIGTERM ended early. It is printed once it is known
    what became of an index that was filled aside."""
    from ..infra.metrics_commands import counted
    from ..ingestion.sources.local_files import discover
    from ..telemetry.audit import AuditEvent, changing
    from .ingest_view import Outcome, make_view, summarise

    found = discover(paths, exclude=[ctx.settings.storage.path])
    tenant, acl = target
    view = make_view(found, as_json=ctx.json)
    outcome: Outcome = "stopped"
    with heeding_sigterm(), counted(ctx.settings):
        async with ctx.resources() as resources:
            ingestor: Ingestor = resources.get("ingestor")
            event = AuditEvent("index.rebuild" if rebuild else "index.ingest", tenant=tenant, facts={"documents": len(found.items)})
            try:
                async with (
                    changing(resources.get("audit"), event) as noted,
                    _destination(resources.search, ingestor, found.items, target, rebuild=rebuild) as (chosen, aside),
                ):
                    outcome = "given-up" if aside else "stopped"
                    with view:
                        done = await chosen.ingest(found.items, tenant=tenant, acl=acl, on_event=view)
                    noted.facts |= {"added": done.added, "updated": done.updated, "failed": len(done.failed)}
                    outcome = "unsettled" if aside else "complete"
                outcome = "complete"
            finally:
                if view.ended:
                    summarise(ctx, view.report, outcome)
    return view.report


@asynccontextmanager
async def _destination(
    search: SearchClient, ingestor: Ingestor, items: tuple[SourceItem, ...], target: tuple[str, tuple[str, ...]], *, rebuild: bool
) -> AsyncIterator[tuple[Ingestor, bool]]:
    """Into the index as it is, or into a new one; the latter only once it is known that it can be filled. And whether it is
    filled aside: discarded, unless it is filled to the end."""
    if not rebuild:
        yield ingestor, False
        return
    if not items:
        raise InputError("No document was found; the index stays as it is.", hint="Name files or folders that hold documents.")
    tenant, acl = target
    await ingestor.rehearse(items, tenant=tenant, acl=acl)
    async with search.rebuilding() as empty:
        yield ingestor.into(empty), empty is not search
