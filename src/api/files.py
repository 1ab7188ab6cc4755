"""The original bytes of documents: uploads are kept by content, other documents are read where they were ingested from."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..core.documents import Document
from ..errors import ConflictError, NotFoundError, StorageError, StorageFullError, StorageReadOnlyError

SHA256 = "sha256"
"""Metadata field that holds the SHA-256 (hex) of a document's original bytes."""

_BLOCK = 1 << 20
_HEX_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Original:
    """An open file and its size, verified to hold what was ingested. Whoever gets it closes it."""

    file: BinaryIO
    size: int


def digest_of(file: BinaryIO) -> str:
    """SHA-256 (hex) of the rest of a file; the position is back where it was."""
    start = file.tell()
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    file.seek(start)
    return digest.hexdigest()


class FileStore:
    """Files by the SHA-256 of their content: writing the same twice keeps one.

    Args:
        folder: where they lie; made with the first file, readable by its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = asyncio.Lock()
        """Held while a content that no document has is forgotten, and while a new document's is made sure of."""

    def path(self, sha256: str) -> Path:
        """Where the content of a hash lies, or would.

        Raises:
            ValueError: it is not a hash, so it may not become a path.
        """
        if len(sha256) != _HEX_DIGITS or not set(sha256) <= set("0123456789abcdef"):
            raise ValueError("not a SHA-256")
        return self.folder / sha256[:2] / sha256

    def put(self, data: BinaryIO) -> str:
        """Keep the content of a file, whole or not at all; returns its hash.

        Raises:
            StorageError: the data folder cannot be written, or is full.
        """
        sha256 = digest_of(data)
        target = self.path(sha256)
        if target.is_file():
            return sha256
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(target, data)
        except OSError as error:
            raise _storage_error(error, self.folder) from error
        return sha256

    def find(self, sha256: str) -> Path | None:
        """The kept file of a hash, or None."""
        try:
            path = self.path(sha256)
        except ValueError:
            return None
        return path if path.is_file() else None

    def remove(self, sha256: str) -> None:
        """Forget a content; it may be gone already."""
        self.path(sha256).unlink(missing_ok=True)

    @staticmethod
    def _write(target: Path, data: BinaryIO) -> None:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                while block := data.read(_BLOCK):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def open_original(store: FileStore, document: Document) -> Original:
    """The bytes that a document was made of. The document must have been found in the caller's scope.

    Only what was ingested is ever served: the file is hashed through the handle that is then read.

    Raises:
        NotFoundError: they are no longer there, or were never on this machine.
        ConflictError: the file was changed since.
    """
    wanted = str(document.metadata.get(SHA256, ""))
    for path in _candidates(store, document, wanted):
        try:
            file = path.open("rb")
        except (OSError, ValueError):
            continue
        try:
            if digest_of(file) == wanted:
                return Original(file, os.fstat(file.fileno()).st_size)
        except BaseException:
            file.close()
            raise
        file.close()
        raise ConflictError("The file was changed since it was ingested.", hint="Ingest it again to see its present content.")
    raise NotFoundError("The original file is no longer there.", hint="Its passages still are: GET /v1/documents/{id}/passages.")


def _candidates(store: FileStore, document: Document, wanted: str) -> list[Path]:
    found = [path for path in (store.find(wanted),) if path is not None]
    source = Path(document.source)  # of an upload it is a bare name, never a path
    if source.is_absolute() and "\0" not in document.source and source.is_file():
        found.append(source)
    return found


def _storage_error(error: OSError, folder: Path) -> StorageError:
    import errno

    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFullError(f"The disk that holds {folder} is full.", setting="storage.path", hint="Free some space and send it again.")
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return StorageReadOnlyError(f"{folder} cannot be written: {error.strerror}.", setting="storage.path", hint="Make it writable.")
    return StorageError(f"{folder} cannot be written: {error.strerror}.", setting="storage.path")
