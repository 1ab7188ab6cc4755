"""Loading: files, environment and secret files become `Settings`, each value with its source.

Precedence, highest first: overrides given by the program > environment (``RAG_SEARCH__HOST``) > secret files > configuration
files, later ones first > the profile > with `[network] trust_env`, variables that all programs share > the models' defaults.

The only module that reads the process environment. Nothing ever writes to it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..errors import InvalidSettingsError, Problem
from .config import Settings
from .configuring.files import PROFILE_PREFIX, SUFFIXES, ParsedFile, parse_file
from .configuring.foreign import ForeignLayer
from .configuring.names import unknown
from .configuring.provenance import DEFAULT, Provenance, Source
from .configuring.schema import INTENT_PREFIX, display, find, keys_of, nearest, schema
from .configuring.sources import EnvironmentLayer, FileLayer, Layer, Layers, OverrideLayer, ProfileLayer, SecretLayer, shown_text, trace
from .secrets.held import VaultSecret
from .secrets.live import live_secrets
from .secrets.vaults import Vaults, problems_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

CONFIG_VARIABLE = "RAG_CONFIG"
SECRETS_VARIABLE = "RAG_SECRETS_DIR"
LOCAL_FILE = "./config.ini"

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of `load`: settings, or the problems that stand in their way."""

    settings: Settings | None
    problems: tuple[Problem, ...]
    files: tuple[Path, ...]
    found_by: str
    hint: str = ""


def load_settings(
    path: PathLike | Sequence[PathLike] | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    secrets_dir: PathLike | None = None,
) -> Settings:
    """The configuration.

    Args:
        path: a file or folder, or several, merged in order. Left out: the ones that ``RAG_CONFIG`` names (separated as in
            ``PATH``), else ``./config.ini``, else the packaged default. Of a folder the INI, YAML and JSON files count,
            in the order of their names. An empty list reads no file.
        overrides: values that win over everything, ``{"section.key": value}`` or ``{section: {key: value}}``.
        environ: variables to use in place of the process environment.
        secrets_dir: folder with one file a key; left out: the one that ``RAG_SECRETS_DIR`` names, if any.

    Raises:
        InvalidSettingsError: the configuration is wrong; lists everything that is.
    """
    loaded = load(path, overrides, environ=environ, secrets_dir=secrets_dir)
    if loaded.settings is None:
        raise InvalidSettingsError(loaded.problems, hint=loaded.hint)
    return loaded.settings


def load(
    path: PathLike | Sequence[PathLike] | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    secrets_dir: PathLike | None = None,
) -> Loaded:
    """As `load_settings`, but returns the problems instead of raising them."""
    environ = os.environ if environ is None else environ
    paths, found_by = find_files(path, environ)
    files = tuple(parse_file(file) for file in paths)
    if found_by == LOCAL_FILE and _is_foreign(files[0]):
        return Loaded(None, (_foreign(files[0]),), tuple(paths), found_by)
    named = secrets_dir or environ.get(SECRETS_VARIABLE)
    secrets = Path(named).expanduser() if named else None
    vaults = Vaults()
    above: tuple[Layer, ...] = (OverrideLayer(overrides or {}), EnvironmentLayer(environ), SecretLayer(secrets), FileLayer(files, environ, vaults))
    layers = (*above, ProfileLayer(above, files, environ, vaults), ForeignLayer(environ))
    merged = Layers(layers).merged
    problems = [problem for layer in layers for problem in layer.problems]
    settings, invalid = _validate(merged, layers)
    if settings is not None:
        vaults.bind(settings)
        invalid = problems_of(settings)
    problems = sorted(problems + invalid, key=lambda problem: (problem.where, problem.line or 0))
    if problems or settings is None:
        hint = f"If {paths[0]} is not meant for this program, name another file with --config or {CONFIG_VARIABLE}." if found_by == LOCAL_FILE else ""
        return Loaded(None, tuple(problems), tuple(paths), found_by, hint)
    provenance = Provenance(_sources(layers, settings), tuple(paths), found_by, secrets)
    return Loaded(settings.with_provenance(provenance), (), tuple(paths), found_by)


def _sources(layers: Sequence[Layer], settings: Settings) -> dict[str, Source]:
    """Where the values came from; those of vaults with the vault."""
    sources = trace(layers)
    places = {name: tuple(held.place for held in secret.held if isinstance(held, VaultSecret)) for name, secret in live_secrets(settings)}
    return {name: replace(source, vaults=places.get(name, ())) for name, source in sources.items()}


