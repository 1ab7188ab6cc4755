"""`rag config explain`: all about a key, a section, or everything that is set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from .common import CommandContext, common_options
from .config_view import UNSET, head, listing, plain_value, source_body, told, wrapped

if TYPE_CHECKING:
    from ..infra.config import Settings
    from ..infra.configuring.schema import FieldSpec

_INDENT = " " * 12


@click.command(short_help="All about a key, a section, or what is set.")
@click.argument("key", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every key, also those at their default.")
@common_options
def explain(ctx: CommandContext, key: tuple[str, ...], everything: bool) -> None:
    """Print all about one KEY (section.key), about a section, or about every key that is set.

    Value, type, default and meaning; where the value came from, and what it stands in place of; which modules read it.
    """
    from ..infra.configuring.names import normal_name, select
    from ..infra.configuring.schema import keys_of, specs_of

    wanted = " ".join(key).strip()
    if wanted and everything:
        raise click.UsageError("--all lists every key; give it without a KEY.")
    specs = select(wanted) if wanted else ()  # before the files are read, which may be wrong
    is_key = bool(wanted) and keys_of(normal_name(wanted)) is None
    settings = ctx.settings
    if not wanted:
        specs = tuple(spec for spec in specs_of(settings) if everything or spec.name in settings.provenance.sources)
    if ctx.json:
        bodies = [explained(settings, spec) for spec in specs]
        ctx.emit(bodies[0] if is_key else bodies)
    elif is_key:
        click.echo("\n".join(_explanation(settings, specs[0])))
    else:
        lines = listing(settings, specs, shadows=True, descriptions=bool(wanted))
        click.echo("\n".join((*head(settings), *(lines if specs else ("\nNothing is set: every key has its default.",)))))


def explained(settings: Settings, spec: FieldSpec) -> dict[str, object]:
    """All about a key, for JSON. Holds no secret."""
    from ..infra.configuring.readers import readers_of
    from ..infra.configuring.schema import value_of
    from ..infra.settings import source_of

    source = source_of(settings, spec.name)
    return {
        "key": spec.name,
        "value": plain_value(spec, value_of(settings, spec)),
        "type": spec.type_words,
        "optional": spec.optional,
        "secret": spec.secret,
        "default": plain_value(spec, spec.default),
        "allowed": spec.choices,
        "source": source_body(source),
        "shadowed": [source_body(item, value=True) for item in source.shadowed],
        "variable": spec.variable,
        "read_by": [reader.module for reader in readers_of(spec)],
        "description": spec.description,
    }


def _explanation(settings: Settings, spec: FieldSpec) -> Iterator[str]:
    from ..infra.configuring.readers import readers_of
    from ..infra.configuring.schema import shown
    from ..infra.settings import source_of

    source = source_of(settings, spec.name)
    value = shown(settings, spec).replace("\n", "\n    ")
    readers = [f"{reader.module}: {reader.about}".rstrip(": ") for reader in readers_of(spec)]
    yield f"{spec.name} = {value or UNSET}"
    yield from wrapped(spec.description, "  ")
    for label, text in (
        ("type", spec.type_words + (" (may be left empty)" if spec.optional else "")),
        ("default", spec.show(spec.default) or UNSET),
        ("source", str(source)),
        *(("shadows", told(item)) for item in source.shadowed),
        ("variable", spec.variable),
        *zip(("read by", *[""] * len(readers)), readers or ["no module"], strict=False),
    ):
        yield from wrapped(text, f"  {label:<10}", _INDENT)
