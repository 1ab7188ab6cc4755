"""The settings models seen as a table: every key with its type, bounds, default and words about it.

Loading, `rag config` and `docs/configuration.md` read the same table, so what is documented is what is checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ...retrieval.config import LINES, IntentCfg
from ..config import ADDRESS, Settings
from ..config.section import without_query_values
from ..network.proxies import DIRECT

ENV_PREFIX: Final = "RAG_"
ENV_DELIMITER: Final = "__"
HIDDEN: Final = "**********"

INTENT_PREFIX: Final = "intent:"
"""Sections of this prefix are rules of the user's own naming, all with the keys of `IntentCfg`."""
_INTENT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

# Behind `://`, or `user:password@` alone. Up to the last `@`: passwords hold slashes, `#` and `@` too. Hiding a path that holds an `@` is the lesser evil.
_CREDENTIALS_IN_URL = re.compile(r"(?<=://).*@|(?<![^\s,])[^\s:/@,]+:(?!//)[^\s,]*@", re.DOTALL)
_ADDRESS = re.compile(r"(?P<scheme>https?://)?(?P<credentials>.*@)?(?P<host>[\w.-]+|\[[\da-f:.]+\])(?P<port>:\d+)?/?", re.IGNORECASE | re.DOTALL)
_JSON_LIST = re.compile(r"\s*\[\s*[\"'\]]")
_WORDS: Mapping[object, str] = {
    bool: "true or false (also yes/no, on/off, 1/0)",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    SecretStr: "secret text",
}
_BOUNDS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))


