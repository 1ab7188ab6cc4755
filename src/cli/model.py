"""`rag model`: the local embedding model."""

from __future__ import annotations

import time

import click

from .common import CommandContext, common_options


@click.group()
def command() -> None:
    """Prepare the local embedding model."""


@command.command()
@common_options
def prepare(ctx: CommandContext) -> None:
    """Build the int8 model from the installed package, once; print where it lies."""
    from ..infra.factories import cache_folder
    from ..infra.providers.minilm import MODEL, is_prepared, model_folder, prepare_model

    folder = cache_folder(ctx.settings)
    ready = is_prepared(model_folder(folder))
    if not ready:
        click.echo(f"Preparing {MODEL} ...", err=True)
    start = time.perf_counter()
    path = prepare_model(folder)
    seconds = time.perf_counter() - start
    if not ready:
        click.echo(f"Prepared in {seconds:.1f} s.", err=True)
    if ctx.json:
        ctx.emit({"model": MODEL, "path": str(path), "built": not ready, "seconds": round(seconds, 3)})
    else:
        click.echo(str(path))
