"""`[logging]`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from .section import Section

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LEVELS: tuple[Level, ...] = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_TRUTH = {"yes": "true", "on": "true", "1": "true", "true": "true", "no": "false", "off": "false", "0": "false", "false": "false"}
LOGGER_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,199}"
_NAME = re.compile(LOGGER_NAME)


class LoggingCfg(Section):
    """`[logging]`: what is logged, and where to."""

    level: Level = Field("INFO", description="Least severe message that is logged; of other libraries warnings and worse.")
    levels: tuple[str, ...] = Field(
        (), max_length=100, description="Levels of single loggers and those below them, as src.infra.search=DEBUG, urllib3=INFO; `root` is all others'."
    )
    structured: Literal["auto", "true", "false"] = Field("auto", description="JSON lines on standard error; `auto`: text on a terminal, JSON otherwise.")
    folder: Path | None = Field(None, description="Folder of the log files, in JSON lines; none: standard error alone.")
    streams: tuple[Literal["app", "api"], ...] = Field(("app", "api"), description="Files in `folder`: `api.log` holds a line a request, `app.log` all else.")
    max_bytes: int = Field(50_000_000, ge=10_000, description="A file is set aside before it grows beyond.")
    rotate: Literal["hourly", "daily", "never"] = Field("daily", description="A file is set aside when a new hour or day (of UTC) begins.")
    keep_files: int = Field(14, ge=0, le=10_000, description="Files set aside that are kept, of each stream.")
    keep_days: int = Field(30, ge=1, le=3650, description="Days that a file set aside is kept.")
    user_key: SecretStr | None = Field(
        None, min_length=16, description="Key of the hashes by which users are logged; without one `log-user.key` in the data folder is made and used."
    )

    @field_validator("structured", mode="before")
    @classmethod
    def _as_word(cls, value: object) -> object:
        return _TRUTH.get(str(value).strip().lower(), value)

    @field_validator("level", mode="before")
    @classmethod
    def _in_capitals(cls, value: object) -> object:
        return value.strip().upper() if isinstance(value, str) else value

    @field_validator("levels")
    @classmethod
    def _known_levels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for line in value:
            name, equals, level = (part.strip() for part in line.partition("="))
            if not equals or not _NAME.fullmatch(name) or level.upper() not in LEVELS:
                raise ValueError(f"{line!r} is not of the form LOGGER=LEVEL, as urllib3=INFO; levels are {', '.join(LEVELS)}.")
        return value

    def by_logger(self) -> dict[str, str]:
        """The levels of single loggers, by name."""
        pairs = (line.partition("=") for line in self.levels)
        return {name.strip(): level.strip().upper() for name, _, level in pairs}
