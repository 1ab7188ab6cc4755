"""`rag doctor`: what works and what does not, hop by hop, and how to mend it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from .common import EXIT_FAILED, CommandContext, common_options, plain

if TYPE_CHECKING:
    from ..infra.doctor import Report


@click.command("doctor")
@click.option("--hop", "hops", multiple=True, metavar="NAME", help="Check this hop only; may be repeated.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=20.0, show_default=True, help="Seconds a hop may take; all run side by side.")
@click.option("--fix-hints", is_flag=True, help="Print the lines of an INI file that would mend what was found.")
@common_options
def command(context: CommandContext, hops: tuple[str, ...], timeout_s: float, fix_hints: bool) -> None:
    """Check the configuration hop by hop: name, connection, proxy, TLS, identity, service.

    Nothing is created or written. A chat model is asked for one token, an embedding model for one vector; both cost that.
    Exit codes: 0 no hop failed, 1 one did, 2 the configuration cannot be loaded.
    """
    from ..infra.doctor import as_json, diagnose
    from ..infra.doctor.threads import LooseThreads
    from .doctor_view import hint_lines, show

    async def diagnosed() -> Report:
        asyncio.get_running_loop().set_default_executor(LooseThreads())
        return await diagnose(context.settings, timeout_s=timeout_s, hops=hops)

    report = context.run(diagnosed())
    if context.json:
        context.emit(as_json(report))
    elif fix_hints:
        click.echo(plain(hint_lines(report)))
    else:
        show(report)
    if not report.ok:
        raise SystemExit(EXIT_FAILED)
