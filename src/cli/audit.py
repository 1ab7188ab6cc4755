"""`rag audit`: check the audit trail, and export it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import EXIT_FAILED, CommandContext, common_options, report_error

if TYPE_CHECKING:
    from ..infra.audit.exporting import Format, Wanted
    from ..infra.audit.verify import Verification, Verifier

_FILE = click.option("--file", "file", type=click.Path(dir_okay=False, path_type=Path), help="The audit file, such as a copy; default: that of [audit].")
_ANCHORS = click.option(
    "--anchors", multiple=True, type=click.Path(dir_okay=False, path_type=Path), help="Heads kept elsewhere, beside those of [audit] anchor; may be repeated."
)


@click.group("audit")
def command() -> None:
    """Who asked, what they were shown, what was changed; for whoever runs the deployment."""


@command.command()
@_FILE
@_ANCHORS
@common_options
def verify(ctx: CommandContext, file: Path | None, anchors: tuple[Path, ...]) -> None:
    """Check every row against the key, its neighbours and the anchors; exit code 1 where something was tampered with.

    ANCHORS are the anchor file, or a log in JSON lines with the lines "audit head". Without any, neither a cut tail nor a chain
    that was written anew by somebody with the key can be noticed.
    """
    from ..infra.audit.reading import rows_of
    from ..infra.audit.verify import records

    verifier, path = _verifier(ctx, file, anchors)
    with rows_of(path) as rows:
        for _ in records(rows, verifier):
            pass
    found = verifier.finish()
    _tell(ctx, path, found)
    if not found.intact:
        raise SystemExit(EXIT_FAILED)


def _verifier(ctx: CommandContext, file: Path | None, anchors: tuple[Path, ...]) -> tuple[Verifier, Path]:
    from ..infra.audit.reading import anchors_of, keyring_of
    from ..infra.audit.trail import audit_file
    from ..infra.audit.verify import Verifier

    cfg = ctx.settings.audit
    # A file that is named may be a copy from another machine: then the configured anchor says nothing of it.
    known = cfg if file is None else cfg.model_copy(update={"anchor": None})
    return Verifier(keyring_of(cfg), anchors_of(known, anchors)), file or audit_file(ctx.settings)


def _tell(ctx: CommandContext, path: Path, found: Verification) -> None:
    if ctx.json:
        ctx.emit(
            {
                "intact": found.intact,
                "file": path,
                "rows": found.rows,
                "records": found.records,
                "head": found.head,
                "anchors": found.anchors,
                "unanchored": found.unanchored,
                "findings": [{"kind": one.kind, "row": one.row, "record": one.record, "count": one.count, "message": str(one)} for one in found.findings],
            }
        )
        return
    for one in found.findings:
        click.secho(str(one), fg="red" if one.tampering else "yellow")
    verdict = "intact" if found.intact else "NOT INTACT"
    click.secho(f"{verdict}: {found.records:,} records in {path}, the last one {found.head.n:,} {found.head.mac[:16]}", bold=True)
    if not found.anchors:
        click.echo("no anchors: a cut tail, or a chain written anew with the key, would not be noticed; see docs/audit.md", err=True)
    elif found.unanchored:
        click.echo(f"{found.unanchored:,} records behind the last anchor", err=True)


@command.command()
@click.option("--format", "form", type=click.Choice(["json", "csv", "ndjson", "ocsf"]), help="Default: ndjson; with --json: json.")
@click.option("--since", help="From a time on: 2026-11-21, 2026-11-21T09:30:00Z, or how long ago: 90m, 24h, 7d.")
@click.option("--user", help="One user's records alone; with pseudonymous records too.")
@click.option("--action", "actions", multiple=True, help="These actions alone, such as search; may be repeated.")
@_FILE
@_ANCHORS
@common_options
def export(
    ctx: CommandContext,
    form: Format | None,
    since: str | None,
    user: str | None,
    actions: tuple[str, ...],
    file: Path | None,
    anchors: tuple[Path, ...],
) -> None:
    """Print records, and check the whole file on the way: exit code 1 where something was tampered with.

    Rows that are not authentic are left out. The export is recorded itself, unless --file names a copy.
    """
    from ..infra.audit.exporting import wanted
    from ..infra.audit.reading import keyring_of

    asked = wanted(keyring_of(ctx.settings.audit), since=since, user=user, actions=actions)
    chosen: Format = form or ("json" if ctx.json else "ndjson")
    if file is None and ctx.settings.audit.enabled:
        ctx.run(_record(ctx, chosen))
    found = _print(ctx, chosen, asked, file, anchors)
    for one in found.findings:
        click.secho(str(one), fg="red" if one.tampering else "yellow", err=True)
    if not found.intact:
        raise SystemExit(EXIT_FAILED)


def _print(ctx: CommandContext, form: Format, asked: Wanted, file: Path | None, anchors: tuple[Path, ...]) -> Verification:
    from importlib.metadata import PackageNotFoundError, version

    from ..infra.audit.exporting import exported
    from ..infra.audit.reading import rows_of
    from ..infra.audit.verify import records

    try:
        ours = version("founders-rag")
    except PackageNotFoundError:  # run from a checkout that was never installed
        ours = "0"
    verifier, path = _verifier(ctx, file, anchors)
    with rows_of(path) as rows:
        for text in exported(((row, record) for row, record in records(rows, verifier) if record in asked), form, ours):
            click.echo(text, nl=False)
    return verifier.finish()


async def _record(ctx: CommandContext, form: Format) -> None:
    """That the trail is read out is recorded first; a trail that cannot be written can still be read."""
    from ..errors import AuditError
    from ..telemetry.audit import AuditEvent
    from .ask import identity_of

    async with ctx.resources() as resources:
        try:
            await resources.get("audit").record(AuditEvent.by(identity_of(ctx, "default", None, ()), "audit.export", format=form))
        except AuditError as error:
            report_error(error, ctx.json)
