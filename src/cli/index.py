"""`rag index`: the index as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import CommandContext, common_options

if TYPE_CHECKING:
    from ..infra.search.protocol import IndexInfo


@click.group(name="index")
def command() -> None:
    """Show the index."""


@command.command()
@common_options
def info(ctx: CommandContext) -> None:
    """Count documents and chunks, and what each view holds of them."""
    found = ctx.run(_info(ctx))
    if ctx.json:
        ctx.emit(found)
        return
    views = ", ".join(f"{name} {count:,}" for name, count in found.views.items())
    click.echo(f"documents  {found.documents:,}\nchunks     {found.chunks:,}\nviews      {views}")
    click.echo(f"engine     {found.engine}\nembedder   {found.embedder}\nversion    {found.version}")


async def _info(ctx: CommandContext) -> IndexInfo:
    async with ctx.resources() as resources:
        return await resources.search.info()
