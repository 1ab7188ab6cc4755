"""Where the values of live secrets come from: a file that is read again when it changes, and a secret of a vault.

Both keep what they last read: while a file is gone or a vault does not answer, the old value serves, and `error` says so.
"""

from __future__ import annotations

import copy
import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ConfigurationError, DeadlineExceededError, RagError, ServicePermissionError
from ...telemetry.logger import get_logger
from ...util.threads import start_daemon
from .references import Reference

log = get_logger(__name__)

MAX_SECRET_BYTES = 1 << 20
"""Kubernetes allows 1 MiB for a whole secret; a larger file is a mistake."""
PAUSE_S = 5.0
"""A vault that failed, or whose secret was refused, is not asked again for so long."""
GRACE_S = 2.0
"""Who waits for a vault waits a little longer than reading it may take."""

Version = tuple[int, ...]


class FileSecret:
    """A file that holds one secret, as Docker and Kubernetes mount them.

    Each use looks whether the file is another than the one read (about 10 µs). Kubernetes swaps the link of the folder, so device and
    inode change; who writes in place changes the times, of which the inode's own can be set by nobody. It ticks in milliseconds, so a
    value that was refused is read again whatever they say. White space around the value is cut off.

    Args:
        path: the file; it is read now.

    Raises:
        OSError: it cannot be read, or is no regular file: opening a pipe would wait for who writes into it.
        UnicodeDecodeError: it is not UTF-8 text.
        ValueError: it is too large.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version = _version(path)
        self._value = _read(path)
        self._complaint = ""
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        return f"secret file {self.path}"

    @property
    def error(self) -> RagError | None:
        """Looks at the file, so that health tells of one that is gone though nobody used it since."""
        self.ask()
        if not self._complaint:
            return None
        return ConfigurationError(f"The secret file {self.path} {self._complaint}; the value last read from it still serves.", hint="Put it back.")

    @property
    def known(self) -> str:
        return self.ask()

    def ask(self) -> str:
        try:
            version = _version(self.path)
        except OSError as error:
            self._complain(f"cannot be read ({error.strerror or type(error).__name__})")
            return self._value
        if version != self._version:
            return self._reread(version)
        self._complaint = ""  # the file is as it was read: it came back
        return self._value

    def ask_again(self, used: str) -> str:
        with self._lock:
            if self._value in used:  # a part of what was sent may be what was refused
                self._version = ()
        return self.ask()

    @property
    def hop(self) -> str:
        return ""

    @property
    def asking(self) -> bool:
        return False

    @property
    def denied(self) -> None:
        return None

    def renewal(self, patience_s: float) -> None:
        return None

    def wait(self, flight: Future[str]) -> str:
        return flight.result()

    async def wait_async(self, flight: Future[str]) -> str:
        return flight.result()  # never pending: a file is read at once

    def _reread(self, version: Version) -> str:
        with self._lock:
            if version == self._version:  # another thread was faster
                return self._value
            try:
                value = _read(self.path)
            except OSError as error:
                self._complain(f"cannot be read ({error.strerror or type(error).__name__})")
            except ValueError:
                self._complain(f"is not UTF-8 text of at most {MAX_SECRET_BYTES} bytes")
            else:
                self._take(value, version)
            return self._value

    def _take(self, value: str, version: Version) -> None:
        if not value:  # emptied before it is written; the next look reads it
            self._complain("is empty")
            return
        if value != self._value:
            log.info("a secret file changed; its new value is used from now on", path=str(self.path))
        self._value, self._version, self._complaint = value, version, ""

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("a secret file cannot be used; the value last read from it still serves", path=str(self.path), reason=complaint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileSecret) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)


def _version(path: Path) -> Version:
    found = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat, with each use of a secret
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_SECRET_BYTES + 1)
    if len(data) > MAX_SECRET_BYTES:
        raise ValueError(f"is larger than {MAX_SECRET_BYTES} bytes.")
    return data.decode("utf-8-sig").strip()


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a value is good, and how long reading one may take; seconds."""

    ttl_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class _Known:
    value: str = field(repr=False)
    read_at: float


