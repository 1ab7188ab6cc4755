"""The layers of the configuration as pydantic-settings sources, highest precedence first in `Layers`.

Each source hands pydantic-settings plain ``{section: {key: value}}`` and remembers, per value, where it stood. Problems are
collected, not raised, so that one error can list those of all layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from ...errors import Problem
from ...telemetry.logger import get_logger
from ..secrets.held import FileSecret
from ..secrets.live import LiveSecret
from ..secrets.references import SCHEMES
from ..secrets.vaults import UNUSABLE, Vaults
from .files import PROFILE_PREFIX, FileEntry, ParsedFile
from .interpolation import interpolate, names_vault
from .profiles import PROFILES
from .provenance import Source
from .schema import ENV_DELIMITER, ENV_PREFIX, INTENT_PREFIX, BadValueError, FieldSpec, all_names, find, keys_of, nearest, nearest_key, schema

log = get_logger(__name__)

PROFILE_KEY = "environment.cloud_profile"
NOT_LOOKED_UP = "names a secret of a vault, which is looked up only where a configuration file names it itself: write the reference there."
VAULTS_ARE_FOR = "only keys that are secret can come out of a vault."
PROFILE_VARIABLE = "CLOUD_PROFILE"


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a layer, before its type is known."""

    spec: FieldSpec
    value: object
    source: Source


