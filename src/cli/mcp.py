"""`rag mcp`: the MCP server on standard input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..core.identity import DEFAULT_TENANT
from .common import CommandContext, common_options

if TYPE_CHECKING:
    from ..core.identity import Identity


@click.command()
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Tenant whose documents are served.")
@click.option("--user", help="Serve as this user; default: the local one.")
@click.option("--group", "groups", multiple=True, help="Serve as a member of this group; may be repeated.")
@common_options
def command(ctx: CommandContext, tenant: str, user: str | None, groups: tuple[str, ...]) -> None:
    """Serve search, ask and fetch to an MCP client that starts this command, until it closes standard input.

    Over HTTP the same is at /mcp of `rag serve`.
    """
    from ..core.identity import Identity
    from ..infra.persistence.user_context import LOCAL_USER

    identity = Identity(user or ctx.settings.environment.jpmc_user_sid or LOCAL_USER, tenant, groups)
    ctx.run(_serve(ctx, identity))


async def _serve(ctx: CommandContext, identity: Identity) -> None:
    from ..integrations.mcp.stdio import serve_stdio

    async with ctx.resources() as resources:
        await serve_stdio(resources, identity)
