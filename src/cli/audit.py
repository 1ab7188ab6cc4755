"""`rag audit`: check the audit trail, and export it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from .common import EXIT_FAILED, CommandContext, common_options, report_error

if TYPE_CHECKING:
    from ..infra.audit.exporting import Format, Wanted
    from ..infra.audit.verify import Verification, Verifier

_FILE = click.option("--file", "file", type=click.Path(dir_okay=False, path_type=Path), help="The audit file, such as a copy; default: that of [audit].")
_ANCHORS = click.option(
    "--anchors",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Heads kept elsewhere, such as collected logs; may be repeated. Those of [audit] anchor count as well, but not for a copy (--file).",
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

    ANCHORS are the anchor file, or a log in JSON lines with the lines "audit head"; heads of other chains in it are passed over.
    Without any, neither a cut tail nor a chain that was written anew by somebody with the key can be noticed.
    """
    from ..infra.audit.reading import rows_of

    checked = _checked(ctx, file, anchors)
    with rows_of(checked.path) as rows:
        for row in rows:
            checked.verifier.take(row.removesuffix(b"\n"), ended=row.endswith(b"\n"))
    found = checked.verifier.finish()
    _tell(ctx, checked, found)
    if not found.intact:
        raise SystemExit(EXIT_FAILED)


class _Checked(NamedTuple):
    """A file, what checks it, and whether the configured anchor was passed over."""

    path: Path
    verifier: Verifier
    passed_over: bool


def _checked(ctx: CommandContext, file: Path | None, anchors: tuple[Path, ...]) -> _Checked:
    from ..infra.audit.reading import anchors_of, keyring_of
    from ..infra.audit.trail import audit_file
    from ..infra.audit.verify import Verifier

    cfg, ours = ctx.settings.audit, audit_file(ctx.settings)
    path = file or ours
    # A file that is named may be an older copy, or of another machine: then the configured anchor would find fault with it.
    copy = path.absolute() != ours.absolute()
    known = cfg.model_copy(update={"anchor": None}) if copy else cfg
    return _Checked(path, Verifier(keyring_of(cfg), anchors_of(known, anchors)), copy and cfg.anchor is not None)


def _notes(checked: _Checked, found: Verification) -> list[str]:
    """What the check could not have noticed, and which anchors it did not use."""
    notes = []
    if checked.passed_over:
        notes.append("the heads of [audit] anchor are not used for a copy; where they are of its chain, name them with --anchors")
    if found.others:
        notes.append(f"{found.others:,} heads are of other chains, and were passed over")
    if not found.anchors:
        return [*notes, "no anchors: a cut tail, or a chain written anew with the key, would not be noticed; see docs/audit.md"]
    if found.anchored_from > 1:
        first = found.anchored_from
        notes.append(f"anchored from record {first:,} on; records 1-{first - 1:,} are not: what was done to them before would not be noticed")
    if found.unanchored:
        notes.append(f"{found.unanchored:,} records behind the last anchor")
    return notes


def _tell(ctx: CommandContext, checked: _Checked, found: Verification) -> None:
    notes = _notes(checked, found)
    if ctx.json:
        ctx.emit(
            {
                "intact": found.intact,
                "file": checked.path,
                "rows": found.rows,
                "records": found.records,
                "head": found.head,
                "anchors": found.anchors,
                "other_anchors": found.others,
                "anchored_from": found.anchored_from,
                "unanchored": found.unanchored,
                "notes": notes,
                "findings": [{"kind": one.kind, "row": one.row, "record": one.record, "count": one.count, "message": str(one)} for one in found.findings],
            }
        )
        return
    for one in found.findings:
        click.secho(str(one), fg="red" if one.tampering else "yellow")
    verdict = "intact" if found.intact else "NOT INTACT"
    click.secho(f"{verdict}: {found.records:,} records in {checked.path}, the last one {found.head.n:,} {found.head.mac[:16]}", bold=True)
    for note in notes:
        click.echo(note, err=True)


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
    """Check the whole file, and print its records: exit code 1 where something was tampered with.

    Rows that are not authentic, and those that contradict the anchors, are left out and named. The export is recorded itself, unless --file names a copy.
    """
    from ..infra.audit.exporting import wanted
    from ..infra.audit.reading import keyring_of

    asked = wanted(keyring_of(ctx.settings.audit), since=since, user=user, actions=actions)
    chosen: Format = form or ("json" if ctx.json else "ndjson")
    if file is None and ctx.settings.audit.enabled:
        ctx.run(_record(ctx, chosen))
    checked = _checked(ctx, file, anchors)
    found = _print(checked, chosen, asked)
    for one in found.findings:
        click.secho(str(one), fg="red" if one.tampering else "yellow", err=True)
    for note in _notes(checked, found):
        click.echo(note, err=True)
    if left := sum(map(len, found.forged)):
        click.secho(f"{left:,} rows contradict the anchors and are left out", fg="red", err=True)
    if not found.intact:
        raise SystemExit(EXIT_FAILED)


def _print(checked: _Checked, form: Format, asked: Wanted) -> Verification:
    from importlib.metadata import PackageNotFoundError, version

    from ..infra.audit.exporting import exported
    from ..infra.audit.reading import rows_of
    from ..infra.audit.verify import authentic_rows

    try:
        ours = version("founders-rag")
    except PackageNotFoundError:  # run from a checkout that was never installed
        ours = "0"
    with rows_of(checked.path) as rows, rows_of(checked.path) as again:
        found, good = authentic_rows(rows, again, checked.verifier)
        for text in exported(((row, record) for row, record in good if record in asked), form, ours):
            click.echo(text, nl=False)
    return found


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
