"""A log record as a line: JSON for machines, text for people. Neither can be broken by what a field holds."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

from .log_context import running
from .log_text import exception_text, fields_of, one_line, said

_ESCAPED_TOO = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON may leave as it is, and a terminal or a reader of lines would act on."""
_SIMPLE = re.compile(r"[^\s\"'=\\]+")
_RESERVED = frozenset({"time", "level", "logger", "line", "message", "pid", "exception"})
_COLOURS = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}


def entry(record: logging.LogRecord) -> dict[str, object]:
    """All that is said of a record, in order: its own, the running request's, and its fields."""
    fields = fields_of(record)
    found: dict[str, object] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
        "line": record.lineno,
        "pid": record.process,
        "message": said(record),
        **running(),
        **{f"{name}_" if name in _RESERVED else name: value for name, value in fields.items()},
    }
    if text := _exception(record):
        found["exception"] = text
    return found


def _exception(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return exception_text(record.exc_info[1])


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        text = json.dumps(entry(record), ensure_ascii=False, default=str)
        return text if text.isascii() and "\x7f" not in text else _ESCAPED_TOO.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class TextFormatter(logging.Formatter):
    """For people: time, level, message, fields; in colour where the level is one to look at.

    Args:
        colours: for a terminal.
    """

    def __init__(self, *, colours: bool = False) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")  # noqa: DTZ006 - a person reads their own clock
        shown = fields_of(record)
        fields = " ".join(f"{one_line(key)}={_quoted(value)}" for key, value in shown.items())
        level = f"{record.levelname:<7}"
        if self._colours and (colour := _COLOURS.get(record.levelno)):
            level = f"\x1b[{colour}m{level}\x1b[0m"
        text = f"{time} {level} {one_line(said(record))}" + (f"  {fields}" if fields else "")
        trace = _exception(record)
        return f"{text}\n{trace}" if trace else text


def _quoted(value: object) -> str:
    """A value in one piece; in quotation marks where it would otherwise look like several."""
    text = str(value)
    return one_line(text) if _SIMPLE.fullmatch(text) else f'"{one_line(text.replace(chr(92), chr(92) * 2)).replace(chr(34), chr(92) + chr(34))}"'
