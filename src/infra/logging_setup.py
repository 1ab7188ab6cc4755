"""Logs of the process as `[logging]` says: `set_up_logs` at its start, `change_levels` while it runs."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..telemetry.log_context import use_user_key
from ..telemetry.log_files import LogFile
from ..telemetry.log_formats import JsonFormatter
from ..telemetry.logger import Structured, get_logger, set_levels, setup_logging, use_handlers
from .capturing import rotation, set_up_privacy

if TYPE_CHECKING:
    from .config import Settings
    from .config.logging import LoggingCfg

log = get_logger(__name__)

ACCESS = "src.api.access"
"""The logger of the stream `api`: a line a request."""
FILES = "rag-files"
KEY_FILE = "log-user.key"
_STRUCTURED: dict[str, Structured] = {"auto": "auto", "true": True, "false": False}


def set_up_logs(settings: Settings) -> None:
    """Log as `[logging]` says, redacted as `[telemetry]` does; again replaces what was set up before. No file is opened before there is a line for it.

    Raises:
        ConfigurationError: see `set_up_privacy`.
    """
    cfg = settings.logging
    set_up_privacy(settings)
    setup_logging(cfg.level, _STRUCTURED[cfg.structured], cfg.by_logger())
    use_user_key(lambda: _user_key(settings))
    use_handlers(FILES, [_stream(cfg.folder, name, cfg) for name in cfg.streams] if cfg.folder is not None else [])


def change_levels(cfg: LoggingCfg) -> None:
    """Log at these levels from now on; nothing else changes."""
    set_levels(cfg.level, cfg.by_logger())
    log.info("the levels of the log are changed", level=cfg.level, levels=", ".join(cfg.levels))


def log_uncaught() -> None:
    """Log what threads and finalisers raise and nobody catches, as other exceptions are: Python itself prints it, with its text."""

    def of_thread(found: threading.ExceptHookArgs) -> None:
        if not issubclass(found.exc_type, SystemExit):
            log.error("a thread failed", thread=found.thread.name if found.thread is not None else "", exc_info=found.exc_value)

    def of_finaliser(found: sys.UnraisableHookArgs) -> None:
        log.error("an object could not be cleared away", kind=type(found.object).__qualname__, exc_info=found.exc_value)

    threading.excepthook, sys.unraisablehook = of_thread, of_finaliser


def _stream(folder: Path, name: str, cfg: LoggingCfg) -> logging.Handler:
    handler = LogFile(folder / f"{name}.log", rotation(cfg))
    handler.setFormatter(JsonFormatter())
    of_requests = name == "api"
    handler.addFilter(lambda record: (record.name == ACCESS) is of_requests)
    return handler


def _user_key(settings: Settings) -> bytes:
    """The configured key, or that of the data folder, which is made when it is first needed; where none can be kept, one of this process."""
    if settings.logging.user_key is not None:
        return settings.logging.user_key.get_secret_value().encode()
    path = settings.storage.path / KEY_FILE
    try:
        if not path.exists():
            _make_key(path)
        return path.read_bytes()
    except OSError as error:
        log.warning("users are logged by hashes that end with this process", path=str(path), error=error.strerror)
        return secrets.token_bytes(32)


def _make_key(path: Path) -> None:
    """Whole or not at all, and one for all processes that start together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(32))
    finally:
        os.close(descriptor)
    try:
        with suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink()
