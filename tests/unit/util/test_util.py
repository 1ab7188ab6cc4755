from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from src.errors import ConfigurationError
from src.util.aio import background_loop, run_sync, stopped
from src.util.cache import CacheService, TTLCache
from src.util.registry import Registry


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_entries_leave_after_their_time_and_are_reported() -> None:
    time, gone = Time(), []
    cache: TTLCache[str, int] = TTLCache(10, ttl=5, on_evict=lambda key, value: gone.append((key, value)), timer=time)
    cache.set("a", 1)
    time.now = 4.9
    assert cache.get("a") == 1
    time.now = 5.1
    assert cache.get("a") is None
    assert cache.expire() in (0, 1)
    assert gone == [("a", 1)]


def test_the_entry_over_the_bound_leaves_and_is_reported() -> None:
    gone: list[str] = []
    cache: TTLCache[str, int] = TTLCache(2, ttl=5, on_evict=lambda key, _: gone.append(key), timer=Time())
    for key in "abc":
        cache.set(key, 1)
    assert len(cache) == 2
    assert gone == ["a"]


def test_deleting_by_hand_is_no_eviction() -> None:
    gone: list[str] = []
    cache: TTLCache[str, int] = TTLCache(2, ttl=5, on_evict=lambda key, _: gone.append(key))
    cache.set("a", 1)
    assert cache.delete("a")
    assert not cache.delete("a")
    assert gone == []


def test_a_cached_none_is_not_computed_again() -> None:
    service, calls = CacheService(), []
    for _ in range(3):
        assert service.get_or_compute("x", "k", lambda: calls.append(1)) is None
    assert calls == [1]
    assert service.stats()["x"]["hits"] == 2


def test_synchronous_callers_share_one_loop() -> None:
    async def where() -> object:
        return asyncio.get_running_loop()

    seen: list[object] = [run_sync(where()) for _ in range(2)]
    thread = threading.Thread(target=lambda: seen.append(run_sync(where())))
    thread.start()
    thread.join()
    assert set(seen) == {background_loop()}


async def test_a_synchronous_wrapper_inside_its_own_loop_is_an_error_not_a_deadlock() -> None:
    async def inner() -> None:
        run_sync(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="background loop"):
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(inner(), background_loop()))


async def test_a_task_that_is_stopped_cleans_up_however_often_its_owner_is_cancelled() -> None:
    done: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            done.append("clean")

    async def owner(task: asyncio.Task[None]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await stopped(task)

    task = asyncio.create_task(work())
    owning = asyncio.create_task(owner(task))
    await asyncio.sleep(0)
    while not owning.done():
        owning.cancel()
        await asyncio.sleep(0)
    assert owning.cancelled()
    assert (task.cancelled(), done) == (True, ["clean"])


def test_an_exception_comes_out_of_the_synchronous_wrapper() -> None:
    async def broken() -> None:
        raise ConfigurationError("no")

    with pytest.raises(ConfigurationError, match="no"):
        run_sync(broken())


def test_a_registered_factory_wins_over_an_announced_one() -> None:
    registry: Registry[object] = Registry("resource", "founders_rag.resources")  # type: ignore[type-var]
    own = lambda: 1  # noqa: E731
    registry.register("agent", own)
    assert registry.get("agent") is own
    assert {"agent", "retriever", "ingestor", "threads"} <= set(registry.names())


async def _in_a_thread() -> int:
    return await asyncio.to_thread(lambda: 7)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_a_background_loop_of_its_own_and_the_parents_goes_on() -> None:
    assert run_sync(_in_a_thread()) == 7
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # ends a child that hangs
        os._exit(run_sync(_in_a_thread()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert run_sync(_in_a_thread()) == 7
