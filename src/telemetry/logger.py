"""Structured logs on the standard library: `get_logger(name).info("stored", document=…, chunks=12)`.

`setup_logging` logs to standard error; files and what `[logging]` says beyond it come from `infra/logging_setup.py`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

Structured = bool | Literal["auto"]

FIELDS = "rag_fields"
"""Attribute of a record that holds its fields."""
OWN = "src"
_RESERVED = frozenset({"exc_info", "stack_info", "stacklevel", "extra"})
HANDLER = "rag"
FOREIGN_LEVEL = "WARNING"
"""From here on other libraries are shown, where nothing else is asked for."""
ROOT = "root"


class Logger(logging.LoggerAdapter[logging.Logger]):
    """A logger that takes fields as keywords."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        fields = {key: kwargs.pop(key) for key in list(kwargs) if key not in _RESERVED}
        kwargs["extra"] = {**(kwargs.get("extra") or {}), FIELDS: fields}
        return msg, kwargs

    # As the standard library's, but the message goes by place alone, so that fields may be called ``msg`` and ``level``.
    def debug(self, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]  # by place alone
        self._say(logging.DEBUG, msg, args, kwargs)

    def info(self, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]  # by place alone
        self._say(logging.INFO, msg, args, kwargs)

    def warning(self, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]  # by place alone
        self._say(logging.WARNING, msg, args, kwargs)

    def error(self, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]  # by place alone
        self._say(logging.ERROR, msg, args, kwargs)

    def exception(self, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]  # by place alone
        self._say(logging.ERROR, msg, args, {"exc_info": True, **kwargs})

    def critical(self, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]  # by place alone
        self._say(logging.CRITICAL, msg, args, kwargs)

    def log(self, level: int, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]  # by place alone
        self._say(level, msg, args, kwargs)

    def _say(self, level: int, msg: object, args: tuple[object, ...], kwargs: dict[str, Any]) -> None:
        if self.isEnabledFor(level):
            msg, more = self.process(msg, kwargs)
            # Two further: this method and the one that calls it stand between the caller and the library.
            self.logger.log(level, msg, *args, **{**more, "stacklevel": more.get("stacklevel", 1) + 2})


def get_logger(name: str) -> Logger:
    """The logger of a module; fields are keywords: ``log.info("stored", document=id)``. It has the level of this package's, whatever its name."""
    logger = logging.getLogger(name)
    if logger.parent is not None and name != OWN and not name.startswith(f"{OWN}."):
        _beside.add(name)
        if _set:
            _level_beside(name)
    return Logger(logger, {})


class _ToStandardError(logging.StreamHandler[Any]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """A closed or full standard error stops nothing; there is nowhere left to say so."""


def setup_logging(level: str = "INFO", structured: Structured = "auto", levels: Mapping[str, str] | None = None) -> None:
    """Log to standard error; calling it again replaces what it set up before.

    Args:
        level: least severe level shown, of our own loggers and those of `get_logger`; others show warnings and worse.
        structured: JSON lines; ``auto`` is text on a terminal and JSON elsewhere.
        levels: of single loggers and those below them: ``{"src.infra.search": "DEBUG", "urllib3": "INFO"}``; ``root`` is all of others.

    Raises:
        ValueError: there is no such level.
    """
    # What redacts and formats is loaded where something is set up, not by everyone who logs: its expressions take 11 ms.
    from .log_formats import JsonFormatter, TextFormatter

    as_json = not sys.stderr.isatty() if structured == "auto" else structured
    handler = _ToStandardError()
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(colours=sys.stderr.isatty()))
    use_handlers(HANDLER, [handler])
    set_levels(level, levels or {})
    _take_in()


def use_handlers(name: str, handlers: list[logging.Handler]) -> None:
    """Let these handlers take all that is logged, in place of those that were set up under this name before."""
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == name]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.set_name(name)
        root.addHandler(handler)


_set: dict[str, str] = {}
"""Levels that loggers have from `set_levels`."""
_beside: set[str] = set()
"""Loggers of `get_logger` outside this package: of the code that calls it."""
_levelled: set[str] = set()
"""Those of them that have this package's level from here, and not by somebody's own hand."""


def _level_beside(name: str) -> None:
    """Give a logger outside this package its level, unless it or one above it was given another."""
    logger = logging.getLogger(name)
    above = [name[:end] for end, char in enumerate(f"{name}.") if char == "."]
    if any(each in _set for each in above):
        if name in _levelled and name not in _set:
            logger.setLevel(logging.NOTSET)
        _levelled.discard(name)
    elif name in _levelled or logger.level == logging.NOTSET:
        _levelled.add(name)
        logger.setLevel(_set[OWN])


def levels_now() -> dict[str, str]:
    """The levels that were set, by logger."""
    return dict(_set)


def set_levels(level: str, levels: Mapping[str, str]) -> None:
    """Change the levels of a running process; loggers that were named before and are no longer follow those above them again.

    Raises:
        ValueError: there is no such level; nothing is changed.
    """
    wanted = {ROOT: FOREIGN_LEVEL, OWN: level, **levels}
    numbers = {name: _number(value) for name, value in wanted.items()}
    for name in _set.keys() - numbers.keys():
        logging.getLogger(name).setLevel(logging.NOTSET)
    _set.clear()
    for name, number in numbers.items():
        logging.getLogger(None if name == ROOT else name).setLevel(number)
        _set[name] = logging.getLevelName(number)
    for name in sorted(_beside):
        _level_beside(name)


def _number(level: str) -> int:
    found = logging.getLevelNamesMapping().get(level.upper())
    if found is None:
        raise ValueError(f"{level!r} is no level; there are DEBUG, INFO, WARNING, ERROR and CRITICAL.")
    return found


def _take_in() -> None:
    """Let what other libraries say come here: Python's warnings, and loggers that write to the terminal by themselves."""
    logging.captureWarnings(True)
    # With it the standard library prints a record that could not be written, with its arguments, to standard error.
    logging.raiseExceptions = False
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if not isinstance(logger, logging.Logger) or name == OWN or name.startswith(f"{OWN}."):
            continue
        for handler in list(logger.handlers):
            if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stderr, sys.stdout):
                logger.removeHandler(handler)
                logger.propagate = True
