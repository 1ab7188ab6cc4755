"""`rag`: the command line. Each command lives in the file of its name and is imported when it is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

COMMANDS = {
    "ingest": "Read documents into the index.",
    "search": "Search the index.",
    "ask": "Answer one question, with citations.",
    "chat": "Ask and follow up on the terminal.",
    "serve": "Serve the HTTP API and the chat page.",
    "mcp": "Serve an MCP client on standard input and output.",
    "threads": "List, show and delete conversations.",
    "feedback": "What users said of answers, listed or as a collection for eval.",
    "index": "Show the index, and its versions on OpenSearch.",
    "eval": "Measure retrieval on a collection in BEIR layout.",
    "hotspots": "Show which stages take the time, and what changed.",
    "config": "Show, explain and validate the configuration.",
    "audit": "Check and export the audit trail.",
    "health": "How the parts stand, here or of a server that runs.",
    "doctor": "Check every hop of the configuration, and say what would mend it.",
    "model": "Prepare the local embedding model.",
    "token": "Create bearer tokens for the API.",
}


@contextmanager
def usage_errors_as_asked(arguments: list[str]) -> Iterator[None]:
    """With ``--json`` among the arguments a usage error is JSON too; click's own text otherwise."""
    try:
        yield
    except click.UsageError as error:
        own = arguments[: arguments.index("--")] if "--" in arguments else arguments
        if "--json" not in own:
            raise
        from .common import EXIT_USAGE, report_json

        path = error.ctx.command_path if error.ctx else "rag"
        report_json({"code": "usage", "message": error.format_message(), "hint": f"See `{path} --help`."})
        raise SystemExit(EXIT_USAGE) from None


class LazyGroup(click.Group):
    """Knows the commands' names and one-line helps without importing them: `rag --help` stays under 300 ms."""

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        given = list(args)
        with usage_errors_as_asked(given):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[__name__] = given
        return context

    def invoke(self, ctx: click.Context) -> Any:
        with usage_errors_as_asked(ctx.meta[__name__]):
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f".{cmd_name}", __package__).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, 1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="founders-rag", prog_name="rag")
def main() -> None:
    """Cited answers over a company's own documents.

    Exit codes: 0 good, 1 failed, 2 usage or configuration.
    """


if __name__ == "__main__":
    main(prog_name="rag")
