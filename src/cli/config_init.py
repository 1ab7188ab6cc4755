"""`rag config init`: a commented configuration file, by asking or by options."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import ConfigurationError, InvalidSettingsError
from .common import CommandContext, common_options
from .config_view import wrapped

if TYPE_CHECKING:
    from ..infra.configuring.schema import FieldSpec
    from ..infra.configuring.starter import Question, Start

_NAMES = ("embedded", "opensearch", "azure", "bank", "local", "jpmc_azure")
_FILE = "config.ini"


@click.command(short_help="Write a commented file, by asking.")
@click.argument("path", default=_FILE, type=click.Path(path_type=Path))
@click.option("--profile", "name", type=click.Choice(_NAMES), help="What to start from; local is embedded, jpmc_azure is bank.")
@click.option("--set", "given", multiple=True, metavar="KEY=VALUE", help="The value of a key (section.key), in place of a question; may be repeated.")
@click.option("--yes", is_flag=True, help="Ask nothing: what is not given stays at its default.")
@click.option("--force", is_flag=True, help="Overwrite PATH.")
@common_options
def init(ctx: CommandContext, path: Path, name: str | None, given: tuple[str, ...], yes: bool, force: bool) -> None:
    """Write a commented configuration file to PATH (config.ini), by asking.

    Only a file that loads is written, and none at all after Ctrl-C. Secrets are not asked for: the file says which variable or
    secret file is to hold each.
    """
    from ..infra.configuring.starter import ALSO_CALLED, STARTS, render, secrets_of

    if ctx.config:
        raise click.UsageError("init reads no configuration: it takes a PATH to write to, and no --config.")
    target = _target(path, force)
    answers = dict(_given(pair) for pair in given)
    chosen = name or ("embedded" if yes else _ask_start(STARTS.values()))
    start = STARTS[ALSO_CALLED.get(chosen, chosen)]
    _complete(start, answers, ask=not yes)
    _write(target, render(start, answers), force)
    secrets = secrets_of(start, answers)
    if ctx.json:
        ctx.emit({"path": target, "start": start.name, "secrets": [{"key": spec.name, "variable": spec.variable} for spec in secrets]})
    else:
        click.echo("\n".join(_report(target, secrets)))


def _target(path: Path, force: bool) -> Path:
    """The file to write.

    Raises:
        ConfigurationError: it must not, or cannot, be written.
    """
    path = path.expanduser()
    target = (path / _FILE if path.is_dir() else path).absolute()
    if target.suffix.lower() in (".yaml", ".yml", ".json", ".toml"):
        raise ConfigurationError("Only INI is written.", hint=f"Name the file {target.with_suffix('.ini').name}.")
    if not target.parent.is_dir():
        raise ConfigurationError(f"There is no folder {target.parent}.", hint="Make it first.")
    if target.exists() and not (force and target.is_file()):
        raise _there_already(target)
    return target


def _there_already(target: Path) -> ConfigurationError:
    return ConfigurationError(f"{target} is there already.", hint="Name another file; or overwrite it, with --force.")


def _given(pair: str) -> tuple[str, str]:
    """Key and value of ``--set KEY=VALUE``."""
    from ..infra.configuring.names import select
    from ..infra.configuring.sources import PROFILE_KEY
    from ..infra.configuring.starter import fault_of

    key, equals, value = pair.partition("=")
    specs = select(key)
    if not equals or len(specs) > 1:
        raise click.UsageError("--set takes section.key=value.")
    (spec,) = specs
    fault = "is what --profile chooses" if spec.name == PROFILE_KEY else fault_of(spec, value.strip())
    if fault:
        raise click.UsageError(f"--set {spec.name}: {fault}.")
    return spec.name, value.strip()


def _complete(start: Start, answers: dict[str, str], *, ask: bool) -> None:
    """Answer the open questions: by asking, or with what the start suggests."""
    if ask:
        click.echo("Enter takes what stands in brackets, or leaves the key unset. Ctrl-C leaves, and writes nothing.", err=True)
    for question in start.open_questions(answers):
        key = question.key
        if key in answers or not question.is_asked:
            continue
        default = start.value(answers)(key)
        proposal = start.suggested.get(key, default)
        text = _ask(question, proposal, required=key in start.required) if ask else proposal
        if not text and key in start.required:
            raise click.UsageError(f"--profile {start.name} --yes needs --set {key}=VALUE.")
        if text != default:
            answers[key] = text


def _ask_start(starts: Iterable[Start]) -> str:
    click.echo("What do you start from?", err=True)
    for start in starts:
        click.echo("\n".join(wrapped(start.about, f"  {start.name:<12}", " " * 14)), err=True)
    return _prompt("start", "embedded", click.Choice([start.name for start in starts]))


def _ask(question: Question, proposal: str, *, required: bool) -> str:
    """Ask until the answer can stand in the file."""
    from ..infra.configuring.starter import fault_of

    click.echo("\n" + "\n".join(wrapped(question.spec.description, "")), err=True)
    while True:
        text = _prompt(question.key, proposal).strip()
        fault = "is needed" if required and not text else fault_of(question.spec, text)
        if not fault:
            return text
        click.echo(f"{question.key}: {fault}.", err=True)


def _prompt(label: str, default: str, kind: click.Choice[str] | None = None) -> str:
    """Ask on standard error, so that standard output holds the outcome alone.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        ConfigurationError: the input has ended.
    """
    try:
        answer: str = click.prompt(label, default=default, show_default=bool(default), type=kind or str, err=True)
    except click.Abort as error:
        click.echo(err=True)  # ends the line of the question
        if isinstance(error.__context__, EOFError):
            hint = "Without a terminal, give --profile and --yes, and --set section.key=value for what differs from the default."
            raise ConfigurationError("The input ended before the last question; nothing was written.", hint=hint) from None
        raise KeyboardInterrupt from None
    return answer


def _write(target: Path, text: str, force: bool) -> None:
    """Write the file if it loads; as a whole or not at all."""
    new = not (force and target.exists())
    if new:
        try:
            target.open("x").close()
        except FileExistsError:  # made meanwhile, or a link that leads nowhere
            raise _there_already(target) from None
    try:
        _fill(target.resolve(), text)
    except BaseException:
        if new:
            target.unlink()
        raise


def _fill(target: Path, text: str) -> None:
    """Put a text into the place of a file that is there; its permissions stay.

    Raises:
        InvalidSettingsError: the text is no configuration that can be used here.
    """
    from ..infra.settings import load
    from .config_check import problems_of

    with tempfile.TemporaryDirectory(prefix=".rag-", dir=target.parent) as folder:
        draft = Path(folder) / target.name
        draft.write_text(text, encoding="utf-8")
        draft.chmod(stat.S_IMODE(target.stat().st_mode))
        problems = problems_of(load([draft]))
        if problems:
            raise InvalidSettingsError([replace(one, where=str(target)) if one.where == str(draft) else one for one in problems], hint="Nothing was written.")
        draft.replace(target)


def _report(target: Path, secrets: list[FieldSpec]) -> Iterator[str]:
    """What was written, and what is left to do."""
    yield f"wrote {target}"
    if secrets:
        yield "secrets that it leaves to the environment, or to files in the folder RAG_SECRETS_DIR:"
        yield from (f"  {spec.variable}, or {spec.section}__{spec.key}" for spec in secrets)
    config = "" if target == Path(_FILE).absolute() else f" --config {target}"
    yield f"next: rag config explain{config}, then rag doctor{config}"
