"""Health checks: each within its time, asked once however many want to know."""

from __future__ import annotations

import asyncio

from src.errors import UnreachableError
from src.infra.health import HealthChecker


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
