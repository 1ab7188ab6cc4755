"""Log files that several processes share: rotated by size and time, kept for a while, and never a reason for the service to stop.

A line is one write to a file opened for appending, so lines of several processes stand one after the other. Whoever finds the
file full or its time over renames it, under a lock; the others notice at their next line, as they do when another program
rotates it. A full disk or a folder that cannot be written is said once on standard error; lines are dropped and counted
until it can, which is said as well. Where only the folder cannot be written, the file is written on.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from . import metrics
from .logger import get_logger

log = get_logger(__name__)

RETRY_S = 5.0
"""Seconds between attempts while a file cannot be written."""
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is set aside, and how long it is kept then.

    Attributes:
        max_bytes: before it grows beyond; 0 for never.
        period_s: when a new period of so many seconds (of UTC) begins; 0 for never.
        keep: so many are kept.
        keep_s: for so many seconds.
    """

    max_bytes: int = 0
    period_s: int = 0
    keep: int = 14
    keep_s: int = 30 * DAY_S


class _Appender:
    """What `StreamHandler` calls a stream: each text is one write, and no reader sees half of it."""

    def __init__(self, path: str) -> None:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._torn = False

    def write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        if self._torn:
            data = b"\n" + data
        written = os.write(self._descriptor, data)
        # What a full disk left of a line is closed off before the next one.
        self._torn = written < len(data)
        if self._torn:
            raise OSError(28, "No space left on device")

    def flush(self) -> None:
        """Nothing is held back."""

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)


class LogFile(WatchedFileHandler):
    """A handler that appends to a file that other processes append to as well.

    Args:
        path: its folder is made when the first line is written.
        clock: seconds since 1970; a test gives its own.
    """

    def __init__(self, path: Path, rotation: Rotation, clock: Callable[[], float] = time.time) -> None:
        self.away = False
        self.dropped = 0
        """Lines since the file could last be written; 0 while it can."""
        self._dropped_before = 0
        self._rotation = rotation
        self._clock = clock
        self._retry_at = self._rotate_at = 0.0
        self._grows = False
        """Whether it was said that the file cannot be set aside."""
        super().__init__(path, delay=True)
        metrics.watch("rag.log.dropped", self, lambda file: [(file.dropped_ever, {"rag.stream": path.stem})])

    @property
    def dropped_ever(self) -> int:
        return self._dropped_before + self.dropped

    def _open(self) -> Any:
        return _Appender(self.baseFilename)

    def filter(self, record: logging.LogRecord) -> bool:
        # What is said of the files themselves goes to standard error alone.
        return record.name != __name__ and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        if self.away and self._clock() < self._retry_at:
            self.dropped += 1
            return
        try:
            line = self.format(record) + self.terminator
            self._ready(len(line.encode("utf-8", "backslashreplace"))).write(line)
        except OSError as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - a line that cannot be made never stops what logged it
            log.error("a log line could not be made", logger_name=record.name, error=type(error).__name__)
        else:
            self._written()

    def _ready(self, more: int) -> Any:
        """The open file of this name, with room for so many bytes more."""
        self.reopenIfNeeded()
        if self.stream is None:
            self.stream = self._open()
            self._statstream()
            self._forget()
        if self._clock() >= self._rotate_at and self._due(more):
            try:
                self._rotate(more)
            except OSError as error:
                self._cannot_rotate(error)
            else:
                self._grows = False
        return self.stream

    def _cannot_rotate(self, error: OSError) -> None:
        """The folder lets nobody rename the file: it is written on, beyond its size, which is better than no log."""
        self._rotate_at = self._clock() + RETRY_S
        if self.stream is None:
            self.stream = self._open()
        if not self._grows:
            self._grows = True
            hint = "Let this user write in its folder; until then the file grows beyond its size."
            log.error("a log file cannot be set aside", path=self.baseFilename, error=error.strerror or type(error).__name__, hint=hint)

    def _due(self, more: int) -> bool:
        stream: Any = self.stream
        found = os.fstat(stream.fileno())
        rule = self._rotation
        full = bool(rule.max_bytes) and found.st_size + more > rule.max_bytes
        over = bool(rule.period_s) and found.st_mtime // rule.period_s < self._clock() // rule.period_s
        return found.st_size > 0 and (full or over)

    def _rotate(self, more: int) -> None:
        path = Path(self.baseFilename)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process is at it; this line still goes to the old file
            self.reopenIfNeeded()
            if self._due(more):
                path.rename(self._aside(path))
                self.reopenIfNeeded()
                self._forget()
        finally:
            os.close(lock)

    def _aside(self, path: Path) -> Path:
        """A name behind all that there are of this second: names are in the order of what was written."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock()))
        numbers = [name.stem.rpartition("-")[2] for name in path.parent.glob(f"{path.stem}-{stamp}-*{path.suffix}")]
        number = max((int(number) for number in numbers if number.isdigit()), default=-1) + 1
        return path.with_name(f"{path.stem}-{stamp}-{number:06d}{path.suffix}")

    def _forget(self) -> None:
        """Delete files that were set aside, beyond their number and time."""
        path = Path(self.baseFilename)
        aside = sorted(path.parent.glob(f"{path.stem}-[0-9]*T[0-9]*Z-*{path.suffix}"), reverse=True)
        for number, name in enumerate(aside):
            with suppress(OSError):  # another process has just deleted it
                if number >= self._rotation.keep or name.stat().st_mtime < self._clock() - self._rotation.keep_s:
                    name.unlink()

    def _failed(self, error: OSError) -> None:
        self.dropped += 1
        self._retry_at = self._clock() + RETRY_S
        if not self.away:
            self.away = True
            hint = "Free some room, or let this user write there; the service goes on, and lines are dropped until then."
            log.error("a log file cannot be written", path=self.baseFilename, error=error.strerror or type(error).__name__, hint=hint)

    def _written(self) -> None:
        if self.away:
            dropped = self.dropped
            self._dropped_before += dropped
            self.away, self.dropped = False, 0
            log.warning("a log file is written again", path=self.baseFilename, dropped=dropped)