class BadValueError(ValueError):
    """Text that cannot stand for a value of its key; the message never repeats the text."""


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One key of the configuration."""

    section: str
    key: str
    info: FieldInfo
    kind: Any
    """The type without ``| None``."""
    optional: bool

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"{ENV_PREFIX}{self.section}{ENV_DELIMITER}{self.key}".upper()

    @property
    def secret(self) -> bool:
        return self.kind is SecretStr

    @property
    def is_list(self) -> bool:
        return get_origin(self.kind) in (tuple, list, frozenset, set)

    @property
    def by_lines(self) -> bool:
        """Whether the items of the list stand one a line, because they hold commas."""
        return self.info.json_schema_extra == LINES

    @property
    def is_address(self) -> bool:
        """Whether it is secret only for the user and password that an address may hold."""
        return self.info.json_schema_extra == ADDRESS

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(str(choice) for choice in get_args(self.kind)) if get_origin(self.kind) is Literal else ()

    @property
    def description(self) -> str:
        return self.info.description or ""

    @property
    def default(self) -> object:
        return self.info.get_default(call_default_factory=True)

    @property
    def type_words(self) -> str:
        """The type and its bounds in words, such as ``a whole number, at least 0, at most 65535``."""
        if self.choices:
            words = "one of " + ", ".join(self.choices)
        elif self.is_list:
            words = "a list, one item a line" if self.by_lines else "a comma-separated list"
        else:
            words = "an address, of which user and password are secret" if self.is_address else _WORDS.get(self.kind, "a JSON object")
        limits = [f"{text} {getattr(m, bound):g}" for bound, text in _BOUNDS for m in self.info.metadata if getattr(m, bound, None) is not None]
        return ", ".join([words, *limits])

    def show(self, value: object) -> str:
        """A value of this key as text, also one that could not be read; never a secret."""
        if value is None or not self.secret:
            return display(value)
        if not self.is_address or type(value) not in (str, SecretStr):  # what is looked up on use may have to ask a vault
            return HIDDEN
        return without_credentials(value.get_secret_value() if isinstance(value, SecretStr) else str(value))

    def read(self, text: str | None) -> object:
        """The raw value of what a file, variable or secret says; pydantic checks its type afterwards.

        Empty text unsets an optional key and empties a list.

        Raises:
            BadValueError: empty text for a key that needs a value, or text that is not JSON where JSON is asked for.
        """
        if text is None or not text.strip():
            return self._read_empty()
        if self.secret:
            return SecretStr(text)
        if self.is_list:
            return self._read_list(text)
        if self.choices or self.kind in _WORDS:
            return text
        try:
            return json.loads(text)
        except ValueError:
            raise BadValueError(f"must be {self.type_words}.") from None

    def _read_list(self, text: str) -> tuple[str, ...]:
        """Items between line ends, or commas; also a JSON list of texts (a lone ``[`` begins an address, such as ``[::1]``)."""
        if not _JSON_LIST.match(text):
            return tuple(part.strip() for part in re.split(r"\n" if self.by_lines else r"[,\n]", text) if part.strip())
        try:
            items = json.loads(text)
        except ValueError:
            items = None
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise BadValueError(f"must be {self.type_words}, or a JSON list of texts.")
        return tuple(items)

    def _read_empty(self) -> object:
        if self.optional:
            return None
        if self.is_list:
            return ()
        raise BadValueError(f"is empty; remove the key for its default, {display(self.default)}.")


@cache
def schema() -> Mapping[str, Mapping[str, FieldSpec]]:
    """Every section with its keys, in the order of the models."""
    sections: dict[str, Mapping[str, FieldSpec]] = {}
    for section, info in Settings.model_fields.items():
        model = info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            sections[section] = _specs(section, model)
    return MappingProxyType(sections)


@lru_cache(maxsize=1000)
def keys_of(section: str) -> Mapping[str, FieldSpec] | None:
    """The keys of a section, those of an `[intent:NAME]` too; None where there is no such section."""
    if section.startswith(INTENT_PREFIX) and _INTENT_NAME.fullmatch(section.removeprefix(INTENT_PREFIX)):
        return _specs(section, IntentCfg)
    return schema().get(section)


def specs_of(settings: Settings) -> tuple[FieldSpec, ...]:
    """Every key that these settings have, in order: those of the fixed sections, then those of the intents."""
    intents = [spec for name, _ in settings.intents for spec in _specs(INTENT_PREFIX + name, IntentCfg).values()]
    return (*(spec for keys in schema().values() for spec in keys.values()), *intents)


def value_of(settings: Settings, spec: FieldSpec) -> object:
    """The value of a key; the default of an intent that is not configured."""
    if not spec.section.startswith(INTENT_PREFIX):
        return getattr(getattr(settings, spec.section), spec.key)
    intent = dict(settings.intents).get(spec.section.removeprefix(INTENT_PREFIX))
    return spec.default if intent is None else getattr(intent, spec.key)


def shown(settings: Settings, spec: FieldSpec) -> str:
    """The value of a key as a file would have it; secrets hidden."""
    value = value_of(settings, spec)
    if spec.by_lines and isinstance(value, tuple) and len(value) > 1:
        return "".join(f"\n{display(item)}" for item in value)
    return spec.show(value)


def _specs(section: str, model: type[BaseModel]) -> Mapping[str, FieldSpec]:
    return MappingProxyType({key: _spec(section, key, field) for key, field in model.model_fields.items()})


def _spec(section: str, key: str, info: FieldInfo) -> FieldSpec:
    options = get_args(info.annotation)
    if type(None) in options and get_origin(info.annotation) is not Literal:
        return FieldSpec(section, key, info, next(option for option in options if option is not type(None)), True)
    return FieldSpec(section, key, info, info.annotation, False)


def find(name: str) -> FieldSpec | None:
    """The key called ``section.key``."""
    section, _, key = name.partition(".")
    return (keys_of(section) or {}).get(key)


def all_names() -> tuple[str, ...]:
    return tuple(spec.name for keys in schema().values() for spec in keys.values())


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """The known word most like this one, or nothing where none is at least so alike (0 to 1)."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word.lower(), list(known), 1, likeness)), "")


def nearest_key(section: str, key: str) -> str:
    """The key that was probably meant: of this section, else of the same name elsewhere, else of any."""
    here = nearest(key, keys_of(section) or ())
    if here:
        return here
    elsewhere = [name for name in all_names() if name.endswith(f".{key}")]
    name = nearest(f"{section}.{key}", elsewhere or all_names()) or next(iter(elsewhere), "")
    other, _, found = name.partition(".")
    return f"[{other}] {found}" if name else ""


def without_credentials(address: str) -> str:
    """An address with user and password hidden; wholly hidden unless scheme or port, and nothing behind the host, show that it is one."""
    found = _ADDRESS.fullmatch(address.strip())
    if address.strip().lower() == DIRECT:
        return DIRECT
    if not found or not (found["scheme"] or found["port"]):
        return HIDDEN
    return f"{found['scheme'] or ''}{HIDDEN + '@' if found['credentials'] else ''}{found['host']}{found['port'] or ''}"


def display(value: object) -> str:
    """A value as text: secrets hidden, also user, password and the query's values within an address."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list, set, frozenset)):
        return ", ".join(display(item) for item in value)
    return without_query_values(_CREDENTIALS_IN_URL.sub(HIDDEN + "@", str(value)))
