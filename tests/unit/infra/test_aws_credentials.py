from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import ConfigurationError, UnreachableError
from src.infra.aws.credentials import AHEAD_S, PAUSE_S, REREAD_S, AwsCredentials, AwsKeys


class Source:
    """Hands out numbered keys that live for ``life`` seconds of a clock of its own."""

    def __init__(self, life: float | None = 3600.0) -> None:
        self.life = life
        self.now = 1_000_000.0
        self.calls = 0
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.failures: deque[Exception] = deque()
        self.left = threading.Semaphore(0)
        """Released once for each call that has ended."""
        self.credentials = AwsCredentials(self.load, clock=lambda: self.now)

    def load(self) -> AwsKeys:
        self.calls += 1
        self.threads.add(threading.get_ident())
        number = self.calls
        try:
            assert self.gate.wait(20)
            if self.failures:
                raise self.failures.popleft()
            return AwsKeys(f"key-{number}", "the-secret", "the-token", "eu-west-1", self.now, None if self.life is None else self.now + self.life)
        finally:
            self.left.release()

    async def key(self) -> str:
        return (await self.credentials.get()).access_key

    async def settled(self) -> None:
        """The call in flight has ended, and its thread."""
        assert await asyncio.to_thread(self.left.acquire, timeout=20)
        for thread in [t for t in threading.enumerate() if t.name == "aws-credentials"]:
            await asyncio.to_thread(thread.join)


async def test_nothing_is_asked_for_before_the_first_use_nor_again_while_they_are_fresh() -> None:
    source = Source()
    assert source.calls == 0
    assert {await source.key() for _ in range(5)} == {"key-1"}
    assert source.threads.isdisjoint({threading.get_ident()}), "blocks the event loop"


async def test_a_hundred_tasks_and_another_loop_and_threads_share_one_call() -> None:
    source = Source()
    source.gate.clear()

    async def many() -> list[str]:
        return await asyncio.gather(*(source.key() for _ in range(100)))

    with ThreadPoolExecutor(5) as pool:
        others = [pool.submit(asyncio.run, many()), *(pool.submit(lambda: [source.credentials.get_blocking().access_key]) for _ in range(4))]
        here = asyncio.create_task(many())
        await asyncio.sleep(0.05)
        source.gate.set()
        assert set(await here) == {"key-1"}
        assert {key for other in others for key in other.result()} == {"key-1"}
    assert source.calls == 1


async def test_ahead_of_expiry_the_old_ones_serve_while_one_call_brings_new_ones() -> None:
    source = Source()
    await source.key()
    await source.settled()
    source.now += 3600 - AHEAD_S + 1
    source.gate.clear()
    assert {await source.key() for _ in range(50)} == {"key-1"}
    source.gate.set()
    await source.settled()
    assert await source.key() == "key-2"
    assert source.calls == 2


async def test_once_expired_everyone_waits_for_one_call() -> None:
    source = Source()
    await source.key()
    source.now += 3600
    assert set(await asyncio.gather(*(source.key() for _ in range(100)))) == {"key-2"}
    assert source.calls == 2


async def test_a_role_session_of_fifteen_minutes_is_not_renewed_with_every_request() -> None:
    source = Source(life=900)
    await source.key()
    source.now += 590
    assert await source.key() == "key-1"
    assert source.calls == 1


async def test_a_failed_renewal_is_logged_and_repeated_after_a_pause_and_the_old_ones_serve(caplog: pytest.LogCaptureFixture) -> None:
    source = Source()
    await source.key()
    await source.settled()
    source.now += 3000
    source.failures.append(UnreachableError("STS is away."))
    assert await source.key() == "key-1"
    await source.settled()
    assert {await source.key() for _ in range(3)} == {"key-1"}
    assert source.calls == 2
    assert "could not be renewed" in caplog.text
    source.now += PAUSE_S
    assert await source.key() == "key-1"
    await source.settled()
    assert await source.key() == "key-3"


async def test_without_keys_a_failure_is_told_to_all_at_once_and_not_repeated_within_a_pause() -> None:
    source = Source()
    source.failures.append(ConfigurationError("No AWS credentials were found."))
    results = await asyncio.gather(*(source.key() for _ in range(20)), return_exceptions=True)
    assert {type(result) for result in results} == {ConfigurationError}
    with pytest.raises(ConfigurationError):
        await source.key()
    assert source.calls == 1
    source.now += PAUSE_S
    assert await source.key() == "key-2"


async def test_keys_without_an_expiry_are_read_again_in_the_background() -> None:
    source = Source(life=None)
    await source.key()
    await source.settled()
    source.now += REREAD_S
    assert await source.key() == "key-1"
    await source.settled()
    assert await source.key() == "key-2"


async def test_a_cancelled_task_takes_nobody_with_it() -> None:
    source = Source()
    source.gate.clear()
    first, second = asyncio.create_task(source.key()), asyncio.create_task(source.key())
    await asyncio.sleep(0.02)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.gate.set()
    assert await second == "key-1"
    assert source.calls == 1


async def test_refused_keys_are_renewed_by_one_call_for_all_who_were_refused() -> None:
    source = Source()
    await source.key()
    await source.settled()
    source.gate.clear()
    waiting = [asyncio.create_task(source.credentials.renew("key-1")) for _ in range(50)]
    await asyncio.sleep(0.02)
    source.gate.set()
    assert set(await asyncio.gather(*waiting)) == {True}
    assert await source.credentials.renew("key-1"), "refused late; there are others already"
    assert (await source.key(), source.calls) == ("key-2", 2)


async def test_keys_that_stay_refused_are_asked_for_once_in_a_pause() -> None:
    source = Source()
    await source.key()
    assert await source.credentials.renew("key-1")
    assert {await source.credentials.renew("key-2") for _ in range(5)} == {False}
    assert await asyncio.to_thread(source.credentials.renew_blocking, "key-2") is False
    assert source.calls == 2
    source.now += PAUSE_S
    assert await asyncio.to_thread(source.credentials.renew_blocking, "key-2")
    assert await source.key() == "key-3"


async def test_a_renewal_that_fails_is_told_and_not_repeated_within_a_pause() -> None:
    source = Source()
    await source.key()
    source.failures.append(UnreachableError("STS is away."))
    with pytest.raises(UnreachableError):
        await source.credentials.renew("key-1")
    assert await source.credentials.renew("key-1") is False
    assert source.calls == 2


def test_no_repr_shows_a_key() -> None:
    keys = AwsKeys("AKIDACCESS", "hunter2-secret", "hunter2-token", "eu-west-1", 0.0)
    assert "hunter2" not in repr(keys)
    assert "AKIDACCESS" not in repr(keys)


@given(read_at=st.floats(0, 2e9), life=st.floats(1, 1e6), at=st.floats(-10, 1e6))
def test_keys_are_due_before_they_stop_being_usable_and_stay_due(read_at: float, life: float, at: float) -> None:
    keys = AwsKeys("a", "b", None, "r", read_at, read_at + life)
    now = read_at + at
    if life > 60 and not keys.usable(now):
        assert keys.due(now)
    if keys.due(now):
        assert keys.due(now + 1)
    assert life < 30 or not keys.due(read_at)
