"""`rag health`: how the parts stand, here or of a server that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .common import EXIT_FAILED, CommandContext, common_options, plain

if TYPE_CHECKING:
    import httpx2

COLORS = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}


@click.command("health")
@click.option("--url", help="Ask this server, as http://127.0.0.1:8000, instead of the parts themselves; `[api] token` is sent where it is set.")
@common_options
def command(ctx: CommandContext, url: str | None) -> None:
    """Show how each part stands; exit code 1 where questions cannot be answered.

    Without --url the parts of this configuration are looked at from here, each once: the index is opened, the model that
    embeds questions is loaded or called.
    """
    found = ctx.run(_of_server(ctx, url) if url else _of_parts(ctx))
    if ctx.json:
        ctx.emit(found)
    else:
        show(found)
    if found["status"] not in ("healthy", "degraded"):
        raise SystemExit(EXIT_FAILED)


def show(found: dict[str, Any]) -> None:
    """One line for each component."""
    for name, one in found["components"].items():
        word = click.style(f"{one['status']:<9}", fg=COLORS.get(one["status"]))
        notes = [one.get("message", ""), "" if one["required"] else "not required for answers"]
        told = "; ".join(note for note in notes if note) if one["status"] != "healthy" else one.get("message", "")
        click.echo(f"{word}  {name:<18} {one['latency_ms']:>9.1f} ms  {plain(told)}".rstrip())
    click.secho(found["status"], bold=True, fg=COLORS.get(found["status"]))


async def _of_parts(ctx: CommandContext) -> dict[str, Any]:
    async with ctx.resources() as resources:
        return (await resources.health.check_all()).shape(messages=True)


async def _of_server(ctx: CommandContext, url: str) -> dict[str, Any]:
    """
    Raises:
        UnreachableError: nobody answers there.
        ForeignServiceError: what answers is no server of ours.
    """
    import httpx2

    from ..errors import InputError, UnreachableError
    from ..infra.config.section import has_form, without_query_values
    from ..infra.http_transport import PolicyTransport

    if not has_form(url, ("http", "https")) or "@" in url:
        raise InputError("--url is no address without user and password.", hint="Write it as http://127.0.0.1:8000.")
    timeout_s = ctx.settings.health.timeout_s + 2  # the server's own checks take up to that
    async with ctx.resources() as resources:
        token = ctx.settings.api.token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        try:
            async with httpx2.AsyncClient(transport=PolicyTransport(resources.network, timeout_s, timeout_s)) as client:
                answer = await client.get(f"{url.rstrip('/')}/health", headers=headers)
        except httpx2.HTTPError as error:
            hint = "Is it running there? `rag serve` says its address."
            raise UnreachableError(f"The server did not answer: {type(error).__name__}.", hop=without_query_values(url), hint=hint) from None
        return _shape_of(answer, url)


def _shape_of(answer: httpx2.Response, url: str) -> dict[str, Any]:
    from ..errors import ForeignServiceError

    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("components"), dict) or not isinstance(found.get("status"), str):
        raise ForeignServiceError(f"What answers there (HTTP {answer.status_code}) is no server of ours.", hop=url, hint="Name the address of `rag serve`.")
    return found
