"""Locks between processes: `flock` on a file that says who holds it.

The kernel frees the lock of a process that died, so there is no stale lock to clean up; what the file says is only for
messages, and is trusted only while the lock is held.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from ....errors import StorageLockedError
from .failures import SETTING, from_os_error

_POLL_S = 0.02
_COMMAND_CHARS = 200


@lru_cache(maxsize=1)
def _start_time(pid: int) -> str:
    """When process ``pid`` started, ISO 8601 in UTC; from /proc, or this moment where that cannot be read."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        boot = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        started = boot + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        started = time.time()
    return datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds")


def _myself() -> bytes:
    command = " ".join(sys.argv) if sys.argv and sys.argv[0] else sys.executable
    entry = {"pid": os.getpid(), "command": command[:_COMMAND_CHARS], "started": _start_time(os.getpid())}
    return json.dumps(entry).encode()


def _describe(descriptor: int) -> str:
    try:
        entry = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {entry['pid']} ({entry['command']}, started {entry['started']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _acquire(descriptor: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                raise
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)  # runs in the engine's own thread, never in the event loop


@contextmanager
def file_lock(path: Path, timeout_s: float, purpose: str) -> Iterator[None]:
    """Hold the lock at ``path``, waiting up to ``timeout_s`` seconds; for use in a worker thread.

    Args:
        purpose: what the lock is for, for the message: "writing".

    Raises:
        StorageLockedError: it stayed taken; names the process that holds it.
        StorageReadOnlyError: the lock file cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise from_os_error(error, path.parent) from error
    try:
        if not _acquire(descriptor, timeout_s):
            raise StorageLockedError(
                f"The data folder {path.parent} is locked for {purpose} by {_describe(descriptor)}; waited {timeout_s:g} s.",
                setting=SETTING,
                hint="Let that process finish or stop it, then try again.",
            )
        _announce(descriptor)
        yield
    finally:
        os.close(descriptor)


def _announce(descriptor: int) -> None:
    """Write who holds the lock. On a full disk the message is poorer, the lock holds all the same."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _myself(), 0)
    except OSError:
        return
