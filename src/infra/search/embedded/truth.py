"""The SQLite file: documents, chunks, vectors, access lists, versions. Everything else can be made from it again.

A `Truth` is one connection and belongs to one thread. Readers see one committed state for as long as `snapshot` lasts.
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....core.documents import Chunk, Document
from ....errors import IndexMismatchError
from . import records
from .failures import REBUILD_COMMAND, SETTING, corrupt, from_sqlite, read_only, storage_errors
from .schema import (
    FIRST_STATE,
    FORMAT,
    SELECT_CHUNKS,
    SELECT_DOCUMENT,
    SELECT_ENTRIES,
    SELECT_HITS,
    SELECT_VECTORS,
    STATEMENTS,
    WALK_ALL,
    WALK_TENANT,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE_NAME = "index.sqlite"
_BUSY_MS = 10_000
_CACHE_KIB = 32_768


@dataclass(frozen=True, slots=True)
class State:
    """The one row of `state`: which index this is, and how far it has come."""

    format: int
    truth: str
    embedder: str
    dims: int
    seq: int
    horizon: int
    chunks: int

    def crc(self) -> int:
        return zlib.crc32(repr(self).encode("utf-8", "surrogatepass"))


def first_state(embedder: str, dims: int) -> tuple[Any, ...]:
    """The row of an empty index."""
    state = State(FORMAT, uuid.uuid4().hex, embedder, dims, 0, 0, 0)
    return (*astuple(state), state.crc())


@dataclass(frozen=True, slots=True)
class Entry:
    """One chunk as the views need it."""

    row: int
    doc: int
    acl: int
    tenant: str
    principals: tuple[str, ...]
    title: str
    section: str
    text: str


class Truth:
    """One connection to the SQLite file in ``folder``; made by `connect`.

    ``read_only`` says that the file could only be opened for reading.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._db = connection
        self._checked = False

    @classmethod
    def connect(cls, folder: Path) -> Truth:
        """Open the file, which must exist (`create` makes it).

        Raises:
            StorageCorruptError: it is not a database, or a damaged one; it is left as it is.
        """
        path = folder / FILE_NAME
        with storage_errors(path):
            if path.stat().st_size == 0:
                raise corrupt(path, "the file is empty")
            writable = os.access(path, os.W_OK) and os.access(folder, os.W_OK)
            connection = cls._open(path, writable)
        truth = cls(path, connection, read_only=not writable)
        try:
            truth._configure(writable)
            truth.state()
        except BaseException:
            connection.close()
            raise
        return truth

    @classmethod
    def look(cls, folder: Path) -> tuple[Truth, bool]:
        """Open the file without changing anything in ``folder``; also whether a log lies beside it, which is then not read.

        What is in the log may be newer than what is seen; embedder and dimensions are those of the index's making.

        Raises:
            StorageCorruptError: as `connect`; with a log beside it, the file may be in the middle of taking it in.
        """
        path = folder / FILE_NAME
        with storage_errors(path):
            if path.stat().st_size == 0:
                raise corrupt(path, "the file is empty")
            log = path.with_name(f"{FILE_NAME}-wal")
            logged = log.exists() and log.stat().st_size > 0
            uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        truth = cls(path, connection, read_only=True)
        try:
            truth.state()
        except BaseException:
            connection.close()
            raise
        return truth, logged

    @staticmethod
    def _open(path: Path, writable: bool) -> sqlite3.Connection:
        if writable:
            uri = f"{path.absolute().as_uri()}?mode=rw"
        else:
            # Without write permission SQLite cannot make the files beside the database that WAL needs; with no log
            # there, nothing is missing from the file itself.
            log = path.with_name(f"{FILE_NAME}-wal")
            frozen = not log.exists() or log.stat().st_size == 0
            uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if frozen else ''}"
        return sqlite3.connect(uri, uri=True, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False, cached_statements=256)

    def _configure(self, writable: bool) -> None:
        with storage_errors(self.path):
            self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._db.execute("PRAGMA foreign_keys = ON")
            # FULL: an acknowledged document survives a power cut, at one fsync a commit (a commit holds many chunks).
            self._db.execute("PRAGMA synchronous = FULL")
            if writable:
                self._db.execute("PRAGMA cell_size_check = ON")

    @classmethod
    def empty(cls, folder: Path, embedder: str, dims: int) -> Truth:
        """An empty index in memory, standing in for one that was never written."""
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.executescript(STATEMENTS)
        connection.execute(FIRST_STATE, first_state(embedder, dims))
        return cls(folder / FILE_NAME, connection, read_only=True)

    @staticmethod
    def create(folder: Path, embedder: str, dims: int) -> None:
        """Make an empty index; made aside and moved in place, so that an empty or half file never counts as an index.

        To be called with the write lock held.
        """
        path = folder / FILE_NAME
        if path.exists():
            return
        aside = folder / f"{FILE_NAME}.new"
        with storage_errors(path):
            aside.unlink(missing_ok=True)
            connection = sqlite3.connect(aside, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(STATEMENTS)
                connection.execute(FIRST_STATE, first_state(embedder, dims))
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()
            # A log left behind by a database that was taken away would be replayed into the new one.
            for suffix in ("-wal", "-shm"):
                path.with_name(FILE_NAME + suffix).unlink(missing_ok=True)
            aside.replace(path)

    def close(self) -> None:
        with storage_errors(self.path):
            self._db.close()

    # -- reading

    def state(self) -> State:
        """The committed state (inside `snapshot`: that of the snapshot).

        Raises:
            IndexMismatchError: the index has another format.
        """
        row = self.one("SELECT format, truth, embedder, dims, seq, horizon, chunks, crc FROM state")
        if row is None:
            raise corrupt(self.path, "it has no state")
        state = State(*row[:-1])
        if state.crc() != row[-1]:
            raise corrupt(self.path, "its state does not match its checksum")
        if state.format != FORMAT:
            raise IndexMismatchError(
                f"The index {self.path} has format {state.format}; this release reads {FORMAT}.", setting=SETTING, hint=f"Run: {REBUILD_COMMAND}"
            )
        return state

    @contextmanager
    def snapshot(self) -> Iterator[State]:
        """One committed state for all reads inside; its state."""
        self.run("BEGIN")
        try:
            yield self.state()
        finally:
            if self._db.in_transaction:
                self.run("ROLLBACK")

    def entries(self, after: int, upto: int) -> Iterator[Entry]:
        """Chunks that changes ``after`` < number <= ``upto`` brought and that are still there, by row."""
        with storage_errors(self.path):
            for row in self._db.execute(SELECT_ENTRIES, (after, upto)):
                text, section = records.from_sql(row[7]), records.from_sql(row[6])
                if records.chunk_crc(records.from_sql(row[9]), row[10], text, row[11], section, row[12], row[13]) != row[8]:
                    raise corrupt(self.path, f"chunk {row[0]} does not match its checksum")
                yield Entry(row[0], row[1], row[2], records.from_sql(row[3]), tuple(json.loads(row[4])), records.from_sql(row[5]), section, text)

    def vectors(self, after: int, upto: int) -> Iterator[tuple[int, int, int, bytes]]:
        """(row, doc, acl, vector) of the same chunks as `entries`, in the same order."""
        with storage_errors(self.path):
            for row, doc, acl, vector, crc in self._db.execute(SELECT_VECTORS, (after, upto)):
                if zlib.crc32(vector) != crc:
                    raise corrupt(self.path, f"the vector of chunk {row} does not match its checksum")
                yield row, doc, acl, vector

    def removed(self, after: int, upto: int) -> list[int]:
        """Rows that changes ``after`` < number <= ``upto`` took away, as far as a view at ``after`` can hold them."""
        return [row for (row,) in self.all("SELECT row FROM tombstones WHERE seq > ? AND seq <= ? AND row <= ?", (after, upto, after))]

    def acls(self, after: int) -> list[tuple[int, str, tuple[str, ...]]]:
        """(id, tenant, principals) of access lists newer than ``after``; they are never changed or deleted."""
        rows = self.all("SELECT id, tenant, principals FROM acls WHERE id > ? ORDER BY id", (after,))
        with storage_errors(self.path):
            return [(key, records.from_sql(tenant), tuple(json.loads(records.from_sql(principals)))) for key, tenant, principals in rows]

    def column(self, sql: str, parameters: Sequence[Any] = ()) -> NDArray[np.int64]:
        """The first column of a query, as int64."""
        with storage_errors(self.path):
            return np.fromiter((row[0] for row in self.all(sql, parameters)), dtype=np.int64)

    def documents(self) -> int:
        found = self.one("SELECT count(*) FROM documents")
        return int(found[0]) if found else 0

    def chunk_count(self) -> int:
        found = self.one("SELECT count(*) FROM chunks")
        return int(found[0]) if found else 0

    def fetch(self, rows: Sequence[int]) -> dict[int, tuple[Chunk, Document]]:
        """Chunks with their documents, by row."""
        documents: dict[int, Document] = {}
        found: dict[int, tuple[Chunk, Document]] = {}
        with storage_errors(self.path):
            for row in self._db.execute(SELECT_HITS, (json.dumps(list(rows)),)):
                document = documents.get(row[1]) or self._document(row[10:])
                documents[row[1]] = document
                found[row[0]] = (self._chunk(row[2:10], document), document)
        return found

    def owners(self, rows: Sequence[int]) -> set[int]:
        """Document ordinals of chunks."""
        sql = "SELECT DISTINCT c.doc FROM json_each(?) j JOIN chunks c ON c.row = j.value"
        return {doc for (doc,) in self.all(sql, (json.dumps(list(rows)),))}

    def find_document(self, tenant: str, document_id: str) -> tuple[int, int, Document] | None:
        """(ord, acl, document) of one document."""
        row = self.one(SELECT_DOCUMENT, (records.to_sql(tenant), records.to_sql(document_id)))
        with storage_errors(self.path):
            return None if row is None else (row[0], row[1], self._document(row[2:]))

    def tenants_of(self, document_id: str) -> list[str]:
        return [records.from_sql(row[0]) for row in self.all("SELECT tenant FROM documents WHERE id = ? ORDER BY tenant", (records.to_sql(document_id),))]

    def chunks_of(self, ordinal: int, document: Document) -> tuple[Chunk, ...]:
        rows = self.all(SELECT_CHUNKS, (ordinal,))
        with storage_errors(self.path):
            return tuple(self._chunk(row, document) for row in rows)

    def walk_documents(self, tenant: str | None, after: tuple[str, str]) -> Iterator[tuple[int, int, Document]]:
        """(ord, acl, document) by id and tenant from behind ``after`` on; of one tenant, or of all (None)."""
        last_id, last_tenant = (records.to_sql(part) for part in after)
        parameters: tuple[Any, ...]
        if tenant is None:
            sql, parameters = WALK_ALL, (last_id, last_tenant)
        else:
            sql, parameters = WALK_TENANT, (records.to_sql(tenant), last_id)
        with storage_errors(self.path):
            for row in self._db.execute(sql, parameters):
                yield row[0], row[1], self._document(row[2:])

    def content_hashes(self, tenant: str, document_ids: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for document_id in document_ids:
            row = self.one("SELECT content_hash FROM documents WHERE tenant = ? AND id = ?", (records.to_sql(tenant), records.to_sql(document_id)))
            if row is not None:
                found[document_id] = records.from_sql(row[0])
        return found

    def _document(self, row: Sequence[Any]) -> Document:
        document = records.read_document(row)
        if document is None:
            raise corrupt(self.path, "a document does not match its checksum")
        return document

    def _chunk(self, row: Sequence[Any], document: Document) -> Chunk:
        chunk = records.read_chunk(row, document)
        if chunk is None:
            raise corrupt(self.path, f"a chunk of document {document.id!r} does not match its checksum")
        return chunk

    # -- writing (what is written: ledger.py)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside, or nothing of it.

        Raises:
            StorageReadOnlyError, StorageFullError, StorageCorruptError: it could not be committed.
        """
        self._check_writable()
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _check_writable(self) -> None:
        if self.read_only:
            raise read_only(self.path.parent)
        if not self._checked:
            # Once a process, before its first write: writing into a damaged tree would spread the damage.
            problems = self.all("PRAGMA quick_check(1)")
            if [row[0] for row in problems] != ["ok"]:
                raise corrupt(self.path, str(problems[0][0]) if problems else "quick_check says nothing")
            self._checked = True

    def save(self, state: State) -> None:
        """Replace the state inside `transaction`."""
        self.run(
            "UPDATE state SET embedder = ?, dims = ?, seq = ?, horizon = ?, chunks = ?, crc = ?",
            (state.embedder, state.dims, state.seq, state.horizon, state.chunks, state.crc()),
        )

    # -- SQLite with our errors

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        try:
            self._db.execute(sql, parameters)
        except sqlite3.Error as error:
            raise from_sqlite(error, self.path) from error

    def many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        try:
            self._db.executemany(sql, parameters)
        except sqlite3.Error as error:
            raise from_sqlite(error, self.path) from error

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        rows = self.all(sql, parameters)
        return rows[0] if rows else None

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise from_sqlite(error, self.path) from error
