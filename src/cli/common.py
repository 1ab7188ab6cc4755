"""What every command shares: options, output, exit codes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click

from ..errors import ConfigurationError, RagError

if TYPE_CHECKING:
    from ..infra.config import Settings
    from ..infra.resource_manager import ResourceManager

P = ParamSpec("P")
T = TypeVar("T")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def to_json(value: object) -> Any:
    """Plain data of dataclasses, paths and tuples; what is None in a dataclass is left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: to_json(item) for name, item in fields if item is not None}
    if hasattr(value, "items"):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


class CommandContext:
    """What a command gets: settings and resources, both made on first use."""

    def __init__(self, config: tuple[str, ...], as_json: bool) -> None:
        self.config = config
        self.json = as_json

    @cached_property
    def settings(self) -> Settings:
        from ..infra.settings import load_settings
        from ..telemetry.logger import setup_logging

        settings = load_settings(list(self.config) or None)
        formats = {"json": True, "text": False}
        setup_logging(settings.telemetry.log_level, formats.get(settings.telemetry.log_format, "auto"))
        return settings

    @asynccontextmanager
    async def resources(self) -> AsyncIterator[ResourceManager]:
        """A resource manager over the settings, closed at the end."""
        from ..infra.resource_manager import ResourceManager

        manager = ResourceManager(self.settings)
        try:
            yield manager
        finally:
            await manager.aclose()

    def emit(self, value: object) -> None:
        """Print one value as JSON."""
        click.echo(json.dumps(to_json(value), ensure_ascii=False))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a command's coroutine in its own event loop."""
        return asyncio.run(coroutine)


def fail(error: RagError, as_json: bool) -> NoReturn:
    """Print an error to standard error, as JSON if asked, and leave with its exit code."""
    code = EXIT_USAGE if isinstance(error, ConfigurationError) else EXIT_FAILED
    if as_json:
        body = {"code": error.code, "message": error.message, "hint": error.hint, "setting": error.setting, "hop": error.hop}
        body["problems"] = to_json(getattr(error, "problems", ()))
        click.echo(json.dumps({"error": {key: value for key, value in body.items() if value}}, ensure_ascii=False), err=True)
    else:
        click.secho(f"error: {error}", fg="red", err=True)
    raise SystemExit(code)


def common_options(command: Callable[..., T]) -> Callable[..., T]:
    """Add ``--config`` and ``--json``; pass a `CommandContext` as the first argument; turn errors into exit codes."""

    @click.option("--config", "config_paths", multiple=True, metavar="PATH", help="Configuration file or folder; may be repeated, later ones win.")
    @click.option("--json", "as_json", is_flag=True, help="Print machine-readable JSON.")
    @wraps(command)
    def wrapper(*args: Any, config_paths: tuple[str, ...], as_json: bool, **kwargs: Any) -> T:
        context = CommandContext(config_paths, as_json)
        try:
            return command(context, *args, **kwargs)
        except RagError as error:
            fail(error, as_json)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise SystemExit(EXIT_INTERRUPTED) from None

    return wrapper
