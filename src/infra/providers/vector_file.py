"""Vectors on disk by key: one SQLite file in WAL mode that several processes may share.

A cache may be lost, never wrong. Each entry carries its checksum, and an entry that does not pass is a miss; a damaged
file is set aside and begun anew; where nothing can be written, the cache is off, and says so once.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ...telemetry.logger import get_logger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = get_logger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, used INTEGER NOT NULL, vector BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_use ON vectors (used);
"""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_BATCH = 500
_WAIT_S = 2.0


class VectorFile:
    """Blocking; safe between threads. Opens on first use.

    Args:
        path: the file.
        dims: length of the vectors.
        max_entries: room; the entries least recently used leave first.
    """

    def __init__(self, path: Path, dims: int, max_entries: int) -> None:
        self._path = path
        self._dims = dims
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._off = False
        self._file_id: int | None = None
        self._reader: sqlite3.Connection | None = None

    def read(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The vectors that are there and whole."""
        with self._lock:
            if self._off:
                return {}
            try:
                return self._read(keys)
            except (sqlite3.Error, OSError) as error:
                self._recover(error)
                return {}

    def write(self, vectors: Mapping[bytes, NDArray[np.float32]], touched: Iterable[bytes] = ()) -> None:
        """Store vectors, mark others as used now, and drop what is over the limit. A file that is busy is left as it is."""
        with self._lock:
            if self._off:
                return
            try:
                self._opened()
            except (sqlite3.Error, OSError) as error:
                self._recover(error)
                return
        # A connection of its own: readers go on while this one writes.
        try:
            with closing(self._connect()) as connection, connection:
                self._store(connection, vectors, touched)
        except (sqlite3.Error, OSError) as error:
            with self._lock:
                self._recover(error)

    def close(self) -> None:
        with self._lock:
            self._off = True
            self._drop_reader()

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        import numpy as np

        connection = self._opened()
        found = {}
        for start in range(0, len(keys), _BATCH):
            part = keys[start : start + _BATCH]
            marks = ",".join("?" * len(part))
            for key, blob in connection.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part):  # noqa: S608 - only question marks
                if _whole(blob, self._dims):
                    found[key] = np.frombuffer(blob, np.float32, self._dims)
        return found

    def _store(self, connection: sqlite3.Connection, vectors: Mapping[bytes, NDArray[np.float32]], touched: Iterable[bytes]) -> None:
        now = time.time_ns()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("UPDATE vectors SET used = ? WHERE key = ?", [(now, key) for key in touched])
        rows = [(key, now + place, _sealed(vector)) for place, (key, vector) in enumerate(vectors.items())]
        connection.executemany("INSERT OR REPLACE INTO vectors (key, used, vector) VALUES (?, ?, ?)", rows)
        (count,) = connection.execute("SELECT count(*) FROM vectors").fetchone()
        if count > self._max_entries:
            oldest = "SELECT rowid FROM vectors ORDER BY used LIMIT ?"
            connection.execute(f"DELETE FROM vectors WHERE rowid IN ({oldest})", (count - self._max_entries,))  # noqa: S608 - constant text

    def _opened(self) -> sqlite3.Connection:
        if self._reader is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = self._connect()
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
                connection.execute("SELECT key, used, vector FROM vectors LIMIT 1").fetchone()
            except BaseException:
                connection.close()
                raise
            self._reader = connection
            self._file_id = self._path.stat().st_ino
        return self._reader

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_WAIT_S, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")  # a crash of the machine may lose the cache; entries carry checksums
        return connection

    def _recover(self, error: Exception) -> None:
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if kind in _PASSING:
            log.info("the embedding cache is busy; entries were not kept", path=str(self._path))
            return
        self._drop_reader()
        if kind in _DAMAGED or str(error).startswith("no such column"):
            self._set_aside(error)
        else:
            self._off = True
            log.warning("the embedding cache is off", path=str(self._path), reason=str(error))

    def _set_aside(self, error: Exception) -> None:
        try:
            if self._file_id is not None and self._path.stat().st_ino != self._file_id:
                self._file_id = None  # another process has replaced it already
                return
            aside = self._path.with_name(f"{self._path.name}.damaged")
            self._path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        except OSError as reason:
            self._off = True
            log.warning("the embedding cache is damaged and off", path=str(self._path), reason=str(reason))
            return
        self._file_id = None
        log.warning("the embedding cache was damaged and is begun anew", path=str(self._path), aside=str(aside), reason=str(error))

    def _drop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


def _sealed(vector: NDArray[np.float32]) -> bytes:
    data = vector.astype("<f4", copy=False).tobytes()
    return data + zlib.crc32(data).to_bytes(4, "big")


def _whole(blob: object, dims: int) -> bool:
    if not isinstance(blob, bytes) or len(blob) != dims * 4 + 4:
        return False
    return zlib.crc32(blob[:-4]) == int.from_bytes(blob[-4:], "big")
