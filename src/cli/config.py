"""`rag config`: what the configuration is, where each value came from, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import EXIT_USAGE, CommandContext, common_options, to_json

if TYPE_CHECKING:
    from ..errors import Problem
    from ..infra.config import Settings
    from ..infra.provenance import Source
    from ..infra.settings_schema import FieldSpec


@click.group(name="config")
def command() -> None:
    """Show, explain and validate the configuration."""


@command.command()
@click.option("--changed", is_flag=True, help="Leave out what is at its default.")
@common_options
def show(ctx: CommandContext, changed: bool) -> None:
    """Print every key with its value and source; secrets are hidden."""
    from ..infra.settings_schema import specs_of, value_of

    settings = ctx.settings
    provenance = settings.provenance
    if ctx.json:
        keys = [spec for spec in specs_of(settings) if spec.name in provenance.sources or not changed]
        values: dict[str, dict[str, object]] = {}
        for spec in keys:
            values.setdefault(spec.section, {})[spec.key] = _plain(value_of(settings, spec))
        sources = {name: _source_body(source) for name, source in provenance.sources.items()}
        ctx.emit({"files": provenance.files, "found_by": provenance.found_by, "secrets_dir": provenance.secrets_dir, "settings": values, "sources": sources})
        return
    click.echo(_files_line(provenance.files, provenance.found_by))
    if provenance.secrets_dir:
        click.echo(f"# secret files: {provenance.secrets_dir}")
    for line in _table(settings, changed):
        click.echo(line)


@command.command()
@click.argument("key")
@common_options
def explain(ctx: CommandContext, key: str) -> None:
    """Print all about one KEY, written section.key."""
    from ..infra.config import Settings
    from ..infra.settings import source_of
    from ..infra.settings_schema import find, value_of

    spec = find(key)
    if spec is None:
        source_of(Settings(), key)  # raises, and names the nearest key, also where the files are wrong
        return
    source = source_of(ctx.settings, key)
    body = {
        "key": key,
        "value": _plain(value_of(ctx.settings, spec)),
        "type": spec.type_words,
        "optional": spec.optional,
        "secret": spec.secret,
        "default": _plain(spec.default),
        "allowed": spec.choices,
        "source": _source_body(source),
        "shadowed": [_source_body(item) for item in source.shadowed],
        "variable": spec.variable,
        "description": spec.description,
    }
    if ctx.json:
        ctx.emit(body)
    else:
        click.echo("\n".join(_explanation(ctx.settings, spec, source)))


@command.command()
@common_options
def validate(ctx: CommandContext) -> None:
    """List everything that is wrong with the configuration; exit code 2 where anything is."""
    from ..infra.settings import load

    loaded = load(list(ctx.config) or None)
    problems = (*loaded.problems, *_rule_problems(loaded.settings))
    if ctx.json:
        ctx.emit({"ok": not problems, "files": loaded.files, "found_by": loaded.found_by, "problems": problems, "hint": loaded.hint})
    elif problems:
        for problem in problems:
            click.echo(problem)
        count = len(problems)
        click.secho(f"{count} problem{'s' * (count > 1)}. {loaded.hint}".rstrip(), fg="red", err=True)
    else:
        click.echo(_files_line(loaded.files, loaded.found_by))
        click.echo("OK")
    if problems:
        raise SystemExit(EXIT_USAGE)


def _rule_problems(settings: Settings | None) -> tuple[Problem, ...]:
    """What is wrong with the intent rules, each at the place that sets it."""
    from ..errors import InvalidSettingsError
    from ..infra.provenance import DEFAULT
    from ..retrieval.intents import compile_rules

    if settings is None:
        return ()
    try:
        compile_rules(settings.intents)
    except InvalidSettingsError as error:
        sources = [settings.provenance.sources.get(problem.key, DEFAULT) for problem in error.problems]
        placed = zip(error.problems, sources, strict=True)
        return tuple(problem if source is DEFAULT else replace(problem, where=source.where, line=source.line) for problem, source in placed)
    return ()


def _plain(value: object) -> object:
    """The value for JSON: numbers, truth values and lists as they are, all else as `display` shows it."""
    from ..infra.settings_schema import display

    if value is None or isinstance(value, bool | int | float):
        return value
    return [display(item) for item in value] if isinstance(value, tuple) else display(value)


def _source_body(source: Source) -> object:
    body = to_json(source)
    return {key: item for key, item in body.items() if key != "shadowed" and item not in ([], None)}


def _files_line(files: tuple[Path, ...], found_by: str) -> str:
    return f"# files: {', '.join(map(str, files)) or 'none'} ({found_by})"


def _table(settings: Settings, changed: bool) -> Iterator[str]:
    from ..infra.settings import source_of
    from ..infra.settings_schema import shown, specs_of

    section = ""
    for spec in specs_of(settings):
        source = source_of(settings, spec.name)
        if changed and source.kind == "default":
            continue
        if spec.section != section:
            section = spec.section
            yield f"\n[{section}]"
        text = f"{spec.key} = {shown(settings, spec)}".replace("\n", "\n    ")
        yield f"{text:<56}  # {source}"


def _explanation(settings: Settings, spec: FieldSpec, source: Source) -> Iterator[str]:
    from ..infra.settings_schema import display, shown

    yield f"{spec.name} = {shown(settings, spec)}".replace("\n", "\n    ")
    yield f"  {spec.description}"
    yield f"  type      {spec.type_words}{' (may be left empty)' if spec.optional else ''}"
    yield f"  default   {display(spec.default) or '(unset)'}"
    if spec.choices:
        yield f"  allowed   {', '.join(spec.choices)}"
    yield f"  source    {source}"
    for item in source.shadowed:
        yield f"  shadows   {item}"
    yield f"  variable  {spec.variable}"
