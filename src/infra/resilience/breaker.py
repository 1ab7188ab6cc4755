"""Circuit breaker: after failures in a row a host is left alone for a while, so that callers fail at once instead of waiting.

closed --failures in a row--> open --after `reset_s`, to exactly one request--> half-open --success--> closed, --failure--> open

`Circuit` is the state and `admit`, `succeeded`, `failed` and `released` its pure transitions; `Breaker` holds one for threads
and event loops alike. What counts as a failure is for the caller to say: that no answer came (unreachable, timeout, 502, 503,
504), not what the request itself brought about (4xx, a 429, a 500 that one query provokes: a caller could close the service
for everybody with it).

In a row means one after another: of requests that were in flight together, the first failure counts and the others are the same
event, such as the restart of a load balancer that resets all of its connections. Silence is another matter: each request that
waited in vain is evidence of its own, a whole failure or, where it could not wait for long, a part of one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ...telemetry import metrics

State = Literal["closed", "open", "half-open"]
STATES: tuple[State, ...] = ("closed", "open", "half-open")


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one request; to be handed back with its outcome."""

    probe: bool = False
    """It is the one request that finds out whether an open breaker may close."""
    failures: float = 0.0
    """In a row, when it was given: a request that set out before the last failure was known is no further event."""


CALL = Permit()
PROBE = Permit(probe=True)


@dataclass(frozen=True, slots=True)
class Rules:
    failures: int = 5
    """In a row, that open the breaker."""
    reset_s: float = 10.0
    """Until one request may try again."""


@dataclass(frozen=True, slots=True)
class Circuit:
    state: State = "closed"
    failures: float = 0.0
    """In a row, while closed; silence too short to tell is a part of one."""
    opened_at: float = 0.0


CLOSED = Circuit()


def admit(circuit: Circuit, now: float, rules: Rules) -> tuple[Circuit, Permit | None]:
    """May a request go out? While one probes, no other may."""
    if circuit.state == "closed":
        return circuit, CALL if circuit.failures == 0 else Permit(failures=circuit.failures)
    if circuit.state == "open" and now - circuit.opened_at >= rules.reset_s:
        return Circuit("half-open", opened_at=circuit.opened_at), PROBE
    return circuit, None


def succeeded(circuit: Circuit, permit: Permit) -> Circuit:
    """A late success of a request from before the opening does not close it: only the probe does."""
    if permit.probe:
        return CLOSED if circuit.state == "half-open" else circuit
    return CLOSED if circuit.state == "closed" else circuit


def failed(circuit: Circuit, permit: Permit, now: float, rules: Rules, silence: float | None = None) -> Circuit:
    """
    Args:
        silence: how much of a failure it is that no answer came in the time there was, from 0 to 1; None where it failed otherwise.
    """
    if permit.probe:  # however short its silence: else request after request would find out the same
        return Circuit("open", opened_at=now) if circuit.state == "half-open" else circuit
    if circuit.state != "closed":
        return circuit  # a late failure does not keep it open for longer
    if silence is None and permit.failures != circuit.failures:
        return circuit
    count = circuit.failures + (1.0 if silence is None else silence)
    return Circuit("open", opened_at=now) if count >= rules.failures else Circuit("closed", count)


def released(circuit: Circuit, permit: Permit) -> Circuit:
    """The request was given up without an outcome. After a probe the next request may probe at once."""
    return Circuit("open", opened_at=circuit.opened_at) if permit.probe and circuit.state == "half-open" else circuit


class Breaker:
    """One host's circuit. Safe to use from several threads and event loops."""

    def __init__(self, rules: Rules, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._clock = clock
        self._lock = threading.Lock()
        self._circuit = CLOSED
        self.reason = ""
        """What the last failure was, in words; for the error of an open breaker."""

    @property
    def state(self) -> State:
        return self._circuit.state

    @property
    def retry_in_s(self) -> float:
        """Seconds until a request may try again; 0 where it may."""
        circuit = self._circuit
        return 0.0 if circuit.state == "closed" else max(0.0, circuit.opened_at + self._rules.reset_s - self._clock())

    def admit(self) -> Permit | None:
        """Leave for one request, or None. Every permit must be handed back: `succeeded`, `failed` or `released`."""
        if self._circuit is CLOSED:  # nothing to decide or change: 0.05 µs instead of 0.6
            return CALL
        with self._lock:
            self._circuit, permit = admit(self._circuit, self._clock(), self._rules)
            return permit

    def succeeded(self, permit: Permit) -> None:
        if self._circuit is not CLOSED:
            with self._lock:
                self._circuit = succeeded(self._circuit, permit)

    def failed(self, permit: Permit, reason: str = "", silence: float | None = None) -> None:
        with self._lock:
            self.reason = reason
            self._circuit = failed(self._circuit, permit, self._clock(), self._rules, silence)

    def released(self, permit: Permit) -> None:
        with self._lock:
            self._circuit = released(self._circuit, permit)


class Breakers:
    """A breaker for each host."""

    def __init__(self, rules: Rules, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, Breaker] = {}

    def of(self, host: str) -> Breaker:
        with self._lock:
            if host not in self._hosts:
                self._hosts[host] = Breaker(self._rules, self._clock)
            return self._hosts[host]

    def states(self) -> dict[str, State]:
        with self._lock:
            return {host: breaker.state for host, breaker in self._hosts.items()}


def watch_breakers(part: str, hop: str, breakers: Breaker | Breakers) -> None:
    """Show in `rag.breaker.state` of each host and each state whether it is in it: 1 or 0.

    Args:
        part: what would do without the host: search, rerank.
        hop: name of the host of a single breaker.
    """

    def points(owner: Breaker | Breakers) -> list[tuple[float, dict[str, str]]]:
        states = owner.states() if isinstance(owner, Breakers) else {hop: owner.state}
        return [(float(found == state), {"rag.part": part, "rag.hop": host, "rag.state": state}) for host, found in states.items() for state in STATES]

    metrics.watch("rag.breaker.state", breakers, points)
