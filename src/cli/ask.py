"""`rag ask`: one question, answered with citations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..core.identity import DEFAULT_TENANT
from .common import EMPTY_INDEX, CommandContext, common_options, is_empty, plain, printable, to_json

if TYPE_CHECKING:
    from ..core.chat import Answer, ChatRequest, Citation
    from ..core.identity import Identity
    from ..core.search import Mode

T = TypeVar("T")

QUOTE_CHARS = 400


def identity_options(command: Callable[..., T]) -> Callable[..., T]:
    """Add ``--tenant``, ``--user`` and ``--group``: whose documents and conversations."""
    command = click.option("--group", "groups", multiple=True, help="As a member of this group; may be repeated.")(command)
    command = click.option("--user", help="As this user; default: the local one.")(command)
    return click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Tenant whose documents are asked.")(command)


def identity_of(ctx: CommandContext, tenant: str, user: str | None, groups: tuple[str, ...]) -> Identity:
    """The local user, or the one that the options name."""
    from ..core.identity import Identity
    from ..infra.persistence.user_context import LOCAL_USER

    return Identity(user or ctx.settings.environment.jpmc_user_sid or LOCAL_USER, tenant, groups)


@click.command()
@click.argument("question", nargs=-1, required=True)
@click.option("--thread", "thread_id", metavar="ID", help="Follow up in this conversation; see `rag threads list`.")
@click.option("--mode", type=click.Choice(["bm25", "knn", "hybrid"]), help="Search by words, by meaning, or both; default: that of [retrieval].")
@click.option("--filter", "filters", multiple=True, metavar="FILTER", help="field=value, field=a,b, field>=3, field or !field; may be repeated, all must hold.")
@identity_options
@common_options
def command(
    ctx: CommandContext,
    question: tuple[str, ...],
    thread_id: str | None,
    mode: Mode | None,
    filters: tuple[str, ...],
    tenant: str,
    user: str | None,
    groups: tuple[str, ...],
) -> None:
    """Answer QUESTION from the documents; its words need no quotes.

    An answer marks each claim with [n]; the quotes that stand behind the numbers follow. Where the documents do not hold
    the answer, it says so; that is no failure.
    """
    from ..core.chat import ChatRequest
    from ..retrieval.filters import parse_filter_args

    identity = identity_of(ctx, tenant, user, groups)
    answer, empty = ctx.run(_ask(ctx, ChatRequest(" ".join(question), thread_id, mode, parse_filter_args(filters)), identity))
    if ctx.json:
        ctx.emit(as_json(answer))
        return
    click.echo(plain(answer.answer))
    print_sources(answer)
    if empty:
        click.echo(EMPTY_INDEX, err=True)
    click.secho(f"\nthread {answer.thread_id}", dim=True, err=True)


async def _ask(ctx: CommandContext, request: ChatRequest, identity: Identity) -> tuple[Answer, bool]:
    """The answer, and whether it is a refusal because the index holds nothing at all."""
    async with ctx.resources() as resources:
        answer: Answer = await resources.get("agent").ask(request, identity)
        return answer, answer.refused and await is_empty(resources)


def as_json(answer: Answer) -> dict[str, Any]:
    """The response of `POST /v1/chat`."""
    body: dict[str, Any] = to_json(answer)
    for citation in body["citations"]:
        if not citation["section"]:
            del citation["section"]
    return body


def print_sources(answer: Answer) -> None:
    """The numbered citations of an answer, and why it is less than asked for, if it is."""
    for citation in answer.citations:
        click.echo()
        click.secho(_place(citation), bold=True)
        click.echo(f"    {printable(citation.source)}")
        click.echo(f"    “{_short(citation.quote)}”")
    for reason in answer.degraded:
        click.secho(f"degraded: {reason}", fg="yellow", err=True)


def _place(citation: Citation) -> str:
    section = "" if citation.section == citation.title else citation.section
    parts = [citation.title, section, f"page {citation.page}" if citation.page is not None else ""]
    return f"[{citation.n}] {' · '.join(printable(part) for part in parts if part)}"


def _short(quote: str) -> str:
    line = plain(" ".join(quote.split()))
    return line if len(line) <= QUOTE_CHARS else f"{line[: QUOTE_CHARS - 1]}…"
