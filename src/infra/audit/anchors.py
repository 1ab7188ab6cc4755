"""Heads of the chain in a second place, which finds what the chain alone cannot show: a cut tail, and a chain written anew with the key.

One line for each group of records: ``{"chain":…,"mac":…,"n":…,"time":…}``. The file should lie where those who can write the
audit file cannot take anything back: another machine's share, a store that keeps versions, at least ``chattr +a``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import AuditError
from ...util.clock import iso_now
from .chain import Head
from .verify import Anchor

SETTING = "audit.anchor"
_TAIL = 4096


@contextmanager
def anchoring(path: Path) -> Iterator[Callable[[Head], None]]:
    """Opens the file, so that one that cannot be opened is known before anything is recorded, and yields what adds a head to it.

    The head is on the disk when that returns.

    Raises:
        OSError: it cannot be opened, or written.
    """
    new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if new:
            sync_folder(path.parent)
        yield lambda head: _append(descriptor, head)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Have the disk know of a file that was made there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _append(descriptor: int, head: Head) -> None:
    line = json.dumps({"chain": head.chain, "mac": head.mac, "n": head.n, "time": iso_now()}, separators=(",", ":"))
    # A line end before it as well: a writer that was killed may have left half a line.
    os.write(descriptor, f"\n{line}\n".encode("ascii"))
    os.fsync(descriptor)


def read_anchors(path: Path, *, own: bool = False) -> list[Anchor]:
    """All heads of a file: of an anchor file, or of a log in JSON lines, in whatever else they stand.

    Args:
        own: it is the configured anchor of the file that is checked, so no head of another chain has a place in it.

    Raises:
        AuditError: it cannot be read, or holds no head.
    """
    try:
        with path.open("rb") as file:
            found = [anchor for line in file for anchor in _heads(line, own=own)]
    except OSError as error:
        raise AuditError(f"The anchors in {path} cannot be read: {error.strerror}.", setting=SETTING) from error
    if not found:
        raise AuditError(f"{path} holds no head of a chain.", setting=SETTING, hint="It is the file that `[audit] anchor` names, or a log with its lines.")
    return found


def last_anchor(path: Path) -> Anchor | None:
    """The latest head; None where there is no file yet.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            found = [anchor for line in file for anchor in _heads(line)]
    except FileNotFoundError:
        return None
    return found[-1] if found else None


def _heads(line: bytes, *, own: bool = False) -> Iterator[Anchor]:
    try:
        entry = json.loads(line)
    except ValueError:  # an empty line, or half of one
        return
    if isinstance(entry, dict) and type(entry.get("n")) is int and isinstance(entry.get("mac"), str) and isinstance(entry.get("chain"), str):
        yield Anchor(entry["n"], entry["mac"], entry["chain"], own)
