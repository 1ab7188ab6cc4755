"""One token for all callers: fetched once however many ask, renewed behind their backs, thrown away when it is refused.

Knows nothing of Azure: it is given a function that fetches, which may block and which runs on a thread of its own.
"""

from __future__ import annotations

import asyncio
import copy
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from ...errors import DeadlineExceededError, OverloadedError, RagError, ResourceClosedError
from ...telemetry.logger import get_logger
from ...util.threads import start_daemon

log = get_logger(__name__)

REFRESH_AHEAD_S = 300.0
MARGIN_S = 30.0
"""A token that has less left is not handed out: it would end under way."""
REFRESH_PAUSES_S = (10.0, 30.0, 60.0, 120.0)
"""Between renewals that fail while the old token still serves; the last one repeats."""
GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token; its repr does not hold it."""

    value: str = field(repr=False)
    expires_at: float
    """Seconds since the epoch."""
    usable_until: float
    refresh_at: float
    kind: str = ""
    """Which identity it was given to."""

    @classmethod
    def issued(cls, value: str, now: float, expires_at: float, *, refresh_on: float | None = None, kind: str = "") -> Token:
        """A token that was fetched ``now``. It is renewed 300 s before its end, at half of its life, or when its issuer says: what comes first."""
        life = max(0.0, expires_at - now)
        ahead = expires_at - min(REFRESH_AHEAD_S, life / 2)
        refresh_at = min(ahead, refresh_on) if refresh_on is not None and refresh_on > now else ahead
        return cls(value, expires_at, expires_at - min(MARGIN_S, life / 10), refresh_at, kind)


class HeldError(Exception):
    """Carries an error of a fetch that says how long not to ask again."""

    def __init__(self, error: RagError, after_s: float) -> None:
        super().__init__(error.code)
        self.error = error
        self.after_s = after_s


class TokenProvider:
    """Bearer tokens for any number of threads, tasks and event loops.

    ``provider()`` blocks, ``await provider.token()`` does not; both cost about a microsecond while a token is there. From
    ``refresh_at`` on the next call starts a renewal in the background and is served the old token, as are all others until
    the new one is there; a renewal that fails is tried again while the old token lasts.

    Args:
        fetch: gets a new token, or raises `RagError` or `HeldError`.
        timeout_s: seconds that ``fetch`` allows itself; who waits for it waits no longer, and a little.
        hop: what is named where even that is overrun.
        clock: seconds since the epoch.
    """

    def __init__(self, fetch: Callable[[], Token], *, timeout_s: float, hop: str = "", setting: str = "", clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._timeout_s = timeout_s
        self.hop = hop
        self._setting = setting
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._flight: Future[Token] | None = None
        self._pid = 0
        """Whose flight it is: threads do not come along into a process that is forked."""
        self._failures = 0
        self._next_refresh = 0.0
        self._held: tuple[float, RagError] | None = None
        self._last_error: RagError | None = None
        self._closed = False

    def __call__(self) -> str:
        """A valid token; waits for it where there is none.

        Raises:
            ConfigurationError: the identity is not configured, or its certificate cannot be used.
            IdentityError: the identity service refuses.
            ServiceUnavailableError: it cannot be reached, or not in time; its kinds say why.
            ResourceClosedError: after `close`.
        """
        token = self._current()
        if token is not None:
            return token.value
        flight = self._start()
        try:
            return flight.result(self._timeout_s + GRACE_S).value
        except TimeoutError:
            raise self._overrun(flight) from None
        except RagError as error:
            raise _own_copy(error) from None

    async def token(self) -> str:
        """As a call, without blocking the event loop."""
        token = self._current()
        if token is not None:
            return token.value
        flight = self._start()
        try:
            async with asyncio.timeout(self._timeout_s + GRACE_S):
                # The flight is running, so a caller that is cancelled cannot cancel it for the others.
                return (await asyncio.wrap_future(flight)).value
        except TimeoutError:
            raise self._overrun(flight) from None
        except RagError as error:
            raise _own_copy(error) from None

    def invalidate(self, token: str) -> bool:
        """Throw a token away that a service refused; False if it is not the one in use, as when another caller was faster."""
        with self._lock:
            if self._token is None or self._token.value != token:
                return False
            self._token = None
        log.warning("a service refused the token; the next call gets a new one", hop=self.hop)
        return True

    @property
    def expires_at(self) -> float | None:
        """When the token in use ends, in seconds since the epoch; None without one."""
        token = self._token
        return token.expires_at if token else None

    @property
    def last_error(self) -> RagError | None:
        """Why the last fetch failed; None if it did not."""
        return self._last_error

    def close(self) -> None:
        """Forget the token and hand out no more. Again is harmless."""
        with self._lock:
            self._closed = True
            self._token = None

    def _current(self) -> Token | None:
        """The token if it is still good. Reading one attribute needs no lock; starting a renewal takes it."""
        token = self._token
        if token is None:
            return None
        now = self._clock()
        if now < token.refresh_at:
            return token
        if now >= token.usable_until:
            return None
        if now >= self._next_refresh and (self._flight is None or self._pid != os.getpid()):
            with suppress(OverloadedError):  # no thread to be had now: the old token serves, and the next call tries again
                self._start()
        return token

    def _start(self) -> Future[Token]:
        """The one fetch under way, begun now if there is none."""
        with self._lock:
            if self._closed:
                raise ResourceClosedError("A token was asked for after the identity was closed.")
            if self._flight is not None and self._pid == os.getpid():
                return self._flight
            flight: Future[Token] = Future()
            token, now = self._token, self._clock()
            if token is not None and now < token.refresh_at:  # another caller's fetch has ended in between
                flight.set_result(token)
                return flight
            if self._held is not None and now < self._held[0]:
                flight.set_exception(self._held[1])
                return flight
            flight.set_running_or_notify_cancel()
            # Not of the loop's executor: neither the end of the program nor that of a loop waits for an authority.
            start_daemon("rag-identity", self._fly, flight)
            self._flight, self._pid = flight, os.getpid()
        return flight

    def _fly(self, flight: Future[Token]) -> None:
        try:
            token = self._fetch()
        except BaseException as failure:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._failed(flight, failure)
            return
        with self._lock:
            self._token = None if self._closed else token
            self._flight = None if self._flight is flight else self._flight
            self._held = self._last_error = None
            self._failures, self._next_refresh = 0, 0.0
        flight.set_result(token)

    def _failed(self, flight: Future[Token], failure: BaseException) -> None:
        error = failure.error if isinstance(failure, HeldError) else failure
        now = self._clock()
        with self._lock:
            pause = REFRESH_PAUSES_S[min(self._failures, len(REFRESH_PAUSES_S) - 1)]
            self._failures += 1
            if isinstance(failure, HeldError):
                pause = max(pause, failure.after_s)
                self._held = (now + failure.after_s, failure.error)
            self._next_refresh = now + pause
            self._last_error = error if isinstance(error, RagError) else None
            serving = self._token is not None
            self._flight = None if self._flight is flight else self._flight
        if serving:
            log.warning("the token could not be renewed; the old one still serves", code=getattr(error, "code", type(error).__name__), hop=self.hop)
        flight.set_exception(error)

    def _overrun(self, flight: Future[Token]) -> DeadlineExceededError:
        with self._lock:
            if self._flight is flight:  # a fetch ends by itself before this; whatever became of it, the next call begins another
                self._flight = None
        return DeadlineExceededError(
            f"No token came within {self._timeout_s:g} s.", hop=self.hop, setting=self._setting, hint="Check the way there, proxy and name service included."
        )


def _own_copy(error: RagError) -> RagError:
    """An error for one caller alone: raising one object in many threads would mix their tracebacks."""
    return copy.copy(error)