def no_color() -> bool:
    """Whether ``NO_COLOR`` asks for plain text (no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def source_of(settings: Settings, name: str) -> Source:
    """Where the value of ``section.key`` came from, and what it shadows.

    Raises:
        ConfigurationError: there is no such key; names the nearest.
    """
    if find(name) is None:
        raise unknown(name)
    return settings.provenance.sources.get(name, DEFAULT)


def find_files(path: PathLike | Sequence[PathLike] | None, environ: Mapping[str, str]) -> tuple[list[Path], str]:
    """The files to read, folders replaced by theirs, and what named them."""
    if path is not None:
        names = [path] if isinstance(path, str | os.PathLike) else list(path)
        return [file for name in names for file in _expand(name)], "argument"
    if environ.get(CONFIG_VARIABLE):
        named = [name for name in environ[CONFIG_VARIABLE].split(os.pathsep) if name]
        return [file for name in named for file in _expand(name)], CONFIG_VARIABLE
    if Path(LOCAL_FILE).is_file():
        return [Path(LOCAL_FILE).absolute()], LOCAL_FILE
    # A wheel carries the file inside the package; a checkout has it beside the package.
    here = Path(__file__).resolve().parents[1]
    packaged = next((file for file in (here / "config.ini", here.parent / "config.ini") if file.is_file()), None)
    return [packaged] if packaged else [], "packaged default"


def _expand(name: PathLike) -> list[Path]:
    path = Path(name).expanduser().absolute()
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file())
    return files or [path]  # reading the folder itself then reports that it holds none


def _is_foreign(parsed: ParsedFile) -> bool:
    """Whether a ``./config.ini`` that nobody named belongs to another program: nothing in it is ours."""
    ours = any(keys_of(section) is not None or section.startswith(PROFILE_PREFIX) for section in parsed.sections)
    return not ours and bool(parsed.sections or parsed.problems)


def _foreign(parsed: ParsedFile) -> Problem:
    sections = ", ".join(f"[{name}]" for name in list(parsed.sections)[:5])
    found = f"it has {sections}" if sections else "it has no section that is known"
    advice = f"Name your configuration with --config FILE or {CONFIG_VARIABLE}, or start the command in another folder."
    return Problem(f"this file in the current folder does not look like a configuration of this program: {found}. {advice}", where=str(parsed.path))


def _validate(merged: Mapping[str, Any], layers: Sequence[Layer]) -> tuple[Settings | None, list[Problem]]:
    """The typed settings. Pydantic's own error is dropped: its context holds the values, secrets among them."""
    fields = _by_field(merged)
    try:
        # Absent sections are given as empty ones: built from their defaults, each would first build its own validator.
        return Settings.model_validate(fields), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
    sources = trace(layers)
    named = {_name(detail["loc"], fields["intents"]): detail for detail in reversed(details)}
    return None, [_problem(name, detail, sources.get(name, DEFAULT), layers) for name, detail in reversed(named.items())]


def _by_field(merged: Mapping[str, Any]) -> dict[str, Any]:
    """Values by section, as the fields of `Settings` hold them: the intents as pairs of name and values."""
    intents = [(section.removeprefix(INTENT_PREFIX), values) for section, values in merged.items() if section.startswith(INTENT_PREFIX)]
    fixed = {section: values for section, values in merged.items() if not section.startswith(INTENT_PREFIX)}
    return {section: {} for section in schema()} | fixed | {"intents": intents}


def _name(place: Sequence[int | str], intents: Sequence[tuple[str, object]]) -> str:
    """``section.key`` of a place within the fields."""
    if place[0] == "intents":
        return f"{INTENT_PREFIX}{intents[int(place[1])][0]}.{place[3]}"
    return ".".join(str(part) for part in place[:2])


def _problem(name: str, detail: ErrorDetails, source: Source, layers: Sequence[Layer]) -> Problem:
    spec = find(name)
    where = "" if source.kind == "default" else source.where
    if detail["type"] == "value_error":  # a validator of our own, which knows best what is wrong, and repeats no value
        return Problem(detail["msg"].removeprefix("Value error, "), name, where, source.line)
    if spec is None:
        return Problem(f"{detail['msg']}.", name, where, source.line)
    written = display(shown_text(layers, name))
    shown = f"{written[:60]!r} " if written else ""
    comment = " A comment needs a line of its own." if " #" in written or " ;" in written else ""
    near = nearest(written, spec.choices)
    if spec.choices:
        return Problem(f"{shown}is not allowed.{comment}", name, where, source.line, near, spec.choices)
    return Problem(f"{shown}is not {spec.type_words}.{comment}", name, where, source.line)
