"""The circuit breaker's rules, for every order of events."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from src.infra.resilience.breaker import CALL, CLOSED, PROBE, Breaker, Breakers, Circuit, Permit, Rules, admit, failed, released, succeeded

RULES = Rules(failures=3, reset_s=10)


class BreakerMachine(RuleBasedStateMachine):
    """Any number of requests in flight that end in any order, while time passes."""

    @initialize(failures=st.integers(1, 4), reset_s=st.floats(0.1, 50))
    def start(self, failures: int, reset_s: float) -> None:
        self.now = 0.0
        self.rules = Rules(failures, reset_s)
        self.breaker = Breaker(self.rules, lambda: self.now)
        self.in_flight: list[Permit] = []
        self.opened_at: float | None = None

    def note(self, before: str) -> None:
        if self.breaker.state == "open" and before in ("closed", "half-open"):
            self.opened_at = self.now

    @rule(seconds=st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        before, since = self.breaker.state, self.opened_at
        permit = self.breaker.admit()
        if before == "closed":
            assert permit is not None
            assert not permit.probe
        elif before == "half-open":
            assert permit is None, "a probe is out already"
        else:
            assert since is not None
            assert (permit is PROBE) == (self.now - since >= self.rules.reset_s)
        if permit is not None:
            self.in_flight.append(permit)

    @precondition(lambda self: self.in_flight)
    @rule(which=st.integers(0), how=st.sampled_from(["succeeded", "failed", "released"]), silence=st.none() | st.floats(0, 1))
    def end(self, which: int, how: str, silence: float | None) -> None:
        permit = self.in_flight.pop(which % len(self.in_flight))
        before, since = self.breaker.state, self.opened_at
        if how == "failed":
            self.breaker.failed(permit, silence=silence)
        else:
            getattr(self.breaker, how)(permit)
        after = self.breaker.state
        if before == "open":
            assert after == "open", "only a probe leads out of open"
        if before == "half-open" and not permit.probe:
            assert after == "half-open", "a late answer decides nothing"
        if permit.probe:
            assert after == {"succeeded": "closed", "failed": "open", "released": "open"}[how]
        if how == "released":
            self.opened_at = since
        else:
            self.note(before)

    @invariant()
    def one_probe_at_most(self) -> None:
        probes = sum(permit.probe for permit in self.in_flight) if hasattr(self, "in_flight") else 0
        assert probes <= 1
        if hasattr(self, "breaker"):
            assert (self.breaker.state == "half-open") == (probes == 1)


TestBreakerMachine = BreakerMachine.TestCase


@given(st.lists(st.booleans(), max_size=60))
def test_it_opens_exactly_after_that_many_failures_in_a_row(outcomes: list[bool]) -> None:
    circuit, row = CLOSED, 0
    for good in outcomes:
        circuit, permit = admit(circuit, 1.0, RULES)
        assert permit is not None
        circuit = succeeded(circuit, permit) if good else failed(circuit, permit, 1.0, RULES)
        row = 0 if good else row + 1
        if row == RULES.failures:
            assert circuit == Circuit("open", opened_at=1.0)
            return
        assert circuit.state == "closed"


@given(at=st.floats(0, 1e6), now=st.floats(0, 1e6))
def test_an_open_circuit_lets_one_request_through_after_its_time_and_none_before(at: float, now: float) -> None:
    circuit, permit = admit(Circuit("open", opened_at=at), now, RULES)
    assert (permit is PROBE) == (now - at >= RULES.reset_s)
    if permit is not None:
        assert admit(circuit, now + 1e6, RULES) == (circuit, None)


def test_a_probe_that_was_given_up_lets_the_next_request_probe_at_once() -> None:
    probing, _ = admit(Circuit("open", opened_at=0), 20, RULES)
    again, permit = admit(released(probing, PROBE), 20, RULES)
    assert permit is PROBE
    assert again.state == "half-open"


def test_a_failed_probe_leaves_it_alone_for_another_whole_time() -> None:
    probing, _ = admit(Circuit("open", opened_at=0), 10, RULES)
    reopened = failed(probing, PROBE, 12, RULES)
    assert admit(reopened, 21.9, RULES)[1] is None
    assert admit(reopened, 22.0, RULES)[1] is PROBE


def test_of_many_threads_exactly_one_gets_the_probe() -> None:
    now = 0.0
    breaker = Breaker(Rules(1, 5), lambda: now)
    permit = breaker.admit()
    assert permit is not None
    breaker.failed(permit, "no answer")
    now = 6.0
    with ThreadPoolExecutor(16) as threads:
        permits = list(threads.map(lambda _: breaker.admit(), range(200)))
    assert [permit for permit in permits if permit] == [PROBE]


def test_it_says_when_it_tries_again_and_why_it_opened() -> None:
    now = 100.0
    breaker = Breaker(Rules(1, 5), lambda: now)
    assert breaker.retry_in_s == 0
    breaker.failed(CALL, "no answer")
    now = 102.0
    assert breaker.retry_in_s == pytest.approx(3)
    assert breaker.reason == "no answer"


def test_each_host_has_a_breaker_of_its_own() -> None:
    breakers = Breakers(Rules(1, 5), lambda: 0.0)
    breakers.of("a").failed(CALL)
    breakers.of("b").succeeded(CALL)
    assert breakers.of("a") is breakers.of("a")
    assert breakers.states() == {"a": "open", "b": "closed"}


@given(st.integers(2, 200))
def test_failures_of_requests_that_were_in_flight_together_are_one_event(together: int) -> None:
    breaker = Breaker(RULES, lambda: 0.0)
    for _ in range(RULES.failures - 1):
        permits = [breaker.admit() for _ in range(together)]
        for permit in permits:
            assert permit is not None
            breaker.failed(permit)
        assert breaker.state == "closed"
    permit = breaker.admit()
    assert permit is not None
    breaker.failed(permit)
    assert breaker.state == "open", "one event after another opens it"


def test_each_request_that_waited_in_vain_counts_though_they_waited_together() -> None:
    circuit = CLOSED
    for _ in range(RULES.failures):
        circuit = failed(circuit, CALL, 1.0, RULES, silence=1.0)
    assert circuit.state == "open"


def test_silence_that_was_cut_short_counts_in_part() -> None:
    circuit, rounds = CLOSED, 0
    while circuit.state == "closed":
        circuit = failed(circuit, CALL, 1.0, RULES, silence=0.25)
        rounds += 1
    assert rounds == RULES.failures * 4
    assert succeeded(Circuit("closed", 2.75), CALL) is CLOSED, "an answer ends the row"


def test_a_probe_that_was_not_answered_in_a_short_time_leaves_it_alone_for_another_whole_time() -> None:
    probing, permit = admit(Circuit("open", opened_at=0), 10, RULES)
    assert permit is PROBE
    reopened = failed(probing, permit, 10.5, RULES, silence=0.1)
    assert admit(reopened, 20.4, RULES)[1] is None
