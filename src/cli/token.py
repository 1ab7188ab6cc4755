"""`rag token`: bearer tokens for `auth = tokens`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import CommandContext, common_options

if TYPE_CHECKING:
    from pathlib import Path

    from ..core.identity import Identity


@click.group("token")
def command() -> None:
    """Create bearer tokens for the API."""


@command.command("create")
@common_options
@click.option("--user", required=True, help="Whom the token stands for.")
@click.option("--tenant", default="default", show_default=True, help="The user's tenant.")
@click.option("--group", "groups", multiple=True, help="A group of the user; may be repeated.")
def create(context: CommandContext, user: str, tenant: str, groups: tuple[str, ...]) -> None:
    """Create a token, print it once, and add its hash to `[api] tokens_file`. A running server takes it at once."""
    import secrets

    from ..core.identity import Identity
    from ..errors import ConfigurationError

    path = context.settings.api.tokens_file
    if path is None:
        raise ConfigurationError("There is no file to add the token to.", setting="api.tokens_file", hint="Set it in [api], together with `auth = tokens`.")
    if not user.strip() or not tenant.strip():
        raise click.UsageError("--user and --tenant must not be empty.")
    token = f"rag_{secrets.token_urlsafe(32)}"
    context.run(_record(context, user, tenant))
    add_token(path, token, Identity(user, tenant, groups))
    if context.json:
        context.emit({"token": token, "user": user, "tenant": tenant, "groups": groups, "tokens_file": path})
        return
    click.echo(token)
    click.echo(f"This token of {user} ({tenant}) is shown only now; {path} keeps its hash.", err=True)
    if context.settings.api.auth != "tokens":
        click.echo("Set `auth = tokens` in [api] for the server to ask for tokens.", err=True)


async def _record(context: CommandContext, user: str, tenant: str) -> None:
    """Before the token is made: one that cannot be recorded is not."""
    from ..telemetry.audit import AuditEvent

    if context.settings.audit.enabled:
        async with context.resources() as resources:
            await resources.get("audit").record(AuditEvent("token.create", tenant=tenant, facts={"subject": user}))


def add_token(path: Path, token: str, identity: Identity) -> None:
    """Add a token's hash to the file: whole or not at all, readable by its owner only, one writer at a time."""
    import fcntl
    import os
    import tempfile

    from ..api.auth import dump_tokens, hash_token, read_tokens
    from ..errors import ConfigurationError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = read_tokens(path) if path.exists() else {}
            text = dump_tokens({**known, hash_token(token): identity})
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:  # mode 0600
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, path)  # noqa: PTH105 - one call for both names, as the temporary one is a string
    except OSError as error:
        raise ConfigurationError(f"The tokens file {path} cannot be written: {error.strerror}.", setting="api.tokens_file") from error
