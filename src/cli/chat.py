"""`rag chat`: a conversation on the terminal."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from ..errors import ConfigurationError, RagError
from .ask import as_json, identity_of, identity_options, print_sources
from .common import CommandContext, common_options

if TYPE_CHECKING:
    from ..agent.runtime import Agent
    from ..core.identity import Identity
    from ..infra.persistence.threads import ThreadService

HELP = "/new begins a new conversation, /threads lists yours, /quit (or Ctrl-D) leaves."


@click.command()
@click.option("--thread", "thread_id", metavar="ID", help="Go on with this conversation.")
@identity_options
@common_options
def command(ctx: CommandContext, thread_id: str | None, tenant: str, user: str | None, groups: tuple[str, ...]) -> None:
    """Ask and follow up; sentences appear as soon as their citations are checked.

    Questions may also come from a pipe, one a line. With --json each answer is one line.
    """
    ctx.run(_converse(ctx, identity_of(ctx, tenant, user, groups), thread_id))


async def _converse(ctx: CommandContext, identity: Identity, thread_id: str | None) -> None:
    talking = sys.stdin.isatty() and not ctx.json
    if talking:
        click.secho(HELP, dim=True)
    async with ctx.resources() as resources:
        agent, threads = resources.get("agent"), resources.get("threads")
        while (line := _read(talking)) is not None:
            if line == "/quit":
                return
            if line == "/new":
                thread_id = None
            elif line == "/threads":
                await _list(ctx, threads, identity)
            elif line.startswith("/"):
                click.echo(HELP, err=True)
            elif line:
                thread_id = await _turn(ctx, agent, line, thread_id, identity)


def _read(talking: bool) -> str | None:
    """The next line, None at the end of input."""
    if talking:
        click.echo("> ", nl=False)
    line = sys.stdin.readline()
    if not line:
        if talking:
            click.echo()
        return None
    return line.strip()


async def _turn(ctx: CommandContext, agent: Agent, question: str, thread_id: str | None, identity: Identity) -> str | None:
    """Answer one question and return its thread; a failure is shown and the conversation goes on."""
    from ..core.chat import ChatRequest, DoneEvent, TokenEvent

    try:
        async with aclosing(agent.stream(ChatRequest(question, thread_id), identity)) as events:
            async for event in events:
                if isinstance(event, TokenEvent) and not ctx.json:
                    click.echo(event.text, nl=False)
                elif isinstance(event, DoneEvent):
                    thread_id = event.answer.thread_id
                    if ctx.json:
                        ctx.emit(as_json(event.answer))
                        continue
                    click.echo()
                    print_sources(event.answer)
                    click.echo()
    except ConfigurationError:
        raise
    except RagError as error:
        click.secho(f"error: {error}", fg="red", err=True)
    return thread_id


async def _list(ctx: CommandContext, threads: ThreadService, identity: Identity) -> None:
    page = await threads.list(identity)
    if ctx.json:
        ctx.emit(page)
        return
    for thread in page.threads:
        click.echo(f"{thread.thread_id}  {thread.updated_at[:16].replace('T', ' ')}  {thread.turns:3}  {thread.title}")