class Layer(PydanticBaseSettingsSource):
    """A layer: entries in the order in which they were met, of which the last of a key counts."""

    def __init__(self, environ: Mapping[str, str] | None = None, vaults: Vaults | None = None) -> None:
        """`environ` is given to layers whose text may hold ``${VAR}``; `vaults` to those where it may hold ``${vault:NAME}``."""
        super().__init__(Layers)
        self.environ = environ
        self.vaults = vaults
        self.entries: list[Entry] = []
        self.problems: list[Problem] = []

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False  # the interface asks for it; the layers hand over whole sections

    def __call__(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        for entry in {entry.spec.name: entry for entry in self.entries}.values():
            # A value that a higher layer shadows need not be usable here: its variables may be missing.
            if entry.spec.key in self.current_state.get(entry.spec.section, ()):
                continue
            try:
                state.setdefault(entry.spec.section, {})[entry.spec.key] = self._read(entry)
            except BadValueError as error:
                self.report(str(error), entry.spec.name, entry.source)
        return state

    def report(self, message: str, key: str, source: Source, nearest: str = "", allowed: Iterable[str] = ()) -> None:
        self.problems.append(Problem(message, key, source.where, source.line, nearest, tuple(allowed)))

    def add(self, section: str, key: str, value: object, source: Source) -> None:
        """Take a value in, or report that its section or key is not known."""
        keys = keys_of(section)
        if keys is None:
            self.unknown_section(section, source)
        elif key not in keys:
            self.report("unknown key.", f"{section}.{key}", source, nearest_key(section, key), keys)
        else:
            self.entries.append(Entry(keys[key], value, source))

    def unknown_section(self, section: str, source: Source) -> None:
        if section.startswith(INTENT_PREFIX):
            self.report("the name of an intent must be small letters, digits, `-` and `_`, 64 at most.", section, source)
        else:
            self.report("unknown section.", section, source, nearest(section, schema()), schema())

    def shown(self, entry: Entry) -> str:
        """The value for a person; as it is written where it cannot be used, which matters to none while a higher layer shadows it."""
        try:
            return entry.spec.show(self._read(entry))
        except BadValueError:
            return entry.spec.show(entry.value)

    def _read(self, entry: Entry) -> object:
        if any(names_vault(text) for text in self._as_they_are(entry.value)):
            raise BadValueError(NOT_LOOKED_UP)
        if isinstance(entry.value, str) and self.environ is not None and (pieces := interpolate(entry.value, self.environ).pieces):
            return self._live(entry.spec, entry.value, pieces)
        if entry.value is None or isinstance(entry.value, str):
            return entry.spec.read(self._interpolate(entry.value))
        if isinstance(entry.value, tuple) and self.environ is not None:
            return self._read_list(entry.spec, tuple(self._item(item) for item in entry.value))
        return entry.value

    def _as_they_are(self, value: object) -> Iterable[str]:
        """The texts in which nothing is replaced: all of a layer without variables, else what variables hold. A reference to a vault there
        would be taken for the value."""
        texts = [item for item in (value if isinstance(value, tuple | list) else (value,)) if isinstance(item, str)]
        if self.environ is None:
            return texts
        return [self.environ.get(name, "") for text in texts for name in interpolate(text, self.environ).variables]

    def _live(self, spec: FieldSpec, text: str, pieces: tuple[str | tuple[str, str], ...]) -> LiveSecret:
        """A value that a vault gives; nothing is asked of the vault yet."""
        self._interpolate(text)  # raises what is wrong with the rest of it
        if not spec.secret:
            raise BadValueError(VAULTS_ARE_FOR)
        for piece in pieces:
            if not isinstance(piece, str) and spec.section in UNUSABLE[piece[0]]:
                raise BadValueError("cannot come out of this vault: the way to it needs this key. Use a secret file, or the environment.")
        assert self.vaults is not None
        try:
            return self.vaults.secret(tuple(piece for piece in pieces if piece))
        except ValueError as error:
            raise BadValueError(str(error)) from None

    def _item(self, text: str | None) -> str | None:
        """An item of a list; no list is secret, and without this a reference within one would be left out of it."""
        if text is not None and interpolate(text, self.environ or {}).pieces:
            raise BadValueError(VAULTS_ARE_FOR)
        return self._interpolate(text)

    @staticmethod
    def _read_list(spec: FieldSpec, items: tuple[str | None, ...]) -> object:
        if not spec.is_list:
            raise BadValueError(f"is a list, but must be {spec.type_words}.")
        return tuple(item for item in items if item)

    def _interpolate(self, text: str | None) -> str | None:
        if text is None or self.environ is None:
            return text
        result = interpolate(text, self.environ)
        if result.missing:
            first, names = result.missing[0], ", ".join(result.missing)
            advice = f"for a secret of a vault write ${{{first}:NAME}}" if first in SCHEMES else f"write ${{{first}:default}}"
            raise BadValueError(f"environment variable {names} is not set. Set it, or {advice}.")
        if result.malformed:
            raise BadValueError("`${` must begin ${VAR} or ${VAR:default}, with no braces in the default; write $${ for a plain ${.")
        return result.text


class OverrideLayer(Layer):
    """Values given by the program: ``{"section.key": value}`` or ``{section: {key: value}}``. Text is read as a file's is."""

    def __init__(self, overrides: Mapping[str, object]) -> None:
        super().__init__()
        source = Source("override", "overrides")
        for name, value in overrides.items():
            section, dot, key = name.partition(".")
            if dot:
                self.add(section, key, value, source)
            elif isinstance(value, Mapping):
                for inner, item in value.items():
                    self.add(name, str(inner), item, source)
            else:
                self.report("must be `section.key`, or a section with a mapping of its keys.", name, source, nearest(name, all_names()))


class EnvironmentLayer(Layer):
    """``RAG_SECTION__KEY``, in any case, and ``CLOUD_PROFILE``."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__()
        profile = find(PROFILE_KEY)
        if environ.get(PROFILE_VARIABLE) and profile is not None:
            self.entries.append(Entry(profile, environ[PROFILE_VARIABLE], Source("environment", PROFILE_VARIABLE)))
        for variable in sorted(environ):
            if variable.upper().startswith(ENV_PREFIX):
                self._take(variable, environ[variable])

    def _take(self, variable: str, value: str) -> None:
        section, delimiter, key = variable[len(ENV_PREFIX) :].lower().partition(ENV_DELIMITER)
        source = Source("environment", variable)
        if delimiter:
            self.add(section, key, value, source)
        else:
            meant = _single_underscore(section)
            if meant is not None:
                self.report("two underscores part section and key.", meant.name, source, meant.variable)


def looks_ours(section: str) -> bool:
    """Whether a secret file of this section, without our prefix, is meant for us: it is one of ours, or one misspelt."""
    # 0.7: two letters of four swapped (`caht`) are 0.75 alike.
    return section in schema() or bool(nearest(section, schema(), 0.7))


def _single_underscore(name: str) -> FieldSpec | None:
    """The key that ``search_host`` was meant to be. Other variables that begin with RAG_ are not ours."""
    return next((spec for keys in schema().values() for spec in keys.values() if f"{spec.section}_{spec.key}" == name), None)


class SecretLayer(Layer):
    """A folder with one file a key, as Docker and Kubernetes mount secrets: ``search__password`` or ``RAG_SEARCH__PASSWORD``.

    Hidden files, files whose names hold no ``__``, and files of sections that are not like ours belong to others and are
    not read. White space around a secret is cut off. What is a secret by its key is read again whenever its file changes.
    """

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        if folder is None:
            return
        try:
            files = sorted(folder.iterdir())
        except OSError as error:
            self.report(f"the folder of secrets cannot be read: {error.strerror or type(error).__name__}.", "", Source("secret", str(folder)))
            return
        for path in files:
            name = path.name.lower()
            section, delimiter, key = name.removeprefix(ENV_PREFIX.lower()).partition(ENV_DELIMITER)
            if delimiter and (name.startswith(ENV_PREFIX.lower()) or looks_ours(section)) and not name.startswith("."):
                self._take(path, section, key)

    def _take(self, path: Path, section: str, key: str) -> None:
        source = Source("secret", str(path))
        try:
            held = FileSecret(path)
        except OSError as error:
            self.report(f"cannot be read: {error.strerror or type(error).__name__}.", f"{section}.{key}", source)
        except UnicodeDecodeError:
            self.report("is not UTF-8 text.", f"{section}.{key}", source)
        except ValueError as error:
            self.report(str(error), f"{section}.{key}", source)
        else:
            text, spec = held.ask(), find(f"{section}.{key}")
            secret = spec is not None and spec.secret
            if names_vault(text):
                self.report(NOT_LOOKED_UP, f"{section}.{key}", source)
                return
            if secret and not text:
                log.warning("a secret file is empty; its key counts as not set until a restart after it was written", path=str(path), key=f"{section}.{key}")
            self.add(section, key, LiveSecret((held,)) if text and secret else text, source)


class FileLayer(Layer):
    """Configuration files in the order of merging; their `[profile:NAME]` sections are the profile layer's."""

    def __init__(self, files: Iterable[ParsedFile], environ: Mapping[str, str], vaults: Vaults | None = None) -> None:
        super().__init__(environ, vaults or Vaults())
        for parsed in files:
            self.problems.extend(parsed.problems)
            for section, line in parsed.sections.items():
                if keys_of(section) is None and not section.startswith(PROFILE_PREFIX):
                    self.unknown_section(section, Source("file", str(parsed.path), line))
                elif section.startswith(INTENT_PREFIX) and not any(entry.section == section for entry in parsed.entries):
                    self.report("is empty; give a pattern or examples, and what they change.", section, Source("file", str(parsed.path), line))
            for entry in parsed.entries:
                if keys_of(entry.section) is not None:
                    self.add(entry.section, entry.key, entry.value, self._source(parsed.path, entry, environ))

    @staticmethod
    def _source(path: Path, entry: FileEntry, environ: Mapping[str, str]) -> Source:
        texts = entry.value if isinstance(entry.value, tuple) else (entry.value,)
        names = dict.fromkeys(name for text in texts if text for name in interpolate(text, environ).variables)
        return Source("file", str(path), entry.line, variables=tuple(names))


class ProfileLayer(Layer):
    """The profile that the layers above chose: the built-in values, then `[profile:NAME]` of each file."""

    def __init__(self, above: Sequence[Layer], files: Iterable[ParsedFile], environ: Mapping[str, str], vaults: Vaults | None = None) -> None:
        super().__init__(environ, vaults or Vaults())
        self._above = above
        self._own: dict[str, list[Entry]] = {}
        for parsed in files:
            for section in parsed.sections:
                if section.startswith(PROFILE_PREFIX):
                    self._own.setdefault(section.removeprefix(PROFILE_PREFIX), [])
            for entry in parsed.entries:
                if entry.section.startswith(PROFILE_PREFIX):
                    self._take(entry.section.removeprefix(PROFILE_PREFIX), entry, parsed.path)

    def __call__(self) -> dict[str, Any]:
        chosen = self.current_state.get("environment", {}).get("cloud_profile", "local")
        if isinstance(chosen, str) and (chosen in PROFILES or chosen in self._own):
            for name, value in PROFILES.get(chosen, {}).items():
                section, _, key = name.partition(".")
                self.add(section, key, value, self._source(chosen, value))
            self.entries.extend(self._own.get(chosen, ()))
        elif isinstance(chosen, str):
            known = (*PROFILES, *self._own)
            self.report(f"no profile is called {chosen!r}.", PROFILE_KEY, trace(self._above)[PROFILE_KEY], nearest(chosen, known), known)
        return super().__call__()

    def _source(self, where: str, value: object, line: int | None = None, profile: str = "") -> Source:
        names = interpolate(value, self.environ or {}).variables if isinstance(value, str) else ()
        return Source("profile", where, line, variables=names, profile=profile)

    def _take(self, profile: str, entry: FileEntry, path: Path) -> None:
        section, _, key = entry.key.partition(".")
        source = self._source(str(path), entry.value, entry.line, profile)
        before = len(self.entries)
        if entry.key == PROFILE_KEY:
            self.report("a profile cannot choose a profile.", entry.key, source)
            return
        self.add(section, key, entry.value, source)
        # `add` checked the key; whether the value counts is known once a profile is chosen.
        self._own[profile].extend(self.entries[before:])
        del self.entries[before:]


class Layers(BaseSettings):
    """What pydantic-settings merges from the layers, highest first: values by section, in `merged`.

    The settings models check their types afterwards, so this one allows anything.
    """

    model_config = SettingsConfigDict(extra="allow", hide_input_in_errors=True)

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__(layers=layers)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        if not isinstance(init_settings, InitSettingsSource):
            raise TypeError(f"pydantic-settings passed {type(init_settings).__name__} as the source of the constructor's arguments")
        return tuple(init_settings.init_kwargs["layers"])

    @property
    def merged(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


def trace(layers: Iterable[Layer]) -> dict[str, Source]:
    """``section.key`` to its winning source, which carries the ones it shadows."""
    found: dict[str, list[Source]] = {}
    for layer in layers:
        for entry in reversed(layer.entries):
            found.setdefault(entry.spec.name, []).append(replace(entry.source, value=layer.shown(entry)))
    return {name: replace(sources[0], shadowed=tuple(sources[1:])) for name, sources in found.items()}


def shown_text(layers: Iterable[Layer], name: str) -> str:
    """The winning value of a key as it was written, for an error; empty for secrets and for what is not text."""
    for layer in layers:
        for entry in reversed(layer.entries):
            if entry.spec.name == name:
                return entry.value if isinstance(entry.value, str) and not entry.spec.secret else ""
    return ""
