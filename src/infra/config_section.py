"""What every section of the configuration is."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, field_validator


class Section(BaseModel):
    """A section of the configuration: immutable, and unknown keys are errors."""

    # defer_build: the sections' own validators are built when first used; at import all 17 took 35 ms of processor time,
    # and loading needs that of `Settings` alone.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True, defer_build=True)

    _borrowed: dict[str, str] = PrivateAttr(default_factory=dict)

    def lent(self, **lenders: str) -> Self:
        """The same, knowing which of its values stand under another key: ``api_base="chat.api_base"``. Empty names lend nothing."""
        self._borrowed = {**self._borrowed, **{key: name for key, name in lenders.items() if name}}
        return self

    def key(self, section: str, name: str) -> str:
        """The key under which a value of this section stands, for errors."""
        return self._borrowed.get(name, f"{section}.{name}")

    @field_validator("*")
    @classmethod
    def _with_home(cls, value: object) -> object:
        """``~`` is the home folder in every path; no shell has replaced it in a file or variable."""
        if not isinstance(value, Path):
            return value
        try:
            return value.expanduser()
        except RuntimeError as error:
            raise ValueError(str(error)) from error