class VaultSecret:
    """One secret of a vault, shared by all that name it: read when it is first used, then again in the background once ``ttl_s`` are
    over, and at once after it was refused; one reading at a time however many ask.

    Args:
        reference: what it is called there.
        read: blocks; gives up after ``timing().timeout_s``.
        timing: asked for each use.
        place: in words; the vault's name is known only once the configuration is.
        hop: the vault's address, likewise.
        clock: seconds, of any origin.
    """

    def __init__(
        self,
        reference: Reference,
        read: Callable[[Reference], str],
        timing: Callable[[], Timing],
        place: Callable[[Reference], str],
        hop: Callable[[Reference], str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reference = reference
        self._read = read
        self._timing = timing
        self._place = place
        self._hop = hop
        self._clock = clock
        self._lock = threading.Lock()
        self._known: _Known | None = None
        self._flight: Future[str] | None = None
        self._begun_at = 0.0
        self._failed: tuple[float, RagError] | None = None
        self._renewed_at: float | None = None

    @property
    def place(self) -> str:
        return self._place(self.reference)

    @property
    def error(self) -> RagError | None:
        failed = self._failed
        return None if failed is None else failed[1]

    @property
    def known(self) -> str | None:
        known = self._known
        return None if known is None else known.value

    @property
    def hop(self) -> str:
        return self._hop(self.reference)

    @property
    def asking(self) -> bool:
        return self._flight is not None

    @property
    def denied(self) -> RagError | None:
        """The plain class is for what is not there; all that may pass by itself (no way there, not the service, no token) has one of its own."""
        error = self.error if self._known is not None else None
        return error if type(error) is ConfigurationError or isinstance(error, ServicePermissionError) else None

    def renewal(self, patience_s: float) -> Future[str] | None:
        now = self._clock()
        with self._lock:
            known = self._known
            if known is None or (now < known.read_at + self._timing().ttl_s and self.denied is None):
                return None
            if self._flight is None:
                paused = self._failed is not None and now < self._failed[0] + PAUSE_S
                return None if paused else self._start()
            return self._flight if now < self._begun_at + patience_s else None

    def ask(self) -> str | Future[str]:
        known = self._known
        now = self._clock()
        if known is not None and now < known.read_at + self._timing().ttl_s:
            return known.value
        with self._lock:
            if self._flight is None and self._failed is not None and now < self._failed[0] + PAUSE_S:
                if self._known is None:
                    raise copy.copy(self._failed[1])
                return self._known.value
            flight = self._flight or self._start()
            return flight if self._known is None else self._known.value

    def ask_again(self, used: str) -> str | Future[str] | None:
        now = self._clock()
        with self._lock:
            if self._known is None or self._known.value not in used:  # a part of what was sent may be what was refused
                return None if self._known is None else self._known.value
            if self._flight is None:
                asked = (self._renewed_at, self._failed[0] if self._failed else None)
                if any(at is not None and now < at + PAUSE_S for at in asked):
                    return None
                self._renewed_at = now
            return self._flight or self._start()

    def wait(self, flight: Future[str]) -> str:
        seconds = self._timing().timeout_s
        try:
            return flight.result(seconds + GRACE_S)
        except TimeoutError:
            raise self._overrun(flight, seconds) from None
        except RagError as error:
            raise copy.copy(error) from None  # one object in many threads would mix their tracebacks

    async def wait_async(self, flight: Future[str]) -> str:
        import asyncio  # loading the configuration does without: a fifth of its time

        seconds = self._timing().timeout_s
        try:
            async with asyncio.timeout(seconds + GRACE_S):
                # A flight that runs cannot be cancelled: a caller that goes away leaves it to the others.
                return await asyncio.wrap_future(flight)
        except TimeoutError:
            raise self._overrun(flight, seconds) from None
        except RagError as error:
            raise copy.copy(error) from None

    def _overrun(self, flight: Future[str], seconds: float) -> RagError:
        with self._lock:
            if self._flight is flight:  # lost, as in a process that was forked meanwhile
                self._flight = None
        text, hint = f"{self.place} was not there within {seconds:g} s.", "Check the way there, proxy and name service included."
        return DeadlineExceededError(text, hop=self._hop(self.reference), setting="secrets.timeout_s", hint=hint)

    def _start(self) -> Future[str]:
        flight: Future[str] = Future()
        flight.set_running_or_notify_cancel()
        # Not of an executor: nothing at exit waits for a vault that hangs.
        start_daemon("rag-secrets", self._fly, flight)
        self._flight, self._begun_at = flight, self._clock()
        return flight

    def _fly(self, flight: Future[str]) -> None:
        error: RagError
        try:
            value = self._read(self.reference).strip()  # as files: `az keyvault secret set --file` keeps a line's end
        except RagError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - whatever it is, those who wait must hear of it; foreign texts may hold secrets, so only the type
            error = ConfigurationError(f"{self.place} cannot be read ({type(failure).__name__}).", setting="secrets.vault")
        else:
            self._arrived(flight, value)
            return
        with self._lock:
            self._failed, self._flight = (self._clock(), error), None
            serving = self._known is not None
        if serving:
            log.warning("a secret could not be read again; the value last read still serves", place=self.place, code=error.code, hop=error.hop)
        flight.set_exception(error)

    def _arrived(self, flight: Future[str], value: str) -> None:
        with self._lock:
            before, self._known = self._known, _Known(value, self._clock())
            self._failed = self._flight = None
        if before is not None and before.value != value:
            log.info("a secret changed in its vault; its new value is used from now on", place=self.place)
        flight.set_result(value)
