"""Health checks: each within its time, asked once however many want to know."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any

from src.errors import UnreachableError
from src.infra.config import Settings
from src.infra.health import Finding, HealthChecker, get_health_checker
from src.infra.health.checker import MAX_MESSAGE_CHARS
from src.infra.health.hysteresis import Rules
from src.infra.resource_manager import ResourceManager, use_resources


async def test_a_component_is_as_healthy_as_its_check_and_only_required_ones_decide_readiness() -> None:
    async def good() -> None: ...

    async def down() -> None:
        raise UnreachableError("It is gone.", hop="https://a")

    async def broken() -> None:
        raise KeyError("secret")

    async def hangs() -> None:
        await asyncio.sleep(60)

    checker = HealthChecker(timeout_s=0.05)
    checker.register_component("good", good)
    checker.register_component("down", down, required=False)
    assert (await checker.check_all()).ready
    checker.register_component("broken", broken)
    checker.register_component("hangs", hangs)
    found = await checker.check_all()
    assert [(one.name, one.status) for one in found.components] == [("good", "healthy"), *((name, "unhealthy") for name in ("down", "broken", "hangs"))]
    assert "hop https://a" in found.components[1].message
    assert "secret" not in found.components[2].message
    assert not found.ready


async def test_many_who_ask_at_once_or_soon_after_cost_one_check() -> None:
    calls = 0

    async def check() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)

    checker = HealthChecker(ttl_s=60)
    checker.register_component("search", check)
    await asyncio.gather(*(checker.check_all() for _ in range(10)))
    await checker.check_all()
    assert calls == 1


async def test_a_blocking_check_holds_up_neither_the_loop_nor_the_others_and_is_never_started_twice() -> None:
    release, started = threading.Event(), 0

    def blocks() -> None:
        nonlocal started
        started += 1
        release.wait(20)

    checker = HealthChecker(timeout_s=0.5, ttl_s=0)
    checker.register_component("blocks", blocks)
    checker.register_component("good", lambda: None)
    try:
        for _ in range(2):
            found = await checker.check_all()
            assert [one.status for one in found.components] == ["unhealthy", "healthy"]
        assert started == 1
    finally:
        release.set()


async def test_a_check_that_does_not_heed_being_cancelled_holds_nobody_up() -> None:
    going = asyncio.Event()

    async def stubborn() -> None:
        while not going.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await going.wait()

    checker = HealthChecker(timeout_s=0.05)
    checker.register_component("stubborn", stubborn)
    async with asyncio.timeout(5):
        assert (await checker.check_all()).components[0].message == "no answer within 0.05 s"
    going.set()
    await asyncio.sleep(0)


async def test_status_time_and_since_are_told_and_a_blip_only_in_the_message() -> None:
    now, wrong = 1_000_000.0, False

    async def check() -> Finding | None:
        if wrong:
            raise UnreachableError("It is gone.")
        return None

    checker = HealthChecker(ttl_s=0, rules=Rules(2, 2), clock=lambda: now)
    checker.register_component("search", check)
    first = await checker.check_all()
    now, wrong = now + 60, True
    second = await checker.check_all()
    assert (second.components[0].status, second.ready) == ("healthy", True)
    assert second.components[0].message == "seen unhealthy 1 of 2 times: It is gone."
    assert second.components[0].since == first.components[0].since != second.components[0].checked_at
    third = await checker.check_all()
    assert (third.components[0].status, third.ready, third.status) == ("unhealthy", False, "unhealthy")
    assert third.components[0].since == second.components[0].checked_at
    assert third.shape(messages=False)["components"]["search"].keys() == {"status", "latency_ms", "required", "checked_at", "since"}


async def test_what_is_degraded_or_unknown_and_not_required_leaves_the_server_ready() -> None:
    checker = HealthChecker()
    checker.register_component("disk", lambda: Finding("degraded", "nearly full"), required=False)
    checker.register_component("memory", lambda: Finding("unknown"), required=False)
    checker.register_component("search", lambda: None)
    found = await checker.check_all()
    assert (found.ready, found.status) == (True, "degraded")
    assert [one.name for one in (await checker.check_all(required_only=True)).components] == ["search"]
    checker.register_component("search", lambda: Finding("unknown"))
    assert not (await checker.check_all()).ready


async def test_own_components_join_those_of_the_process(tmp_path: Path) -> None:
    resources = ResourceManager(Settings.model_validate({"storage": {"path": tmp_path}}), overrides={"search": Idle(), "embedder": Idle()})
    with use_resources(resources):
        get_health_checker().register_component("printer", lambda: Finding("degraded", "no paper"), required=False)
        found = {one.name: one for one in (await get_health_checker().check_all()).components}
    assert found["printer"].message == "no paper"
    assert {"search", "embedder", "disk", "memory", "processor", "pools", "index"} <= found.keys()
    assert {found[name].required for name in ("disk", "memory", "processor", "pools", "index")} == {False}
    await resources.aclose()


class Idle:
    """A part that is always well."""

    async def ping(self) -> None: ...

    async def embed(self, texts: list[str]) -> None: ...


async def test_whatever_a_check_gives_back_or_raises_is_one_component_and_no_more() -> None:
    def leaves() -> None:
        raise SystemExit(3)

    async def leaves_too() -> None:
        raise SystemExit(3)

    def ends() -> None:
        raise StopIteration

    given: dict[str, Any] = {
        "leaves": leaves,
        "leaves_too": leaves_too,
        "ends": ends,
        "no": lambda: False,
        "text": lambda: "hunter2",
        "bogus": lambda: Finding("bogus"),  # type: ignore[arg-type] # what somebody's own code does
        "number": lambda: Finding("degraded", 5),  # type: ignore[arg-type] # as above
        "yes": lambda: True,
        "nothing": lambda: None,
    }
    checker = HealthChecker(timeout_s=2)
    for name, check in given.items():
        checker.register_component(name, check, required=False)
    found = await checker.check_all()
    assert found.ready
    assert {one.name: one.status for one in found.components} == dict.fromkeys(given, "unhealthy") | {
        "number": "degraded",
        "yes": "healthy",
        "nothing": "healthy",
    }
    told = {one.name: one.message for one in found.components}
    assert told["leaves"] == told["leaves_too"] == "the check failed with SystemExit"
    assert "returned str" in told["text"]
    assert "hunter2" not in str(told)
    assert "none of healthy, degraded, unhealthy, unknown" in told["bogus"]


async def test_each_message_is_redacted_on_one_line_and_bounded() -> None:
    def raises() -> None:
        raise UnreachableError("password=hunter2 at ann@example.com \x1b[31m\n" + "x" * 5000)

    checker = HealthChecker(rules=Rules(failures=2))
    checker.register_component("found", lambda: Finding("degraded", "password=hunter2 at ann@example.com \x1b[31m\n" + "x" * 5000))
    checker.register_component("raised", raises)
    for one in (await checker.check_all()).components:
        assert "[redacted:email]" in one.message
        assert [part for part in ("hunter2", "ann@", "\x1b", "\n") if part in one.message] == []
        assert len(one.message) <= MAX_MESSAGE_CHARS
