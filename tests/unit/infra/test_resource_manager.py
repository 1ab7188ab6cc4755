from __future__ import annotations

import asyncio
import threading

import pytest

from src.errors import ConfigurationError, ConflictError, ResourceClosedError
from src.infra.config import Settings
from src.infra.resource_manager import REGISTRY, ResourceManager, get_resources, use_resources


class Part:
    def __init__(self, name: str, closed: list[str], broken: bool = False) -> None:
        self.name = name
        self._closed = closed
        self._broken = broken

    async def aclose(self) -> None:
        self._closed.append(self.name)
        if self._broken:
            raise RuntimeError("does not close")


@pytest.fixture
def closed() -> list[str]:
    return []


@pytest.fixture
def manager(closed: list[str]) -> ResourceManager:
    def upper(resources: ResourceManager) -> Part:
        resources.get("lower")
        return Part("upper", closed)

    REGISTRY.register("lower", lambda _: Part("lower", closed))
    REGISTRY.register("upper", upper)
    REGISTRY.register("broken", lambda _: Part("broken", closed, broken=True))
    REGISTRY.register("loop", lambda resources: resources.get("loop"))
    return ResourceManager(Settings())


def test_nothing_is_built_before_it_is_asked_for(manager: ResourceManager) -> None:
    assert manager.built() == ()
    manager.get("lower")
    assert manager.built() == ("lower",)


def test_resources_close_in_reverse_order_of_construction(manager: ResourceManager, closed: list[str]) -> None:
    manager.get("upper")
    manager.close()
    assert closed == ["upper", "lower"]


def test_closing_twice_is_harmless_and_use_after_close_is_an_error(manager: ResourceManager, closed: list[str]) -> None:
    manager.get("lower")
    manager.close()
    manager.close()
    assert closed == ["lower"]
    with pytest.raises(ResourceClosedError, match="lower"):
        manager.get("lower")
    with pytest.raises(ResourceClosedError):
        _ = manager.settings


def test_one_that_does_not_close_does_not_stop_the_rest(manager: ResourceManager, closed: list[str]) -> None:
    manager.get("lower")
    manager.get("broken")
    manager.close()
    assert closed == ["broken", "lower"]


def test_threads_asking_at_once_get_one_object(closed: list[str]) -> None:
    made: list[Part] = []
    inside = threading.Event()

    def slow(_: ResourceManager) -> Part:
        inside.wait(0.05)
        made.append(Part("slow", closed))
        return made[-1]

    REGISTRY.register("slow", slow)
    manager = ResourceManager(Settings())
    start = threading.Barrier(16)
    got: list[object] = []

    def ask() -> None:
        start.wait()
        got.append(manager.get("slow"))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert got == made * 16


async def test_tasks_asking_at_once_get_one_object(manager: ResourceManager) -> None:
    async def ask() -> object:
        await asyncio.sleep(0)
        return manager.get("upper")

    got = await asyncio.gather(*(ask() for _ in range(32)))
    assert len({id(part) for part in got}) == 1
    await manager.aclose()


def test_a_factory_that_failed_is_tried_again(closed: list[str]) -> None:
    attempts: list[int] = []

    def flaky(_: ResourceManager) -> Part:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConfigurationError("not yet")
        return Part("flaky", closed)

    REGISTRY.register("flaky", flaky)
    manager = ResourceManager(Settings())
    with pytest.raises(ConfigurationError):
        manager.get("flaky")
    assert manager.get("flaky") is manager.get("flaky")


def test_a_resource_that_needs_itself_says_so(manager: ResourceManager) -> None:
    with pytest.raises(ConfigurationError, match="loop -> loop"):
        manager.get("loop")


def test_an_unknown_name_lists_what_there_is(manager: ResourceManager) -> None:
    with pytest.raises(ConfigurationError, match=r"agent.*retriever"):
        manager.get("agnt")


def test_injected_resources_are_used_and_left_open(closed: list[str]) -> None:
    own = Part("own", closed)
    manager = ResourceManager(Settings(), overrides={"search": own})
    assert manager.search is own
    manager.close()
    assert closed == []


def test_one_manager_a_process_until_it_is_closed() -> None:
    with use_resources(ResourceManager(Settings())) as first:
        assert get_resources() is first
        assert get_resources(Settings()) is first
        with pytest.raises(ConflictError):
            get_resources(Settings.model_validate({"storage": {"path": "/elsewhere"}}))
        first.close()
        second = get_resources(Settings())
        assert second is not first
        second.close()
