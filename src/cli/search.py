"""`rag search`: search the index."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from ..core.identity import DEFAULT_TENANT
from .common import EMPTY_INDEX, CommandContext, common_options, is_empty, plain, printable

if TYPE_CHECKING:
    from ..core.identity import AccessScope
    from ..core.search import Hit, Intent, Mode, SearchResult

SNIPPET_CHARS = 300


@click.command()
@click.argument("query", nargs=-1, required=True)
@click.option("--mode", type=click.Choice(["bm25", "knn", "hybrid"]), help="By words, by meaning, or both; default: that of [retrieval].")
@click.option("--top-k", type=click.IntRange(1, 1000), help="Hits; default: that of [retrieval].")
@click.option("--filter", "filters", multiple=True, metavar="FILTER", help="field=value, field=a,b, field>=3, field or !field; may be repeated, all must hold.")
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Tenant whose documents are searched.")
@click.option("--user", help="Search as this user; default: the local one.")
@click.option("--group", "groups", multiple=True, help="Search as a member of this group; may be repeated.")
@common_options
def command(
    ctx: CommandContext,
    query: tuple[str, ...],
    mode: Mode | None,
    top_k: int | None,
    filters: tuple[str, ...],
    tenant: str,
    user: str | None,
    groups: tuple[str, ...],
) -> None:
    """Search the index; the words of QUERY need no quotes.

    Filters ask for fields of a document (title, source, content_type, document_id, page, section) or of its metadata.
    """
    from ..core.identity import Identity, access_scope
    from ..infra.persistence.user_context import LOCAL_USER

    identity = Identity(user or ctx.settings.environment.jpmc_user_sid or LOCAL_USER, tenant, groups)
    result, empty = ctx.run(_search(ctx, " ".join(query), access_scope(identity), {"mode": mode, "top_k": top_k}, filters))
    if ctx.json:
        ctx.emit(as_json(result))
        return
    for reason in result.degraded:
        click.secho(f"degraded: {reason}", fg="yellow", err=True)
    if result.intent:
        click.secho(intent_line(result.intent), fg="cyan", err=True)
    for place, hit in enumerate(result.hits, start=1):
        click.echo(as_text(place, hit))
    if not result.hits:
        click.echo(EMPTY_INDEX if empty else "Nothing found.", err=True)


async def _search(ctx: CommandContext, query: str, scope: AccessScope, options: dict[str, Any], filters: tuple[str, ...]) -> tuple[SearchResult, bool]:
    """The result, and whether the index holds nothing at all."""
    from ..retrieval.filters import parse_filter_args

    parsed = parse_filter_args(filters)
    async with ctx.resources() as resources:
        result: SearchResult = await resources.get("retriever").search(query, scope, filters=parsed, **options)
        return result, not result.hits and await is_empty(resources)


def as_json(result: SearchResult) -> dict[str, Any]:
    """The answer of `POST /v1/search`."""
    return {
        "hits": [_hit(hit) for hit in result.hits],
        "mode": result.mode,
        "degraded": list(result.degraded),
        "took_ms": round(result.took_ms, 3),
        **({"next_cursor": result.next_cursor} if result.next_cursor else {}),
        **({"intent": _intent(result.intent)} if result.intent else {}),
    }


def _intent(intent: Intent) -> dict[str, Any]:
    optional = {"mode": intent.mode} if intent.mode else {}
    rest = {"filters": list(intent.filters), "boosts": list(intent.boosts), "boosted": intent.boosted}
    return {"name": intent.name, "matched": intent.matched, "fit": intent.fit, **optional, **rest}


def intent_line(intent: Intent) -> str:
    """Which rule a question fell under and what it changed, for a terminal."""
    changes = [f"mode {intent.mode}" if intent.mode else "", *(f"only {line}" for line in intent.filters), *(f"prefers {line}" for line in intent.boosts)]
    return f"intent: {intent.name} ({printable(intent.matched)}): {', '.join(printable(change) for change in changes if change) or 'nothing changed'}"


def _hit(hit: Hit) -> dict[str, Any]:
    optional = {"page": hit.page, "section": hit.section or None}
    return {
        "chunk_id": hit.chunk_id,
        "document_id": hit.document_id,
        "title": hit.title,
        "text": hit.text,
        "source": hit.source,
        **{key: value for key, value in optional.items() if value is not None},
        "score": hit.score,
        "legs": dict(hit.legs),
        **({"rerank": dataclasses.asdict(hit.rerank)} if hit.rerank else {}),
    }


def as_text(place: int, hit: Hit) -> str:
    """One hit for a terminal: where it stands, how it scored, how it begins."""
    page = f"page {hit.page}" if hit.page is not None else ""
    where = " · ".join(part for part in (printable(hit.title or hit.source), page, printable(hit.section)) if part)
    legs = ", ".join(f"{name} {score:.3f}" for name, score in hit.legs.items())
    legs += f"; reranked {hit.rerank.score:.3f} from place {hit.rerank.place}, {hit.rerank.fused:.3f}" if hit.rerank else ""
    snippet = plain(" ".join(hit.text.split()))
    snippet = snippet if len(snippet) <= SNIPPET_CHARS else f"{snippet[:SNIPPET_CHARS].rsplit(' ', 1)[0]} …"
    return f"{place:>3}. {click.style(where, bold=True)}\n     {hit.score:.3f} ({legs})  {printable(hit.source)}\n     {snippet}\n"
