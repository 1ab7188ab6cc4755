"""`rag threads`: list, show and delete conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .ask import identity_of, identity_options
from .common import CommandContext, common_options, plain, printable

if TYPE_CHECKING:
    from ..core.chat import ThreadSummary, Turn
    from ..core.identity import Identity
    from ..infra.persistence.threads import ThreadPage


@click.group()
def command() -> None:
    """List, show and delete conversations."""


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="Conversations of one page.")
@click.option("--cursor", metavar="CURSOR", help="The page after the one that printed this cursor.")
@identity_options
@common_options
def list_(ctx: CommandContext, limit: int, cursor: str | None, tenant: str, user: str | None, groups: tuple[str, ...]) -> None:
    """Your conversations, the latest first."""
    page = ctx.run(_list(ctx, identity_of(ctx, tenant, user, groups), limit, cursor))
    if ctx.json:
        ctx.emit(page)
        return
    for thread in page.threads:
        click.echo(f"{thread.thread_id}  {thread.updated_at[:16].replace('T', ' ')}  {thread.turns:3}  {printable(thread.title)}")
    if page.next_cursor:
        click.echo(f"more: rag threads list --cursor {page.next_cursor}", err=True)


@command.command()
@click.argument("thread_id")
@identity_options
@common_options
def show(ctx: CommandContext, thread_id: str, tenant: str, user: str | None, groups: tuple[str, ...]) -> None:
    """Questions and answers of one conversation."""
    thread, turns = ctx.run(_show(ctx, identity_of(ctx, tenant, user, groups), thread_id))
    if ctx.json:
        ctx.emit({"thread_id": thread.thread_id, "title": thread.title, "turns": turns})
        return
    for turn in turns:
        click.secho(f"> {plain(turn.question)}", bold=True)
        click.echo(f"{plain(turn.answer)}\n")


@command.command()
@click.argument("thread_id")
@identity_options
@common_options
def delete(ctx: CommandContext, thread_id: str, tenant: str, user: str | None, groups: tuple[str, ...]) -> None:
    """Delete a conversation and everything that was kept of it."""
    ctx.run(_delete(ctx, identity_of(ctx, tenant, user, groups), thread_id))
    if ctx.json:
        ctx.emit({"deleted": thread_id})
    else:
        click.echo("deleted")


async def _list(ctx: CommandContext, identity: Identity, limit: int, cursor: str | None) -> ThreadPage:
    async with ctx.resources() as resources:
        page: ThreadPage = await resources.get("threads").list(identity, limit, cursor)
        return page


async def _show(ctx: CommandContext, identity: Identity, thread_id: str) -> tuple[ThreadSummary, tuple[Turn, ...]]:
    async with ctx.resources() as resources:
        threads = resources.get("threads")
        return await threads.get(thread_id, identity), await threads.history(thread_id, identity)


async def _delete(ctx: CommandContext, identity: Identity, thread_id: str) -> None:
    async with ctx.resources() as resources:
        await resources.get("threads").delete(thread_id, identity)
