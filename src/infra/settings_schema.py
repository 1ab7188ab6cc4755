"""The settings models seen as a table: every key with its type, bounds, default and words about it.

Loading, `rag config` and `docs/configuration.md` read the same table, so what is documented is what is checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from .config import Settings

ENV_PREFIX: Final = "RAG_"
ENV_DELIMITER: Final = "__"
HIDDEN: Final = "**********"

# Up to the last `@`: passwords hold slashes, `#` and `@` too. Hiding a path that holds an `@` is the lesser evil.
_CREDENTIALS_IN_URL = re.compile(r"(?<=://).*@", re.DOTALL)
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
            words = "a comma-separated list"
        else:
            words = _WORDS.get(self.kind, "a JSON object")
        limits = [f"{text} {getattr(m, bound):g}" for bound, text in _BOUNDS for m in self.info.metadata if getattr(m, bound, None) is not None]
        return ", ".join([words, *limits])

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

    @staticmethod
    def _read_list(text: str) -> tuple[str, ...]:
        """Items between commas or line ends; also a JSON list of texts (a lone ``[`` begins an address, such as ``[::1]``)."""
        if not _JSON_LIST.match(text):
            return tuple(part.strip() for part in re.split(r"[,\n]", text) if part.strip())
        try:
            items = json.loads(text)
        except ValueError:
            items = None
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise BadValueError("must be a comma-separated list, or a JSON list of texts.")
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
            sections[section] = MappingProxyType({key: _spec(section, key, field) for key, field in model.model_fields.items()})
    return MappingProxyType(sections)


def _spec(section: str, key: str, info: FieldInfo) -> FieldSpec:
    options = get_args(info.annotation)
    if type(None) in options and get_origin(info.annotation) is not Literal:
        return FieldSpec(section, key, info, next(option for option in options if option is not type(None)), True)
    return FieldSpec(section, key, info, info.annotation, False)


def find(name: str) -> FieldSpec | None:
    """The key called ``section.key``."""
    section, _, key = name.partition(".")
    return schema().get(section, {}).get(key)


def all_names() -> tuple[str, ...]:
    return tuple(spec.name for keys in schema().values() for spec in keys.values())


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """The known word most like this one, or nothing where none is at least so alike (0 to 1)."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word.lower(), list(known), 1, likeness)), "")


def nearest_key(section: str, key: str) -> str:
    """The key that was probably meant: of this section, else of the same name elsewhere, else of any."""
    here = nearest(key, schema().get(section, ()))
    if here:
        return here
    elsewhere = [name for name in all_names() if name.endswith(f".{key}")]
    name = nearest(f"{section}.{key}", elsewhere or all_names()) or next(iter(elsewhere), "")
    other, _, found = name.partition(".")
    return f"[{other}] {found}" if name else ""


def display(value: object) -> str:
    """A value as text: secrets hidden, also user and password within an address."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list, set, frozenset)):
        return ", ".join(display(item) for item in value)
    return _CREDENTIALS_IN_URL.sub(HIDDEN + "@", str(value))
