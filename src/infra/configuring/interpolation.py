"""``${VAR}`` and ``${VAR:default}`` in the values of configuration files.

The default starts after the first colon, may be empty, and holds no braces. A variable that is set, also to nothing, wins
over the default. ``$${`` stands for a plain ``${``; any other ``$`` stands for itself. ``${vault:NAME}`` and ``${aws:NAME}`` name
secrets of vaults (`secrets/references.py`), and are left for whoever can read those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..secrets.references import SCHEMES

_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::([^{}]*))?\}|\$\{")

_OF_VAULT = re.compile(r"\$\{(?:" + "|".join(SCHEMES) + r"):[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Interpolated:
    """The outcome: the text, and what it needed."""

    text: str
    variables: tuple[str, ...] = ()
    """Variables that the value names."""
    missing: tuple[str, ...] = ()
    """Those of them that are not set and have no default."""
    malformed: bool = False
    """A ``${`` begins no reference."""
    pieces: tuple[str | tuple[str, str], ...] = ()
    """Where the value names secrets of vaults: its text, and those as scheme and name, in order; ``text`` is without them."""


def interpolate(text: str, environ: Mapping[str, str]) -> Interpolated:
    """Replace the references of a value by variables of `environ`. What a variable holds is not looked through again."""
    variables: list[str] = []
    missing: list[str] = []
    malformed = False

    def replaced(match: re.Match[str]) -> str | tuple[str, str]:
        nonlocal malformed
        name, default = match.group(1), match.group(2)
        if name is None:
            malformed = malformed or match.group() == "${"
            return "${"
        if name in SCHEMES and default is not None:
            return name, default
        variables.append(name)
        if name in environ:
            return environ[name]
        if default is None:
            missing.append(name)
        return default or ""

    pieces: list[str | tuple[str, str]] = []
    end = 0
    for match in _REFERENCE.finditer(text):
        pieces += [text[end : match.start()], replaced(match)]
        end = match.end()
    pieces.append(text[end:])
    result = "".join(piece for piece in pieces if isinstance(piece, str))
    secrets = tuple(pieces) if any(isinstance(piece, tuple) for piece in pieces) else ()
    return Interpolated(result, tuple(dict.fromkeys(variables)), tuple(dict.fromkeys(missing)), malformed, secrets)


def names_vault(text: str) -> bool:
    """Whether a text that no file holds, and in which nothing is replaced, reads like a reference to a vault."""
    return _OF_VAULT.search(text) is not None


def escape(text: str) -> str:
    """The text that `interpolate` turns into this one."""
    return text.replace("${", "$${")
