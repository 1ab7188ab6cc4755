"""AWS credentials that renew themselves: off the event loop, ahead of expiry, once however many ask.

`AwsCredentials` is shared between tasks, event loops and threads. Where credentials come from is `chain.load_keys`'s
business; this module decides when to ask it, and who waits. botocore's own refreshing is not used: it blocks the task that
happens to ask, begins anew with every request once 15 minutes are left (always, where a role's sessions last 15 minutes), and
never sees that a tool has written new keys into the credentials file.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from ...errors import DeadlineExceededError, RagError
from ...telemetry.logger import get_logger
from ...util.threads import start_daemon

log = get_logger(__name__)

PATIENCE = 0.8
"""Share of `[search] timeout_s` to wait for credentials: what is late is then named, before the request's own time is over."""
AHEAD_S = 900.0
"""Renewed so long before they expire, or at a third of their life where that is less."""
MARGIN_S = 5.0
"""Not used for the last seconds: the request has to arrive as well."""
REREAD_S = 60.0
"""Keys without an expiry are read again after this: tools such as saml2aws write new ones into the same file."""
PAUSE_S = 5.0
"""After a failure nothing is asked for so long; who has no credentials meanwhile gets the same error at once."""


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """What signs a request. Its repr holds no secret."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)
    region: str
    read_at: float
    """Seconds since 1970."""
    expires: float | None = None
    """Seconds since 1970; None where nobody says."""

    def usable(self, now: float) -> bool:
        return self.expires is None or now < self.expires - MARGIN_S

    def due(self, now: float) -> bool:
        """Time for new ones."""
        if self.expires is None:
            return now >= self.read_at + REREAD_S or now < self.read_at - REREAD_S  # the clock was set back
        return now >= self.expires - min(AHEAD_S, (self.expires - self.read_at) / 3)


def late(seconds: float) -> DeadlineExceededError:
    """The error where AWS gives no credentials in time."""
    text, hint = f"AWS gave no credentials within {seconds:g} s.", "Check that STS, or the instance's metadata service, can be reached."
    return DeadlineExceededError(text, hop="AWS", setting="search.timeout_s", hint=hint)


class AwsCredentials:
    """The current keys, from a source that may take seconds.

    Args:
        load: blocks; called in a thread of its own, once at a time.
        clock: seconds since 1970.
    """

    def __init__(self, load: Callable[[], AwsKeys], *, clock: Callable[[], float] = time.time) -> None:
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: AwsKeys | None = None
        self._flight: Future[AwsKeys] | None = None
        self._pid = 0
        """Whose flight it is: threads do not come along into a process that is forked."""
        self._failure: tuple[float, Exception] | None = None
        self._renewed_at: float | None = None
        """When a refusal last made us ask for new ones."""

    async def get(self) -> AwsKeys:
        """Usable keys; waits only where there are none, and never blocks the loop.

        Raises:
            RagError: as `load` does.
        """
        found = self._look()
        # A task that is cancelled lets the others wait on: a future that runs cannot be cancelled.
        return found if isinstance(found, AwsKeys) else await asyncio.wrap_future(found)

    def get_blocking(self, timeout_s: float | None = None) -> AwsKeys:
        """The same for threads.

        Raises:
            DeadlineExceededError: there are none within that time.
        """
        found = self._look()
        try:
            return found if isinstance(found, AwsKeys) else found.result(timeout_s)
        except TimeoutError:
            raise late(timeout_s or 0.0) from None

    async def renew(self, refused: str) -> bool:
        """New keys, where the server refused those with this access key though they are not due; True where there are others now.

        At most one call in `PAUSE_S` for refusals, however many ask: what is refused again is not a matter of these keys.
        """
        found = self._look_beyond(refused)
        if isinstance(found, Future):
            found = await asyncio.wrap_future(found)
        return _others(found, refused)

    def renew_blocking(self, refused: str) -> bool:
        """The same for threads."""
        found = self._look_beyond(refused)
        return _others(found.result() if isinstance(found, Future) else found, refused)

    def _look_beyond(self, refused: str) -> AwsKeys | Future[AwsKeys] | None:
        now = self._clock()
        with self._lock:
            if self._keys is None or self._keys.access_key != refused:
                return self._keys
            if self._flight is None or self._pid != os.getpid():
                asked = (self._renewed_at, self._failure[0] if self._failure else None)
                if any(at is not None and 0 <= now - at < PAUSE_S for at in asked):
                    return None
                self._renewed_at = now
                self._start()
            return self._flight

    def _look(self) -> AwsKeys | Future[AwsKeys]:
        now = self._clock()
        keys = self._keys
        if keys is not None and not keys.due(now):
            return keys
        with self._lock:
            keys, failure = self._keys, self._failure
            serves = keys is not None and keys.usable(now)
            if keys is not None and not keys.due(now):
                return keys
            if self._flight is None or self._pid != os.getpid():
                if failure is not None and 0 <= now - failure[0] < PAUSE_S:
                    if keys is not None and serves:
                        return keys
                    raise failure[1].with_traceback(None)
                self._start()
            assert self._flight is not None
            return keys if keys is not None and serves else self._flight

    def _start(self) -> None:
        flight: Future[AwsKeys] = Future()
        flight.set_running_or_notify_cancel()
        # A thread and not an executor: nothing at exit waits for a call to AWS that hangs.
        start_daemon("aws-credentials", self._fly, flight)
        self._flight, self._pid = flight, os.getpid()

    def _fly(self, flight: Future[AwsKeys]) -> None:
        try:
            keys = self._load()
        except Exception as error:  # noqa: BLE001 - handed to those who wait, whatever it is
            with self._lock:
                self._failure, self._flight = (self._clock(), error), None
                old = self._keys
            flight.set_exception(error)
            if old is not None:
                left = None if old.expires is None else round(old.expires - self._clock())
                reason = error.message if isinstance(error, RagError) else type(error).__name__
                log.warning("AWS credentials could not be renewed; the old ones serve until they expire", reason=reason, seconds_left=left)
            return
        with self._lock:
            self._keys, self._failure, self._flight = keys, None, None
        flight.set_result(keys)


def _others(keys: AwsKeys | None, refused: str) -> bool:
    return keys is not None and keys.access_key != refused
