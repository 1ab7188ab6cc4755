"""`rag chat`: a conversation on the terminal."""

from __future__ import annotations

import io
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from ..errors import ConfigurationError, InputError, RagError
from .ask import as_json, identity_of, identity_options, print_sources
from .common import EMPTY_INDEX, EXIT_FAILED, CommandContext, common_options, is_empty, plain, printable, report_error, require_utf8

if TYPE_CHECKING:
    from ..core.chat import Answer, ChatEvent
    from ..core.identity import Identity
    from ..infra.persistence.threads import ThreadService
    from ..infra.resource_manager import ResourceManager

HELP = "/new begins a new conversation, /threads lists yours, /quit (or Ctrl-D) leaves."


@click.command()
@click.option("--thread", "thread_id", metavar="ID", help="Go on with this conversation.")
@identity_options
@common_options
def command(ctx: CommandContext, thread_id: str | None, tenant: str, user: str | None, groups: tuple[str, ...]) -> None:
    """Ask and follow up; sentences appear as soon as their citations are checked.

    Questions may also come from a pipe, one a line; the exit code is then 1 where any was not answered. With --json each
    answer is one line, and each error one on standard error.
    """
    if sys.stdin is None:
        raise InputError("Standard input is closed, so there are no questions.", hint="`rag ask` takes a question as its argument.")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a line that is not UTF-8 fails as a turn, not as a read
    failed = ctx.run(_converse(ctx, identity_of(ctx, tenant, user, groups), thread_id))
    if failed and not sys.stdin.isatty():
        raise SystemExit(EXIT_FAILED)


async def _converse(ctx: CommandContext, identity: Identity, thread_id: str | None) -> int:
    """Talk until the input ends; the number of turns that failed."""
    talking = sys.stdin.isatty() and not ctx.json
    failed = 0
    if talking:
        click.secho(HELP, dim=True)
    async with ctx.resources() as resources:
        while (line := _read(talking)) is not None:
            if line == "/quit":
                break
            if line == "/new":
                thread_id = None
            elif line == "/threads":
                await _list(ctx, resources.get("threads"), identity)
            elif line.startswith("/"):
                click.echo(HELP, err=True)
            elif line:
                answered = await _turn(ctx, resources, line, thread_id, identity)
                failed += answered is None
                thread_id = answered or thread_id
    return failed


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


async def _turn(ctx: CommandContext, resources: ResourceManager, question: str, thread_id: str | None, identity: Identity) -> str | None:
    """Answer one question and return its thread; a failure is shown, gives None, and the conversation goes on."""
    from ..core.chat import ChatRequest, DoneEvent

    answered = None
    try:
        request = ChatRequest(require_utf8(question, "The question"), thread_id)
        async with aclosing(resources.get("agent").stream(request, identity)) as events:
            async for event in events:
                _show(ctx, event)
                if isinstance(event, DoneEvent):
                    answered = event.answer
        if answered is not None and answered.refused and not ctx.json and await is_empty(resources):
            click.echo(EMPTY_INDEX, err=True)
    except ConfigurationError:
        raise
    except RagError as error:
        report_error(ctx.placed(error), ctx.json)
    return answered.thread_id if answered is not None else None


def _show(ctx: CommandContext, event: ChatEvent) -> None:
    from ..core.chat import DoneEvent, TokenEvent

    if isinstance(event, DoneEvent):
        _show_end(ctx, event.answer)
    elif isinstance(event, TokenEvent) and not ctx.json:
        click.echo(plain(event.text), nl=False)


def _show_end(ctx: CommandContext, answer: Answer) -> None:
    if ctx.json:
        ctx.emit(as_json(answer))
        return
    click.echo()
    print_sources(answer)
    click.echo()


async def _list(ctx: CommandContext, threads: ThreadService, identity: Identity) -> None:
    page = await threads.list(identity)
    if ctx.json:
        ctx.emit(page)
        return
    for thread in page.threads:
        click.echo(f"{thread.thread_id}  {thread.updated_at[:16].replace('T', ' ')}  {thread.turns:3}  {printable(thread.title)}")
