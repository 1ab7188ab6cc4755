"""`rag config diff`: what changes from one configuration to another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import EXIT_FAILED, CommandContext, common_options
from .config_view import plain_value, source_body, with_comment

if TYPE_CHECKING:
    from ..infra.config import Settings
    from ..infra.configuring.diff import Change


@click.command(short_help="Compare two files, folders or profiles.")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@common_options
def diff(ctx: CommandContext, first: str, second: str) -> None:
    """Compare two configurations as they load here: files, folders, or names of profiles.

    The environment and secret files count for both. A profile's name stands for the configuration of --config (or the one that is
    found) with that profile; to compare a file of the same name, write ./NAME. Exit code 0: nothing differs, 1: something does,
    2: one of the two cannot be loaded.
    """
    from ..infra.configuring.diff import differences

    before, after = (_load(ctx, name) for name in (first, second))
    changes = differences(before, after)
    if ctx.json:
        ctx.emit({"equal": not changes, "a": _named(first, before), "b": _named(second, after), "changes": [_body(change) for change in changes]})
    else:
        click.echo("\n".join(_lines(changes, first, second)))
    if changes:
        raise SystemExit(EXIT_FAILED)


def _load(ctx: CommandContext, name: str) -> Settings:
    """The configuration that a name stands for.

    Raises:
        InvalidSettingsError: it cannot be loaded.
    """
    from ..infra.configuring.profiles import PROFILES
    from ..infra.configuring.sources import PROFILE_KEY
    from ..infra.settings import load_settings

    is_profile = name in PROFILES or not (Path(name).exists() or "." in name or "/" in name)
    return load_settings(list(ctx.config) or None, {PROFILE_KEY: name}) if is_profile else load_settings(name)


def _named(name: str, settings: Settings) -> dict[str, object]:
    return {"name": name, "files": settings.provenance.files}


def _body(change: Change) -> dict[str, object]:
    """A change for JSON."""
    sides = (("a", change.before), ("b", change.after))
    return {"key": change.spec.name, "change": change.kind, "secret": change.spec.secret} | {
        side: {"value": plain_value(change.spec, item.value), "source": source_body(item.source)} for side, item in sides
    }


def _lines(changes: tuple[Change, ...], first: str, second: str) -> Iterator[str]:
    if not changes:
        yield f"# {first} and {second} mean the same"
        return
    yield f"# - {first}, + {second}: {len(changes)} key{'s differ' if len(changes) > 1 else ' differs'}"
    section = ""
    for change in changes:
        if change.spec.section != section:
            section = change.spec.section
            yield f"\n[{section}]"
        before, after = (change.spec.show(side.value) for side in (change.before, change.after))
        alike = " (different)" if before == after else ""
        yield from with_comment(f"- {change.spec.key} = {before}", str(change.before.source))
        yield from with_comment(f"+ {change.spec.key} = {after}", f"{change.after.source}{alike}")
