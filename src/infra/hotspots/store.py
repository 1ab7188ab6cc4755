"""The rolling store: one SQLite file under the data folder, which several processes may write.

Each write is one short transaction that adds to what is there. The file is bounded in size and age, holds no content, and can
be deleted at any time.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import StorageCorruptError, StorageError, StorageFullError, StorageLockedError, StorageReadOnlyError
from ...telemetry.recording import Finished
from .batch import MINUTE_S, WORST, Batch, Cell, Outcomes

if TYPE_CHECKING:
    from ..config import Settings

FILE = "hotspots.sqlite"
"""The store's name in the data folder."""
BUSY_S = 2.0
"""Seconds to wait for another process's write, which takes milliseconds."""
KEEP_TROUBLES = 500
VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS stages (
    minute INTEGER, tenant TEXT, stage TEXT, calls INTEGER, own_ms REAL, total_ms REAL, missed INTEGER, budget_ms REAL, buckets TEXT,
    PRIMARY KEY (minute, tenant, stage)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outcomes (
    minute INTEGER, tenant TEXT, kind TEXT, count INTEGER, failed INTEGER, cancelled INTEGER, degraded INTEGER, PRIMARY KEY (minute, tenant, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS worst (minute INTEGER, hour INTEGER, kind TEXT, tenant TEXT, ms REAL, request TEXT);
CREATE INDEX IF NOT EXISTS worst_hours ON worst (hour, kind, ms);
CREATE TABLE IF NOT EXISTS troubles (minute INTEGER, tenant TEXT, request TEXT);
CREATE TABLE IF NOT EXISTS ingests (minute INTEGER, tenant TEXT, request TEXT);
"""
_ALL = ("stages", "outcomes", "worst", "troubles", "ingests")


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes (Unix time / 60) from ``first`` to ``last``, both included; of one tenant, or all."""

    first: int
    last: int
    tenant: str | None = None

    @property
    def minutes(self) -> int:
        return self.last - self.first + 1

    def before(self) -> Window:
        """The one of the same length that ends where this one begins."""
        return Window(self.first - self.minutes, self.first - 1, self.tenant)


class HotspotStore:
    """The file. Opened for each write and each report: both are rare, and a file that was deleted or moved is simply made again.

    Args:
        path: of the file.
        days: how long figures are kept.
        megabytes: how large the file may grow; the oldest figures go first.
        make_folder: whether a write makes the data folder; without, there is nothing to write to until something else has made it.
    """

    def __init__(self, path: Path, *, days: int, megabytes: int, make_folder: bool = True) -> None:
        self.path = path
        self._make_folder = make_folder
        self._days = days
        self._bytes = megabytes * 1_000_000
        self._pruned_at = 0

    def write(self, batch: Batch, now: float) -> None:
        """Add a batch, whole or not at all, and drop what is too old or too much.

        Raises:
            StorageError: kinds of it; the file cannot be written.
        """
        if not self._make_folder and not self.path.parent.exists():
            return
        with self._connection(write=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                _add_cells(connection, batch)
                _add_requests(connection, batch)
                if int(now // MINUTE_S) != self._pruned_at:
                    self._prune(connection, now)
                    self._pruned_at = int(now // MINUTE_S)

    def cells(self, window: Window) -> dict[str, Cell]:
        """The stages of a window; none where there is no file. Raises as `write`.

        SQLite adds up, while other threads run: half a day of them took Python 0.5 s, in which the process answered nobody.
        """
        sums = "SELECT stage, sum(calls), sum(own_ms), sum(total_ms), sum(missed), max(budget_ms) FROM stages"
        found = {stage: Cell(*figures) for stage, *figures in self._rows(sums, window, "GROUP BY stage")}
        counts = "SELECT stage, CAST(key AS INTEGER), sum(value) FROM stages, json_each(buckets)"
        for stage, bucket, count in self._rows(counts, window, "GROUP BY stage, key"):
            if stage in found:  # what was written between the two is left to the next report
                found[stage].buckets[bucket] = count
        return found

    def outcomes(self, window: Window) -> dict[str, Outcomes]:
        """The requests of a window, by kind. Raises as `write`."""
        found: dict[str, Outcomes] = {}
        for kind, count, failed, cancelled, degraded in self._rows("SELECT kind, count, failed, cancelled, degraded FROM outcomes", window):
            has = found.setdefault(kind, Outcomes())
            found[kind] = Outcomes(has.count + count, has.failed + failed, has.cancelled + cancelled, has.degraded + degraded)
        return found

    def worst(self, window: Window) -> list[Finished]:
        """The slowest requests of each hour, the slowest of all first. Raises as `write`."""
        return sorted(self._requests("worst", window), key=lambda request: -request.seconds)

    def troubles(self, window: Window) -> list[Finished]:
        """Degraded and failed requests, the latest first. Raises as `write`."""
        return sorted(self._requests("troubles", window), key=lambda request: -request.ended)

    def ingests(self, window: Window) -> list[Finished]:
        """Runs of ingestion, the latest first. Raises as `write`."""
        return sorted(self._requests("ingests", window), key=lambda request: -request.ended)

    def _requests(self, table: str, window: Window) -> Iterator[Finished]:
        for (text,) in self._rows(f"SELECT request FROM {table}", window):  # noqa: S608 - a table of ours
            yield _request(text)

    def _rows(self, select: str, window: Window, then: str = "") -> list[tuple[Any, ...]]:
        if not self.path.exists():
            return []
        with self._connection(write=False) as connection:
            if connection.execute("PRAGMA user_version").fetchone() != (VERSION,):  # just being made, or of another release
                return []
            where = "WHERE minute BETWEEN ? AND ? AND (? IS NULL OR tenant = ?)"
            return connection.execute(f"{select} {where} {then}", (window.first, window.last, window.tenant, window.tenant)).fetchall()

    @contextmanager
    def _connection(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        with _storage_errors(self.path):
            if write and not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            address = f"{self.path.absolute().as_uri()}?mode=rw"  # what was deleted meanwhile is not made again by a reader
            with closing(sqlite3.connect(address, timeout=BUSY_S, isolation_level=None, uri=True)) as connection:
                if write:
                    _prepare(connection)
                yield connection

    def _prune(self, connection: sqlite3.Connection, now: float) -> None:
        """Delete what is older than is kept, and of the rest the oldest tenth while the file is too large."""
        oldest = int(now // MINUTE_S) - self._days * 1440
        _delete_before(connection, oldest)
        while _used(connection) > self._bytes:
            first, last = connection.execute("SELECT min(minute), max(minute) FROM stages").fetchone()
            if first is None or first >= last:
                break
            _delete_before(connection, first + max(1, (last - first) // 10))
        for table in ("troubles", "ingests"):
            connection.execute(f"DELETE FROM {table} WHERE rowid <= (SELECT max(rowid) FROM {table}) - {KEEP_TROUBLES}")  # noqa: S608 - tables of ours


def make_store(settings: Settings, *, make_folder: bool = True) -> HotspotStore:
    """The store of a data folder; nothing is opened."""
    cfg = settings.telemetry
    return HotspotStore(settings.storage.path / FILE, days=cfg.hotspots_days, megabytes=cfg.hotspots_mb, make_folder=make_folder)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA journal_size_limit=1000000")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        if version:  # of another release: figures of a few days are not worth a migration
            for table in _ALL:
                connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _TABLES.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")


def _add_cells(connection: sqlite3.Connection, batch: Batch) -> None:
    for key, cell in batch.cells.items():
        columns = "calls, own_ms, total_ms, missed, budget_ms, buckets"
        row = connection.execute(f"SELECT {columns} FROM stages WHERE minute = ? AND tenant = ? AND stage = ?", key).fetchone()  # noqa: S608 - columns of ours
        whole = Cell()
        if row is not None:
            calls, own_ms, total_ms, missed, budget_ms, buckets = row
            _add_to(whole, Cell(calls, own_ms, total_ms, missed, budget_ms, _buckets(buckets)))
        _add_to(whole, cell)
        figures = (whole.calls, whole.own_ms, whole.total_ms, whole.missed, whole.budget_ms, json.dumps(whole.buckets))
        connection.execute("INSERT OR REPLACE INTO stages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*key, *figures))
    for key, outcomes in batch.outcomes.items():
        connection.execute(
            "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count,"
            " failed = failed + excluded.failed, cancelled = cancelled + excluded.cancelled, degraded = degraded + excluded.degraded",
            (*key, outcomes.count, outcomes.failed, outcomes.cancelled, outcomes.degraded),
        )


def _add_requests(connection: sqlite3.Connection, batch: Batch) -> None:
    for (hour, kind), slowest in batch.worst.items():
        for one in slowest:
            row = (int(one.ended // MINUTE_S), hour, kind, one.tenant, one.seconds * 1000, _text(one))
            connection.execute("INSERT INTO worst VALUES (?, ?, ?, ?, ?, ?)", row)
        kept = "SELECT rowid FROM worst WHERE hour = ? AND kind = ? ORDER BY ms DESC LIMIT ?"
        connection.execute(f"DELETE FROM worst WHERE hour = ? AND kind = ? AND rowid NOT IN ({kept})", (hour, kind, hour, kind, WORST))  # noqa: S608 - ours
    for table, requests in (("troubles", batch.troubles), ("ingests", batch.ingests)):
        rows = [(int(one.ended // MINUTE_S), one.tenant, _text(one)) for one in requests]
        connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)  # noqa: S608 - a table of ours


def _add_to(cell: Cell, more: Cell) -> None:
    cell.calls += more.calls
    cell.own_ms += more.own_ms
    cell.total_ms += more.total_ms
    cell.missed += more.missed
    cell.budget_ms = more.budget_ms if more.budget_ms is not None else cell.budget_ms
    for bucket, count in more.buckets.items():
        cell.buckets[bucket] = cell.buckets.get(bucket, 0) + count


def _delete_before(connection: sqlite3.Connection, minute: int) -> None:
    for table in _ALL:
        connection.execute(f"DELETE FROM {table} WHERE minute < ?", (minute,))  # noqa: S608 - a table of ours


def _used(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something; what is deleted makes room for what comes."""
    pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)


def _buckets(text: str) -> dict[int, int]:
    return {int(bucket): count for bucket, count in json.loads(text).items()}


def _text(request: Finished) -> str:
    fields = {name: getattr(request, name) for name in Finished.__slots__}
    return json.dumps({name: value for name, value in fields.items() if value not in ("", (), {})})


def _request(text: str) -> Finished:
    fields: Mapping[str, Any] = json.loads(text)
    return Finished(**{"own": {}, **fields, "degraded": tuple(fields.get("degraded", ()))})


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """Turns what SQLite and the operating system raise about the file into kinds of `StorageError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _from_sqlite(error, path) from error
    except OSError as error:
        raise StorageError(f"Hotspots cannot be kept at {path}: {error.strerror or error}.", setting="storage.path") from error


def _from_sqlite(error: sqlite3.Error, path: Path) -> StorageError:
    extended: int = getattr(error, "sqlite_errorcode", 0) or 0
    code = extended & 0xFF  # the primary result code is the low byte
    where: dict[str, str] = {"setting": "storage.path"}
    if code == sqlite3.SQLITE_FULL or extended == sqlite3.SQLITE_IOERR_WRITE:
        return StorageFullError(f"No space is left for the hotspots' file {path}.", **where, hint="Free space.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StorageLockedError(f"Another process holds the hotspots' file {path}.", **where, hint="Try again.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return StorageReadOnlyError(
            f"The hotspots' file {path} cannot be opened for writing.", **where, hint="Give this user write permission to file and folder."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StorageCorruptError(f"The hotspots' file {path} is damaged: {error}.", **where, hint="Delete it; it is made again.")
    return StorageError(f"The hotspots' file {path} failed: {error}.", **where)
