"""``${vault:NAME}`` and ``${aws:NAME#KEY}``: what a reference to a vault names. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, cast

Scheme = Literal["vault", "aws"]
SCHEMES: Final = ("vault", "aws")
"""Words that begin a reference to a vault; no environment variable can be read under them with a default."""

_VAULT = re.compile(r"(?P<name>[0-9A-Za-z-]{1,127})(?:/(?P<part>[0-9a-fA-F]{32}))?")
_AWS = re.compile(r"(?P<name>[0-9A-Za-z/_+=.@!:-]{1,2048})(?:#(?P<part>[^#\s]+))?")


@dataclass(frozen=True, slots=True)
class Reference:
    """A secret of a vault.

    Args:
        part: of Azure Key Vault the version, of AWS the key within a secret that is a JSON object; empty for the latest, or the whole.
    """

    scheme: Scheme
    name: str
    part: str = ""

    def place(self, vault: str) -> str:
        """In words; ``vault`` is the name of the Azure vault."""
        if self.scheme == "vault":
            return f"Azure Key Vault {vault}, secret {self.name}" + (f", version {self.part}" if self.part else "")
        return f"AWS Secrets Manager, secret {self.name}" + (f", key {self.part}" if self.part else "")


def parse_reference(scheme: str, text: str) -> Reference:
    """The reference of ``${scheme:text}``.

    Raises:
        ValueError: the name cannot be one; says how it is written.
    """
    found = (_VAULT if scheme == "vault" else _AWS).fullmatch(text.strip())
    if found is None:
        rules = "${vault:NAME} or ${vault:NAME/VERSION}, with letters, digits and `-`" if scheme == "vault" else "${aws:NAME}, ${aws:NAME#KEY} or an ARN"
        raise ValueError(f"names no secret; write {rules}.")
    return Reference(cast("Scheme", scheme), found["name"], found["part"] or "")
