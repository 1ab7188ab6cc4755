"""Structured logs on the standard library: `get_logger(name).info("stored", document=…, chunks=12)`."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal

_FIELDS = "rag_fields"
_RESERVED = frozenset({"exc_info", "stack_info", "stacklevel", "extra"})


class Logger(logging.LoggerAdapter[logging.Logger]):
    """A logger that takes fields as keywords."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        fields = {key: kwargs.pop(key) for key in list(kwargs) if key not in _RESERVED}
        kwargs["extra"] = {**(kwargs.get("extra") or {}), _FIELDS: fields}
        return msg, kwargs


def get_logger(name: str) -> Logger:
    """The logger of a module; fields are keywords: ``log.info("stored", document=id)``."""
    return Logger(logging.getLogger(name), {})


def _fields(record: logging.LogRecord) -> dict[str, object]:
    found: dict[str, object] = getattr(record, _FIELDS, {})
    return found


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """For people: time, level, message, fields."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")  # noqa: DTZ006 - a person reads their own clock
        fields = " ".join(f"{key}={value}" for key, value in _fields(record).items())
        text = f"{time} {record.levelname:<7} {record.getMessage()}" + (f"  {fields}" if fields else "")
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def setup_logging(level: str = "INFO", structured: bool | Literal["auto"] = "auto") -> None:
    """Log to standard error; calling it again replaces what it set up before.

    Args:
        level: least severe level shown, of our own loggers; others show warnings and worse.
        structured: JSON lines; ``auto`` is text on a terminal and JSON elsewhere.
    """
    as_json = not sys.stderr.isatty() if structured == "auto" else structured
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    handler.set_name("rag")
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == "rag"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("src").setLevel(level)
