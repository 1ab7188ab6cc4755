"""What storage says when it fails, in our words: read-only, full, corrupt, locked."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ....errors import StorageCorruptError, StorageError, StorageFullError, StorageLockedError, StorageReadOnlyError

SETTING = "storage.path"
REBUILD_COMMAND = "rag ingest --rebuild PATH…"
"""The command that empties the index and fills it again; messages quote it."""

_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SQLITE_CODE = 0xFF  # the primary result code is the low byte of an extended one


def read_only(path: Path) -> StorageReadOnlyError:
    return StorageReadOnlyError(
        f"The data folder {path} cannot be written.", setting=SETTING, hint="Give this user write permission, or choose another folder."
    )


def full(path: Path) -> StorageFullError:
    return StorageFullError(
        f"No more can be written to the data folder {path}: the disk, a quota or a file size limit is reached.",
        setting=SETTING,
        hint="Free space or raise the limit and run the command again; nothing that was acknowledged is lost.",
    )


def corrupt(path: Path, what: str) -> StorageCorruptError:
    return StorageCorruptError(
        f"The index {path} is damaged: {what}.",
        setting=SETTING,
        hint="Nothing was overwritten. Restore the file from a backup, or move it away and ingest again.",
    )


def gone(path: Path) -> StorageError:
    return StorageError(
        f"The index {path} is gone: it was there before.",
        setting=SETTING,
        hint="Bring the file back (a lost mount? a moved folder?), or ingest again to begin a new index.",
    )


def from_os_error(error: OSError, path: Path) -> StorageError:
    """The storage error that an operating system's error means."""
    if error.errno in _READ_ONLY:
        return read_only(path)
    if error.errno in _FULL:
        return full(path)
    return StorageError(f"The data folder {path} cannot be used: {error.strerror or error}.", setting=SETTING)


def from_sqlite(error: sqlite3.Error, path: Path) -> StorageError:
    """The storage error that SQLite's error means."""
    extended: int = getattr(error, "sqlite_errorcode", 0) or 0
    code = extended & _SQLITE_CODE
    if "Could not decode to UTF-8" in str(error) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or extended == sqlite3.SQLITE_IOERR_SHORT_READ:
        return corrupt(path, str(error))
    # SQLite reports a reached file size limit or quota as a failed write, and only ENOSPC as full.
    if code == sqlite3.SQLITE_FULL or extended in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_TRUNCATE):
        return full(path.parent)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return read_only(path.parent)
    if code == sqlite3.SQLITE_BUSY:
        return StorageLockedError(f"The index {path} is locked by another process.", setting=SETTING, hint="Try again.")
    return StorageError(f"The index {path} failed: {error}.", setting=SETTING)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the operating system raise inside into `StorageError` kinds about ``path``."""
    try:
        yield
    except sqlite3.Error as error:
        raise from_sqlite(error, path) from error
    except OSError as error:
        raise from_os_error(error, path.parent) from error
    except (ValueError, TypeError, AttributeError) as error:
        # A broken page that still reads as a row: the wrong type in a column, text that is no JSON.
        raise corrupt(path, f"it holds what was never written there ({error})") from error
