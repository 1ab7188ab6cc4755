"""The audit file: one chain, which several processes of one machine may go on with in turn.

Whoever writes holds the file's lock, looks at its last record where another has written since, appends a group in one write, and
waits for the disk; then the head is anchored. The kernel frees the lock of a process that dies. What a killed writer left of a line
is closed by the next one, and said in a record of its own; such a line was never acknowledged.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ...errors import AuditError
from ...telemetry.logger import get_logger
from ...util.clock import iso_now
from . import anchors
from .chain import KEY_SETTING, RECOVERED, Head, Keyring, Record, authentic, digest, opened, sealed

log = get_logger(__name__)

SETTING = "audit.path"
_POLL_S = 0.005
_BLOCK = 64 * 1024
_TORN_MARK = b" "
"""Put behind a torn line: a line that lacks nothing but its end must not count as a record that was acknowledged."""


class ChainFile:
    """Appends to the file; for one thread. Opens nothing before the first record.

    Args:
        anchor: a second file for the heads, or None.
        lock_timeout_s: seconds to wait for another process's turn.
    """

    def __init__(self, path: Path, keys: Keyring, anchor: Path | None = None, lock_timeout_s: float = 5.0) -> None:
        self._path = path
        self._keys = keys
        self._anchor = anchor
        self._lock_timeout_s = lock_timeout_s
        self._descriptor: int | None = None
        self._head: Head | None = None
        self._end = 0

    @property
    def path(self) -> Path:
        return self._path

    def append(self, bodies: Sequence[Mapping[str, Any]]) -> Head:
        """Add a group of records; they are on the disk, and the head is anchored, when this returns the new head.

        Raises:
            AuditError: they are not; the file cannot be written, is not what was written before, or another process keeps its lock.
        """
        try:
            with self._locked() as descriptor, self._anchoring() as anchor:
                head, repair = self._present(descriptor)
                data, head = self._lines(head, [*repair, *bodies])
                self._write(descriptor, (_TORN_MARK + b"\n" if repair else b"") + data)
                anchor(head)
                self._head, self._end = head, os.fstat(descriptor).st_size
                return head
        except OSError as error:
            self.close()
            raise self._failed(error, self._path, SETTING) from error
        except AuditError:
            self.close()
            raise

    def check(self) -> None:
        """Whether records could be added now: opens the file (makes it where it is not there) and its anchor, adds nothing.

        Raises:
            AuditError: as `append`.
        """
        try:
            with self._locked() as descriptor, self._anchoring():
                self._present(descriptor)
        except OSError as error:
            raise self._failed(error, self._path, SETTING) from error
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file; the next `append` looks at it anew. Again is harmless."""
        descriptor, self._descriptor, self._head = self._descriptor, None, None
        if descriptor is not None:
            os.close(descriptor)

    # -- the file

    @contextmanager
    def _locked(self) -> Iterator[int]:
        descriptor = self._open()
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                    raise
            if time.monotonic() >= deadline:
                raise AuditError(f"Another process keeps the lock of {self._path}.", setting=SETTING, hint="Let it finish, or stop it.")
            time.sleep(_POLL_S)  # in the writer's own thread, never in the event loop
        try:
            yield descriptor
        finally:
            if self._descriptor is not None:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _open(self) -> int:
        """The file, made where it is not there; opened anew where the name has come to be another file's."""
        if self._descriptor is not None and not self._same_file(self._descriptor):
            self.close()
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = not self._path.exists()
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if new:
                anchors.sync_folder(self._path.parent)
        return self._descriptor

    def _same_file(self, descriptor: int) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        held = os.fstat(descriptor)
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)

    def _present(self, descriptor: int) -> tuple[Head, list[dict[str, Any]]]:
        """The head that the next record follows, and what has to be recorded first: a torn line."""
        size = os.fstat(descriptor).st_size
        if self._head is not None and size == self._end:
            return self._head, []
        last, torn = _last_line(descriptor, size)
        repair = [_torn_body(torn)] if torn else []
        if last is None:
            head = Head(chain=secrets.token_hex(8))
        else:
            record = opened(last)
            if record is None or not authentic(record, self._keys) or (self._head is not None and record["n"] < self._head.n):
                raise self._not_ours(record)
            head = Head(record["n"], record["mac"], record["chain"])
        self._check_anchor(head)
        return head, repair

    def _not_ours(self, record: Record | None) -> AuditError:
        """Of a last row that cannot be gone on from."""
        if record is not None and record["key"] not in self._keys:
            hint = "Put it back behind the present one: name:…, name:…."
            return AuditError(
                f"The last record of {self._path} was signed with a key that is not configured: {record['key'][:40]}.", setting=KEY_SETTING, hint=hint
            )
        hint = "`rag audit verify` says which rows; keep the file as it is, and name another one to go on."
        return AuditError(f"The end of {self._path} is not what was written there.", setting=SETTING, hint=hint)

    def _check_anchor(self, head: Head) -> None:
        """A file that has less than was anchored was cut, or taken away: nothing is written behind that, for it would hide it."""
        if self._anchor is None:
            return
        last = anchors.last_anchor(self._anchor)
        if last is None and head.n:
            log.warning("the anchor of the audit trail begins anew", anchor=str(self._anchor), record=head.n)
        if last is not None and head.n and last.chain != head.chain:
            hint = "Put the file back, or name another anchor: one holds the heads of one chain."
            raise AuditError(f"{self._path} holds another chain than {self._anchor} names.", setting=SETTING, hint=hint)
        if last is not None and last.n > head.n:
            hint = "Put the file back, and see `rag audit verify`; to begin a new one, name other files in both keys."
            what = f"The end of {self._path} is missing: {self._anchor} names record {last.n}, the file ends at {head.n}."
            raise AuditError(what, setting=SETTING, hint=hint)

    def _lines(self, head: Head, bodies: Sequence[Mapping[str, Any]]) -> tuple[bytes, Head]:
        lines = []
        for body in bodies:
            line, head = sealed(body, head, self._keys)
            lines.append(line)
        return b"".join(lines), head

    def _write(self, descriptor: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)

    @contextmanager
    def _anchoring(self) -> Iterator[Callable[[Head], None]]:
        if self._anchor is None:
            yield lambda head: None
            return
        with ExitStack() as stack:
            try:
                append = stack.enter_context(anchors.anchoring(self._anchor))
            except OSError as error:
                raise self._failed(error, self._anchor, anchors.SETTING) from error
            path = self._anchor

            def anchor(head: Head) -> None:
                try:
                    append(head)
                except OSError as error:
                    raise self._failed(error, path, anchors.SETTING) from error

            yield anchor

    def _failed(self, error: OSError, path: Path, setting: str) -> AuditError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "Free space there." if full else "Check the folder and its rights."
        return AuditError(f"The audit trail cannot be written to {path}: {error.strerror}.", setting=setting, hint=hint)


def _torn_body(torn: bytes) -> dict[str, Any]:
    facts = {"torn_bytes": len(torn)}
    return {"action": RECOVERED, "outcome": "allowed", "time": iso_now(), "object": digest(torn + _TORN_MARK), "facts": facts}


def _last_line(descriptor: int, size: int) -> tuple[bytes | None, bytes]:
    """The last whole line without its end (None where there is none), and what stands behind it."""
    data, start = b"", size
    while start > 0:
        step = min(_BLOCK, start)
        start -= step
        data = os.pread(descriptor, step, start) + data
        if data.count(b"\n") >= 2:
            break
    head, newline, torn = data.rpartition(b"\n")
    return (head.rpartition(b"\n")[2] if newline else None), torn
