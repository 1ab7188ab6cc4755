"""`rag threads`: list, show, rename, fork, export and delete conversations; retention, and erasing a user."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .ask import identity_of, identity_options
from .common import CommandContext, common_options, plain, printable

if TYPE_CHECKING:
    from ..core.chat import ThreadSummary, Turn
    from ..core.identity import Identity
    from ..infra.persistence.retention import ErasureReport, Retention, RetentionReport
    from ..infra.persistence.threads import ThreadExport, ThreadPage
    from ..infra.resource_manager import ResourceManager


@click.group()
def command() -> None:
    """Conversations: your own, and for whoever runs the deployment `retain` and `erase`."""


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="Conversations of one page.")
@click.option("--cursor", metavar="CURSOR", help="The page after the one that printed this cursor.")
@click.option("--title", metavar="WORDS", default="", help="Only those whose titles have all these words.")
@identity_options
@common_options
def list_(ctx: CommandContext, limit: int, cursor: str | None, title: str, tenant: str, user: str | None, groups: tuple[str, ...]) -> None:
    """Your conversations, the latest first."""
    page = ctx.run(_list(ctx, identity_of(ctx, tenant, user, groups), limit, cursor, title))
    if ctx.json:
        ctx.emit(page)
        return
    for thread in page.threads:
        click.echo(f"{thread.thread_id}  {thread.updated_at[:16].replace('T', ' ')}  {thread.turns:3}  {printable(thread.title)}")
    if page.next_cursor:
        narrowed = f" --title {shlex.quote(title)}" if title else ""
        click.echo(f"more: rag threads list{narrowed} --cursor {page.next_cursor}", err=True)


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
@click.argument("title")
@identity_options
@common_options
def rename(ctx: CommandContext, thread_id: str, title: str, tenant: str, user: str | None, groups: tuple[str, ...]) -> None:
    """Give one conversation another title."""
    _tell(ctx, ctx.run(_of_threads(ctx, "rename", thread_id, identity_of(ctx, tenant, user, groups), title)))


@command.command()
@click.argument("thread_id")
@click.option("--until", metavar="MESSAGE_ID", help="The last turn that the new conversation has; all of them without it.")
@identity_options
@common_options
def fork(ctx: CommandContext, thread_id: str, until: str | None, tenant: str, user: str | None, groups: tuple[str, ...]) -> None:
    """A new conversation that begins with the turns of another."""
    _tell(ctx, ctx.run(_of_threads(ctx, "fork", thread_id, identity_of(ctx, tenant, user, groups), until)))


@command.command()
@click.argument("thread_id")
@identity_options
@common_options
def export(ctx: CommandContext, thread_id: str, tenant: str, user: str | None, groups: tuple[str, ...]) -> None:
    """One conversation with all its turns and citations, as JSON."""
    found: ThreadExport = ctx.run(_of_threads(ctx, "export", thread_id, identity_of(ctx, tenant, user, groups)))
    document = {**asdict(found.thread), "history": [asdict(turn) for turn in found.turns]}
    if ctx.json:
        ctx.emit(document)
    else:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))


@command.command()
@click.option("--days", type=click.FloatRange(0), help="Delete what was not used for so long; else [persistence] retention_days.")
@click.option("--keep", type=click.IntRange(0), help="Delete all but so many of each tenant's latest; else [persistence] retention_threads.")
@click.option("--tenant", help="One tenant's conversations alone.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@common_options
def retain(ctx: CommandContext, days: float | None, keep: int | None, tenant: str | None, dry_run: bool) -> None:
    """Delete old conversations of all users, and of the others the steps that no turn needs.

    Threads of your own LangGraph graphs, which ran with a config of create_langgraph_config, are counted by themselves.
    """
    report = ctx.run(_retain(ctx, days, keep, tenant, dry_run))
    if ctx.json:
        ctx.emit(report)
        return
    verb = "would be " if dry_run else ""
    click.echo(f"{_number(report.deleted, 'conversation')} {verb}deleted, {report.pruned} {verb}pruned")
    if report.graph_deleted or report.graph_pruned:
        click.echo(f"{_number(report.graph_deleted, 'thread')} of other graphs {verb}deleted, {report.graph_pruned} {verb}pruned")
    click.echo(f"{report.bytes_before:,} bytes before, {report.bytes_after:,} after" if not dry_run else f"{report.bytes_before:,} bytes used")


@command.command()
@click.option("--user", required=True, help="Whose conversations and stored entries go.")
@click.option("--tenant", required=True, help="The user's tenant.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def erase(ctx: CommandContext, user: str, tenant: str, yes: bool) -> None:
    """Erase all that is kept of a user but the documents they uploaded; nothing brings it back."""
    if not yes:
        click.confirm(f"Erase all conversations of {printable(user)} ({printable(tenant)})?", abort=True, err=True)
    report = ctx.run(_erase(ctx, tenant, user))
    if ctx.json:
        ctx.emit(report)
    else:
        entries = _number(report.entries, "stored entry", "stored entries")
        click.echo(f"{_number(report.threads, 'conversation')}, {_number(report.runs, 'other run')} and {entries} erased")


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


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _tell(ctx: CommandContext, thread: ThreadSummary) -> None:
    if ctx.json:
        ctx.emit(thread)
    else:
        click.echo(f"{thread.thread_id}  {thread.turns:3}  {printable(thread.title)}")


async def _of_threads(ctx: CommandContext, method: str, *arguments: object) -> Any:
    async with ctx.resources() as resources:
        return await getattr(resources.get("threads"), method)(*arguments)


async def _retain(ctx: CommandContext, days: float | None, keep: int | None, tenant: str | None, dry_run: bool) -> RetentionReport:
    async with ctx.resources() as resources:
        return await _retention(resources).apply(tenant=tenant, days=days, keep=keep, dry_run=dry_run)


async def _erase(ctx: CommandContext, tenant: str, user: str) -> ErasureReport:
    async with ctx.resources() as resources:
        return await _retention(resources).erase(tenant, user)


def _retention(resources: ResourceManager) -> Retention:
    from ..infra.persistence.retention import Retention

    return Retention(resources.get("threads"), resources.store, resources.settings.persistence)


async def _list(ctx: CommandContext, identity: Identity, limit: int, cursor: str | None, title: str) -> ThreadPage:
    async with ctx.resources() as resources:
        page: ThreadPage = await resources.get("threads").list(identity, limit, cursor, title)
        return page


async def _show(ctx: CommandContext, identity: Identity, thread_id: str) -> tuple[ThreadSummary, tuple[Turn, ...]]:
    async with ctx.resources() as resources:
        threads = resources.get("threads")
        return await threads.get(thread_id, identity), await threads.history(thread_id, identity)


async def _delete(ctx: CommandContext, identity: Identity, thread_id: str) -> None:
    async with ctx.resources() as resources:
        await resources.get("threads").delete(thread_id, identity)
