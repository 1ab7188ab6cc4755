"""Figures of commands, which end before anybody looks: added to a file of the data folder, and shown by one server that has this folder.

Each process keeps its own figures and is a target of its own; nothing is shared while it runs. A command adds what it counted
when it ends, under a lock, and the file is replaced whole: processes side by side lose nothing and count nothing twice. Of
several servers on one folder one shows them, the one that holds the lock `SHOWN_BY`; when it ends another takes over.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..telemetry.logger import get_logger
from ..telemetry.metrics_catalogue import FIGURES, Figure
from .metrics import Cell, Key, Store, current_store, start_metrics, stop_metrics

if TYPE_CHECKING:
    from .config import Settings

log = get_logger(__name__)

FOLDER = "metrics"
FILE = "commands.json"
LOCK = "commands.lock"
SHOWN_BY = "shown-by.lock"
VERSION = 1


class _Kept:
    """Series that were read from the file; as a `Store`, to be added to others."""

    def __init__(self, series: list[tuple[Figure, list[tuple[Key, Cell]]]]) -> None:
        self._series = series

    def series(self) -> Iterator[tuple[Figure, list[tuple[Key, Cell]]]]:
        yield from self._series


class CommandFigures:
    """The file in a data folder.

    Args:
        storage: the data folder; nothing is made in it before a command has something to keep.
    """

    def __init__(self, storage: Path) -> None:
        self._folder = storage / FOLDER

    def add(self, store: Store) -> None:
        """Add what a process counted. A folder that cannot be written is logged: the command itself did its work."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _locked(self._folder / LOCK):
                known = _read(self._folder / FILE)
                for figure, cells in store.series():
                    if not figure.watched and figure.name in FIGURES:
                        _added(known, figure, cells)
                _write(self._folder / FILE, known)
        except OSError as error:
            log.warning("the figures of this command are not kept for /metrics", folder=str(self._folder), error=error.strerror or type(error).__name__)

    def mine(self) -> list[_Kept]:
        """What commands left, where it is this process that shows it; empty otherwise."""
        if not (self._folder / FILE).exists() or not _shows(self._folder / SHOWN_BY):
            return []
        return [_Kept([(FIGURES[name], list(cells.items())) for name, cells in _read(self._folder / FILE).items()])]


@contextmanager
def counted(settings: Settings) -> Iterator[None]:
    """Keep the figures of a command while it runs in this block, and what it counted after it, where `[telemetry] metrics` is on."""
    if not start_metrics(settings):
        yield
        return
    try:
        yield
    finally:
        store = current_store()
        if store is not None:
            CommandFigures(settings.storage.path).add(store)
        stop_metrics()


_shown_by: dict[Path, int] = {}
_shown_lock = threading.Lock()


def _shows(path: Path) -> bool:
    """Whether this process holds the lock, or takes it now; held until the process ends."""
    with _shown_lock:
        if path in _shown_by:
            return True
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        _shown_by[path] = descriptor
        return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, dict[Key, Cell]]:
    """Series by figure; of a file that is broken or of another version, and of figures that changed their shape, nothing."""
    found: dict[str, dict[Key, Cell]] = {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        series = data["series"] if data["version"] == VERSION else []
        for name, key, value, buckets in series:
            figure = FIGURES.get(name)
            if figure is not None and len(buckets) == (len(figure.bounds) + 1 if figure.kind == "histogram" else 0):
                cell = Cell()
                cell.value, cell.buckets = float(value), [int(count) for count in buckets]
                found.setdefault(name, {})[tuple((str(label), text) for label, text in key)] = cell
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found


def _added(known: dict[str, dict[Key, Cell]], figure: Figure, cells: list[tuple[Key, Cell]]) -> None:
    kept = known.setdefault(figure.name, {})
    for key, cell in cells:
        if not cell.value and not any(cell.buckets) and figure.kind != "gauge":
            continue
        before = kept.get(key)
        if before is not None and figure.kind != "gauge":
            cell.value += before.value
            cell.buckets = [mine + theirs for mine, theirs in zip(cell.buckets, before.buckets, strict=True)]
        kept[key] = cell


def _write(path: Path, known: dict[str, dict[Key, Cell]]) -> None:
    series: list[Any] = [[name, key, cell.value, cell.buckets] for name, cells in known.items() for key, cell in cells.items()]
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"version": VERSION, "series": series}), encoding="utf-8")
    fresh.replace(path)
