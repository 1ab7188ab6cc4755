"""What every command shares: options, output, exit codes."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click

from ..errors import ConfigurationError, InputError, RagError

if TYPE_CHECKING:
    from ..infra.config import Settings
    from ..infra.resource_manager import ResourceManager

P = ParamSpec("P")
T = TypeVar("T")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

EMPTY_INDEX = "The index is empty; read documents into it with `rag ingest PATH…`."
_NO_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """A name with what could steer a terminal, or break a line, spelled out: names of files and titles may hold anything."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def plain(text: str) -> str:
    """Running text with control characters spelled out; line ends, tabs and marks of other scripts stay."""
    return text.translate(_NO_CONTROLS)


def require_utf8(text: str, what: str) -> str:
    """The text, as it is.

    Raises:
        InputError: its bytes were not UTF-8; Python carries such bytes on as lone surrogates, which nothing can store.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{what} is not UTF-8 text.", hint="Set the terminal to UTF-8, or convert the input, such as with iconv.") from None
    return text


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
        from ..infra.logging_setup import set_up_logs
        from ..infra.settings import load_settings

        settings = load_settings(list(self.config) or None)
        set_up_logs(settings)
        return settings

    def placed(self, error: RagError) -> RagError:
        """The error, knowing where its setting stands, if the configuration could be loaded."""
        settings: Settings | None = vars(self).get("settings")
        if settings is not None and error.setting and not error.source:
            from ..infra.doctor.sources import source_text

            error.source = source_text(settings, error.setting)
        return error

    @asynccontextmanager
    async def resources(self) -> AsyncIterator[ResourceManager]:
        """A resource manager over the settings, closed at the end."""
        from ..assembly import hotspots_recorded
        from ..infra.resource_manager import ResourceManager

        manager = ResourceManager(self.settings)
        export_telemetry(manager)
        try:
            async with hotspots_recorded(self.settings, make_folder=False):
                yield manager
        finally:
            await manager.aclose()

    def emit(self, value: object) -> None:
        """Print one value as JSON."""
        click.echo(json.dumps(to_json(value), ensure_ascii=False))

    def run(self, coroutine: Coroutine[Any, Any, T], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> T:
        """Run a command's coroutine in its own event loop."""
        try:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                return runner.run(coroutine)
        except asyncio.CancelledError:  # by SIGTERM (`heeding_sigterm`): nobody else cancels it
            raise KeyboardInterrupt from None


def export_telemetry(resources: ResourceManager) -> None:
    """Set up traces, metrics and logs where `[telemetry] enabled`; the end of the process exports what is left, within its deadline."""
    if resources.settings.telemetry.enabled:
        from ..infra.telemetry import setup_telemetry

        setup_telemetry(settings=resources.settings, network=resources.network)


def report_error(error: RagError, as_json: bool) -> None:
    """Print an error to standard error, as JSON if asked."""
    if as_json:
        body = {"code": error.code, "message": error.message, "hint": error.hint, "setting": error.setting, "source": error.source}
        report_json({**body, "hop": error.hop, "proxy": error.proxy, "problems": to_json(getattr(error, "problems", ()))})
    else:
        click.secho(f"error: {plain(str(error))}", fg="red", err=True)


def report_json(body: dict[str, Any]) -> None:
    """Print the body of an error, without what is empty, to standard error."""
    click.echo(json.dumps({"error": {key: value for key, value in body.items() if value}}, ensure_ascii=False), err=True)


def fail(error: RagError, as_json: bool) -> NoReturn:
    """Print an error to standard error, as JSON if asked, and leave with its exit code."""
    report_error(error, as_json)
    raise SystemExit(EXIT_USAGE if isinstance(error, ConfigurationError) else EXIT_FAILED)


async def is_empty(resources: ResourceManager) -> bool:
    """Whether the index holds nothing at all: then finding nothing has a plain cause."""
    return (await resources.search.info()).chunks == 0


def _require_utf8_arguments(values: dict[str, Any]) -> None:
    """Check every text argument; those of a type of their own (paths, which may be any bytes) are not looked at.

    Raises:
        InputError: one is not UTF-8.
    """
    for parameter in click.get_current_context().command.params:
        value = values.get(parameter.name or "")
        if not isinstance(parameter.type, click.types.StringParamType) or value is None:
            continue
        what = parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.human_readable_name
        for text in value if isinstance(value, tuple) else (value,):
            require_utf8(text, what)


def _of_the_system(error: OSError) -> RagError:
    """What the operating system refused, as an error of one line."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return RagError("The current folder no longer exists.", hint="Change to another folder.")
    place = f"{error.filename}: " if error.filename else ""
    hint = "Free space where the output or the data folder lies." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return RagError(f"{place}{error.strerror or type(error).__name__}.", hint=hint)


def _drop_output() -> None:
    """Let go of output that cannot be written, which Python would otherwise try again, and complain about, at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        try:
            descriptor = sys.stdout.fileno()
        except io.UnsupportedOperation:  # a stand-in of a test has none
            return
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, descriptor)
        os.close(sink)


def _tolerate_names() -> None:
    """File names that are not UTF-8, and characters that the terminal's encoding lacks, are printed as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _heed_no_color() -> None:
    """Rich looks at ``NO_COLOR`` itself; click does not."""
    from ..infra.settings import no_color

    if no_color():
        click.get_current_context().color = False


def common_options(command: Callable[..., T]) -> Callable[..., T]:
    """Add ``--config`` and ``--json``; pass a `CommandContext` as the first argument; turn errors into exit codes."""

    @click.option("--config", "config_paths", multiple=True, metavar="PATH", help="Configuration file or folder; may be repeated, later ones win.")
    @click.option("--json", "as_json", is_flag=True, help="Print machine-readable JSON.")
    @wraps(command)
    def wrapper(*args: Any, config_paths: tuple[str, ...], as_json: bool, **kwargs: Any) -> T:
        context = CommandContext(config_paths, as_json)
        _tolerate_names()
        _heed_no_color()
        try:
            _require_utf8_arguments(kwargs)
            return command(context, *args, **kwargs)
        except RagError as error:
            fail(context.placed(error), as_json)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click leaves quietly
            _drop_output()
            fail(_of_the_system(error), as_json)
        except KeyboardInterrupt:
            if as_json:
                report_json({"code": "interrupted", "message": "Interrupted."})
            else:
                click.echo("interrupted", err=True)
            raise SystemExit(EXIT_INTERRUPTED) from None

    return wrapper
