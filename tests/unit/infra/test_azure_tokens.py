from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import DeadlineExceededError, IdentityError, OverloadedError, ResourceClosedError
from src.infra.azure_auth.tokens import GRACE_S, MARGIN_S, REFRESH_AHEAD_S, HeldError, Token, TokenProvider


@dataclass
class Issuer:
    """Fetches tokens of a made-up clock."""

    now: float = 1_000_000.0
    life_s: float = 3600.0
    fetched: int = 0
    failures: list[Exception] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def fetch(self) -> Token:
        self.fetched += 1
        self.done.set()
        if self.failures:
            raise self.failures.pop(0)
        return Token.issued(f"token-{self.fetched}", self.now, self.now + self.life_s)

    def provider(self) -> TokenProvider:
        return TokenProvider(self.fetch, timeout_s=5, clock=lambda: self.now)


def settle(tokens: TokenProvider) -> None:
    """Wait for a renewal that is under way."""
    flight = tokens._flight
    if flight is not None:
        flight.exception(5)


@given(life=st.floats(0, 1e6), now=st.floats(0, 4e9), recommended=st.none() | st.floats(-1e6, 1e6))
def test_a_token_is_renewed_before_it_stops_being_handed_out_and_that_before_its_end(life: float, now: float, recommended: float | None) -> None:
    token = Token.issued("t", now, now + life, refresh_on=None if recommended is None else now + recommended)
    assert token.refresh_at <= token.usable_until <= token.expires_at
    assert token.expires_at - token.usable_until <= MARGIN_S + 1e-3
    if recommended is None:
        assert token.expires_at - token.refresh_at <= REFRESH_AHEAD_S + 1e-3


def test_a_token_serves_until_its_renewal_and_the_old_one_until_the_new_one_is_there() -> None:
    issuer = Issuer()
    tokens = issuer.provider()
    assert [tokens(), tokens()] == ["token-1", "token-1"]
    issuer.now += 3299
    assert tokens() == "token-1"
    assert issuer.fetched == 1
    issuer.now += 2
    assert tokens() == "token-1", "the one who starts the renewal does not wait for it"
    settle(tokens)
    assert tokens() == "token-2"


def test_renewals_that_fail_are_spaced_and_the_end_of_the_old_token_is_their_end() -> None:
    issuer = Issuer()
    tokens = issuer.provider()
    tokens()
    issuer.failures = [IdentityError("refused") for _ in range(50)]
    for _ in range(269):
        issuer.now = max(issuer.now, 1_000_000.0 + 3300) + 1
        assert tokens() == "token-1"
        settle(tokens)
    assert issuer.fetched - 1 == 5, "at 0, 10, 40, 100 and 220 s; from the 270th on the old token is too near its end"
    issuer.now += 60
    with pytest.raises(IdentityError):
        tokens()
    assert isinstance(tokens.last_error, IdentityError)
    issuer.failures.clear()
    assert tokens().startswith("token-")
    assert tokens.last_error is None


def test_a_service_that_says_how_long_to_wait_is_not_asked_before() -> None:
    issuer = Issuer(failures=[HeldError(OverloadedError("busy"), 30)])
    tokens = issuer.provider()
    for _ in range(3):
        with pytest.raises(OverloadedError):
            tokens()
    assert issuer.fetched == 1
    issuer.now += 31
    assert tokens() == "token-2"


def test_only_the_token_in_use_can_be_thrown_away() -> None:
    issuer = Issuer()
    tokens = issuer.provider()
    first = tokens()
    assert tokens.invalidate(first)
    assert not tokens.invalidate(first)
    second = tokens()
    assert second != first
    assert not tokens.invalidate(first)
    assert tokens() == second
    assert tokens.expires_at == issuer.now + 3600


def test_a_token_that_comes_after_closing_is_not_kept() -> None:
    issuer = Issuer()
    tokens = issuer.provider()
    tokens()
    tokens.close()
    tokens.close()
    with pytest.raises(ResourceClosedError):
        tokens()


def test_a_fault_of_the_fetch_itself_reaches_the_caller() -> None:
    tokens = Issuer(failures=[KeyError("bug")]).provider()
    with pytest.raises(KeyError):
        tokens()
    assert tokens() == "token-2"


def test_no_token_is_in_a_repr() -> None:
    issuer = Issuer()
    tokens = issuer.provider()
    value = tokens()
    assert value not in repr(tokens) + repr(vars(tokens))


def test_a_process_that_may_have_no_more_threads_says_so_and_the_next_call_gets_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Issuer().provider()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OverloadedError, match="no thread"):
            tokens()
    assert tokens() == "token-1"


def test_a_fetch_that_was_lost_is_begun_anew_once_it_is_overdue() -> None:
    issuer, hangs = Issuer(), threading.Event()

    def fetch() -> Token:
        if not issuer.fetched:
            issuer.fetched += 1
            hangs.wait(30)
        return issuer.fetch()

    tokens = TokenProvider(fetch, timeout_s=-GRACE_S + 0.05, clock=lambda: issuer.now)
    with pytest.raises(DeadlineExceededError):
        tokens()
    hangs.set()
    assert TokenProvider.__call__(tokens).startswith("token-")
