"""Where the values of the configuration came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SourceKind = Literal["override", "environment", "secret", "file", "profile", "default"]


@dataclass(frozen=True, slots=True)
class Source:
    """The place that gave one value.

    Args:
        kind: the layer; see the order of precedence in `settings.py`.
        where: the file, environment variable, secret file or built-in profile.
        line: line in that file, from 1.
        shadowed: the places that also set it and lost, the nearest first.
        variables: environment variables that ``${…}`` in the value names.
        vaults: secrets of vaults that it names, in words: ``Azure Key Vault NAME, secret X``.
        value: what it says, as a file would have it and with its references replaced; never a secret.
        profile: the profile, where `where` is the file that holds a section of it.
    """

    kind: SourceKind
    where: str
    line: int | None = None
    shadowed: tuple[Source, ...] = ()
    variables: tuple[str, ...] = ()
    vaults: tuple[str, ...] = ()
    value: str = ""
    profile: str = ""

    def __str__(self) -> str:
        place = f"{self.where}:{self.line}" if self.line else self.where
        if self.kind in ("default", "override"):
            return self.kind
        named = "".join(f" ${{{name}}}" for name in self.variables)
        return " ".join(part for part in (self.kind, self.profile, place) if part) + named + (f" ({'; '.join(self.vaults)})" if self.vaults else "")


DEFAULT = Source("default", "default")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What `load_settings` remembers beside the values. All are equal, so settings compare by their values alone."""

    sources: Mapping[str, Source] = field(default_factory=dict, compare=False)
    """``section.key`` to its source; keys at their default are absent."""
    files: tuple[Path, ...] = field(default=(), compare=False)
    """The files read, in the order in which they were merged."""
    found_by: str = field(default="", compare=False)
    """Why these files: ``argument``, ``RAG_CONFIG``, ``./config.ini`` or ``packaged default``."""
    secrets_dir: Path | None = field(default=None, compare=False)
