"""`rag config`: what the configuration is, where each value came from, and what is wrong with it."""

from __future__ import annotations

import json

import click

from .common import EXIT_USAGE, CommandContext, common_options
from .config_check import problems_of
from .config_diff import diff
from .config_explain import explain
from .config_init import init
from .config_view import head, listing, plain_value, source_body


@click.group(name="config")
def command() -> None:
    """Show, explain, compare, check and begin a configuration."""


command.add_command(explain)
command.add_command(diff)
command.add_command(init)


@command.command(short_help="Every key with its value and source.")
@click.option("--changed", is_flag=True, help="Leave out what is at its default.")
@common_options
def show(ctx: CommandContext, changed: bool) -> None:
    """Print every key with its value and source; secrets are hidden."""
    from ..infra.configuring.schema import specs_of, value_of

    settings = ctx.settings
    provenance = settings.provenance
    specs = [spec for spec in specs_of(settings) if spec.name in provenance.sources or not changed]
    if ctx.json:
        values: dict[str, dict[str, object]] = {}
        for spec in specs:
            values.setdefault(spec.section, {})[spec.key] = plain_value(spec, value_of(settings, spec))
        sources = {name: source_body(source) for name, source in provenance.sources.items()}
        ctx.emit({"files": provenance.files, "found_by": provenance.found_by, "secrets_dir": provenance.secrets_dir, "settings": values, "sources": sources})
        return
    click.echo("\n".join((*head(settings), *listing(settings, specs))))


@command.command(short_help="List everything that is wrong.")
@common_options
def validate(ctx: CommandContext) -> None:
    """List everything that is wrong with the configuration; exit code 2 where anything is."""
    from ..infra.settings import load

    loaded = load(list(ctx.config) or None)
    problems = problems_of(loaded)
    if ctx.json:
        ctx.emit({"ok": not problems, "files": loaded.files, "found_by": loaded.found_by, "problems": problems, "hint": loaded.hint})
    elif problems:
        for problem in problems:
            click.echo(problem)
        count = len(problems)
        click.secho(f"{count} problem{'s' * (count > 1)}. {loaded.hint}".rstrip(), fg="red", err=True)
    elif loaded.settings:
        click.echo("\n".join((*head(loaded.settings), "OK")))
    if problems:
        raise SystemExit(EXIT_USAGE)


@command.command(short_help="JSON Schema of YAML and JSON files.")
@common_options
def schema(ctx: CommandContext) -> None:
    """Print the JSON Schema (2020-12) of YAML and JSON configuration files."""
    from ..infra.configuring.json_schema import json_schema

    if ctx.json:
        ctx.emit(json_schema())
    else:
        click.echo(json.dumps(json_schema(), ensure_ascii=False, indent=2))
