"""Versions behind an alias, on a real cluster: made once, checked, built aside, switched, rolled back, deleted."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from src.errors import ConflictError, IndexMismatchError, IndexMissingError, MappingConflictError, NotFoundError
from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.search.opensearch.versions.healing import block_writes, lift_block
from src.infra.search.opensearch.versions.indices import Indices
from src.infra.search.opensearch.versions.lifecycle import Building, Lifecycle
from src.infra.search.opensearch.versions.state import STATE
from src.infra.search.opensearch.wire.transport import Transport
from tests.servers.opensearch.cluster import Cluster

DIMS = 4
EMBEDDER = "test-model/1"


def make(url: str, alias: str, *, embedder: str = EMBEDDER, dims: int = DIMS) -> Indices:
    cfg = SearchCfg(host=url, index_alias=alias, replicas=0)
    return Indices(Transport(cfg, NetworkPolicy(NetworkCfg())), cfg, embedder, dims, ttl_s=0)


@pytest.fixture
def alias(index_prefix: str) -> str:
    return f"{index_prefix}docs"


@pytest.fixture
async def indices(opensearch: Cluster, alias: str) -> AsyncIterator[Indices]:
    made = make(opensearch.url, alias)
    yield made
    await made.transport.aclose()


@pytest.fixture
async def lifecycle(indices: Indices) -> Lifecycle:
    return Lifecycle(indices)


Another = Callable[..., Indices]


@pytest.fixture
async def another(opensearch: Cluster, alias: str) -> AsyncIterator[Another]:
    """Makes what another process would hold."""
    made: list[Indices] = []

    def one(**options: Any) -> Indices:
        made.append(make(opensearch.url, alias, **options))
        return made[-1]

    yield one
    for each in made:
        await each.transport.aclose()


async def names(indices: Indices) -> list[str]:
    return [version.name.removeprefix(f"{indices.alias}-") for version in (await indices.family()).versions]


# -- found, checked, made


async def test_reading_a_missing_alias_says_what_to_do(indices: Indices) -> None:
    with pytest.raises(IndexMissingError, match="rag ingest") as caught:
        await indices.current()
    assert indices.alias in str(caught.value)
    assert await names(indices) == []


async def test_the_first_write_makes_one_index_behind_the_alias(indices: Indices) -> None:
    state = await indices.ensure()
    assert (state.name, state.number, state.embedder, state.dims) == (f"{indices.alias}-000001", 1, EMBEDDER, DIMS)
    assert (await indices.current()).name == state.name


def _ensure(url: str, alias: str, start: Any, found: Any) -> None:
    async def body() -> str:
        one = make(url, alias)
        start.wait()
        name = (await one.ensure()).name
        await one.transport.aclose()
        return name

    found.put(asyncio.run(body()))


def test_processes_that_begin_at_once_end_with_one_index(opensearch: Cluster, alias: str) -> None:
    context = multiprocessing.get_context("spawn")
    start, found = context.Barrier(4), context.Queue()
    others = [context.Process(target=_ensure, args=(opensearch.url, alias, start, found)) for _ in range(4)]
    for other in others:
        other.start()
    ended = {found.get(timeout=60) for _ in others}
    for other in others:
        other.join(60)
    assert ended == {f"{alias}-000001"}
    assert list(opensearch.ask("GET", f"{alias}-*")) == [f"{alias}-000001"]


async def test_a_second_reader_sees_a_moved_alias_after_forgetting(opensearch: Cluster, alias: str, lifecycle: Lifecycle) -> None:
    one = Indices(lifecycle._transport, SearchCfg(host=opensearch.url, index_alias=alias, replicas=0), EMBEDDER, DIMS, ttl_s=600)
    first = await one.ensure()
    second = await lifecycle.create()
    await lifecycle.switch(second)
    assert (await one.current()).name == first.name
    one.forget()
    assert (await one.current()).name == second


async def test_another_model_is_named_with_both_sides(indices: Indices, another: Another) -> None:
    await indices.ensure()
    with pytest.raises(IndexMismatchError, match=r"test-model/1 \(4 dimensions\).*other/2 \(8 dimensions\)") as caught:
        await another(embedder="other/2", dims=8).current()
    assert not isinstance(caught.value, MappingConflictError)
    with pytest.raises(IndexMismatchError, match="--rebuild"):
        await another(embedder="other/2").ensure()


async def test_a_field_that_is_mapped_otherwise_is_named(opensearch: Cluster, indices: Indices) -> None:
    body = indices.body()
    body["mappings"]["properties"]["doc_key"] = {"type": "text"}
    del body["mappings"]["properties"]["facets"]
    opensearch.ask("PUT", f"{indices.alias}-000001", {**body, "aliases": {indices.alias: {}}})
    with pytest.raises(MappingConflictError, match=r"doc_key has type text, not keyword.*") as caught:
        await indices.current()
    assert "facets is missing" in str(caught.value)


async def test_another_space_is_named_with_both_sides(opensearch: Cluster, indices: Indices) -> None:
    body = indices.body()
    body["mappings"]["properties"]["vector"]["method"]["space_type"] = "l2"
    opensearch.ask("PUT", f"{indices.alias}-000001", {**body, "aliases": {indices.alias: {}}})
    with pytest.raises(IndexMismatchError, match="by l2; this release by cosinesimil"):
        await indices.current()


async def test_an_index_of_somebody_else_is_left_alone(opensearch: Cluster, indices: Indices) -> None:
    opensearch.ask("PUT", f"{indices.alias}-old", {"aliases": {indices.alias: {}}})
    with pytest.raises(IndexMismatchError, match="not made by this program"):
        await indices.ensure()


async def test_an_alias_of_two_indices_is_refused_and_switch_heals_it(opensearch: Cluster, indices: Indices, lifecycle: Lifecycle) -> None:
    await indices.ensure()
    second = await lifecycle.create()
    opensearch.ask("POST", "_aliases", {"actions": [{"add": {"index": second, "alias": indices.alias}}]})
    with pytest.raises(IndexMismatchError, match=r"several indices: .*000001, .*000002"):
        await indices.current()
    await lifecycle.switch("1")
    assert (await indices.current()).number == 1


async def test_an_index_that_stands_where_the_alias_should_be_is_refused(opensearch: Cluster, indices: Indices, lifecycle: Lifecycle) -> None:
    opensearch.ask("PUT", indices.alias)
    for call in (indices.current, indices.ensure, lifecycle.create):
        with pytest.raises(IndexMismatchError, match="should be an alias"):
            await call()


async def test_a_lost_alias_is_not_replaced_by_an_empty_index(opensearch: Cluster, indices: Indices) -> None:
    name = (await indices.ensure()).name
    opensearch.ask("POST", "_aliases", {"actions": [{"remove": {"index": name, "alias": indices.alias}}]})
    with pytest.raises(IndexMissingError, match=f"rag index switch {name}"):
        await indices.ensure()


async def test_an_alias_whose_name_begins_alike_is_another_family(opensearch: Cluster, indices: Indices, alias: str) -> None:
    other = make(opensearch.url, f"{alias}-archive")
    await other.ensure()
    await indices.ensure()
    assert await names(indices) == ["000001"]
    await other.transport.aclose()


# -- built aside


async def test_what_is_built_aside_serves_nobody_until_it_is_published(opensearch: Cluster, indices: Indices, lifecycle: Lifecycle) -> None:
    first = (await indices.ensure()).name
    building = await lifecycle.begin("rebuild")
    settings = opensearch.ask("GET", f"{building.name}/_settings")[building.name]["settings"]["index"]
    assert (settings["refresh_interval"], settings["number_of_replicas"]) == ("-1", "0")
    assert (await indices.current()).name == first
    assert await lifecycle.publish(building) == first
    assert (await indices.current()).name == building.name
    settings = opensearch.ask("GET", f"{building.name}/_settings")[building.name]["settings"]["index"]
    assert settings["refresh_interval"] != "-1"
    assert list(opensearch.ask("GET", f"{building.name}/_alias")[building.name]["aliases"]) == [indices.alias]


async def test_only_one_command_builds_at_a_time(indices: Indices, lifecycle: Lifecycle, another: Another) -> None:
    await indices.ensure()
    await lifecycle.begin("rebuild")
    with pytest.raises(ConflictError, match=rf"process {os.getpid()} on .* is building"):
        await Lifecycle(another()).begin("rebuild")


def kill_the_builder(cluster: Cluster, name: str) -> None:
    """As if the process that builds had died: no process has this number."""
    meta = cluster.ask("GET", name)[name]["mappings"]["_meta"]
    meta[STATE]["building"]["by"]["pid"] = 2**22 + 1
    cluster.ask("PUT", f"{name}/_mapping", {"_meta": meta})


async def test_a_killed_building_is_resumed_and_its_old_builder_shut_out(opensearch: Cluster, indices: Indices, lifecycle: Lifecycle, another: Another) -> None:
    source = (await indices.ensure()).name
    old = await lifecycle.begin("reindex")
    kill_the_builder(opensearch, old.name)
    new = await Lifecycle(another()).begin("reindex", resume=True)
    assert (new.name, new.resumed) == (old.name, True)
    with pytest.raises(ConflictError, match="took over"):
        await lifecycle.restore(old)
    assert opensearch.request("POST", "_bulk?require_alias=true", [{"index": {"_index": old.alias, "_id": "1"}}, {"kind": "chunk"}]).json["errors"]
    with pytest.raises(ConflictError, match="took over"):
        await lifecycle.publish(old)
    assert (await indices.current()).name == source
    await Lifecycle(another()).publish(new)
    assert (await indices.current()).name == new.name


async def test_a_killed_building_of_another_kind_is_deleted(opensearch: Cluster, indices: Indices, lifecycle: Lifecycle) -> None:
    await indices.ensure()
    old = await lifecycle.begin("rebuild")
    kill_the_builder(opensearch, old.name)
    new = await lifecycle.begin("reindex", resume=True)
    assert not new.resumed
    assert await names(indices) == ["000001", new.name[-6:]]


class Slow(Lifecycle):
    """Another command does all of its own work just before this one's first change."""

    def __init__(self, indices: Indices, first: Callable[[], Awaitable[Building]]) -> None:
        super().__init__(indices)
        self._first: Callable[[], Awaitable[Building]] | None = first
        self.other: Building | None = None

    async def _move(self, *actions: Mapping[str, Any]) -> bool:
        if self._first is not None:
            first, self._first = self._first, None
            self.other = await first()
        return await super()._move(*actions)


@pytest.mark.parametrize("slow_resumes", [True, False], ids=["both go on with it", "one would delete it"])
async def test_of_two_that_find_a_killed_building_one_gets_it_and_the_other_leaves_it_alone(
    opensearch: Cluster, indices: Indices, lifecycle: Lifecycle, another: Another, slow_resumes: bool
) -> None:
    await indices.ensure()
    old = await lifecycle.begin("reindex")
    kill_the_builder(opensearch, old.name)
    slow = Slow(another(), lambda: Lifecycle(indices).begin("reindex", resume=True))
    with pytest.raises(ConflictError, match=f"is building {old.name}"):
        await slow.begin("reindex" if slow_resumes else "rebuild", resume=slow_resumes)
    assert slow.other is not None
    assert (slow.other.name, slow.other.resumed) == (old.name, True)
    await lifecycle.publish(slow.other)
    assert await names(indices) == ["000001", old.name[-6:]]


async def test_publishing_is_refused_where_the_alias_moved_meanwhile(opensearch: Cluster, indices: Indices, lifecycle: Lifecycle) -> None:
    await indices.ensure()
    other = await lifecycle.create()
    building = await lifecycle.begin("reindex")
    await lifecycle.switch(other)
    with pytest.raises(ConflictError, match="moved from"):
        await lifecycle.publish(building)
    assert (await indices.current()).name == other


async def test_an_index_that_came_meanwhile_is_not_replaced(indices: Indices, lifecycle: Lifecycle) -> None:
    building = await lifecycle.begin("copy")
    made = (await indices.ensure()).name
    with pytest.raises(ConflictError, match="moved from nothing to"):
        await lifecycle.publish(building)
    assert (await indices.current()).name == made


async def test_an_abandoned_building_leaves_nothing(indices: Indices, lifecycle: Lifecycle) -> None:
    await indices.ensure()
    await lifecycle.abandon(await lifecycle.begin("rebuild"))
    assert await names(indices) == ["000001"]


# -- moving the alias


async def test_rollback_returns_to_the_version_before_and_never_past_the_first(indices: Indices, lifecycle: Lifecycle) -> None:
    first = (await indices.ensure()).name
    second, third = await lifecycle.create(), await lifecycle.create()
    assert await lifecycle.switch(third) == (first, third)
    assert await lifecycle.rollback() == (third, first)
    assert await lifecycle.switch("2") == (first, second)
    assert await lifecycle.switch("3") == (second, third)
    assert await lifecycle.rollback() == (third, second)
    assert await lifecycle.rollback() == (second, first)
    with pytest.raises(NotFoundError, match="no version before"):
        await lifecycle.rollback()


async def test_the_index_in_use_is_deleted_only_by_force(indices: Indices, lifecycle: Lifecycle) -> None:
    first = (await indices.ensure()).name
    second = await lifecycle.create()
    with pytest.raises(ConflictError, match="in use"):
        await lifecycle.delete(first)
    assert await lifecycle.delete("2") == second
    with pytest.raises(NotFoundError, match="no version 7"):
        await lifecycle.delete("7")
    assert await lifecycle.delete(first, force=True) == first
    with pytest.raises(IndexMissingError):
        await indices.current()


async def test_a_version_of_another_model_is_switched_to_only_by_force(indices: Indices, lifecycle: Lifecycle, another: Another) -> None:
    await indices.ensure()
    other = another(embedder="other/2", dims=8)
    made = await Lifecycle(other).create()
    with pytest.raises(IndexMismatchError):
        await lifecycle.switch(made)
    await lifecycle.switch(made, force=True)
    assert (await other.current()).name == made


# -- what killed commands leave behind


async def test_the_block_of_a_killed_reindex_is_lifted_by_the_next_writer(opensearch: Cluster, indices: Indices) -> None:
    state = await indices.ensure()
    await block_writes(indices.transport, state.version)
    assert (await indices.ensure()).write_blocked  # its reindex lives: this process
    meta = opensearch.ask("GET", state.name)[state.name]["mappings"]["_meta"]
    meta[STATE]["blocked"]["by"]["pid"] = 2**22 + 1
    opensearch.ask("PUT", f"{state.name}/_mapping", {"_meta": meta})
    assert (await indices.current()).write_blocked  # readers change nothing
    assert not (await indices.ensure()).write_blocked


async def test_lifting_a_block_takes_nothing_back_that_was_said_meanwhile(indices: Indices, lifecycle: Lifecycle) -> None:
    """A rollback right behind the switch of a reindex: what the reindex read before it began is old by then."""
    await indices.ensure()
    second = await lifecycle.create()
    before = (await indices.current()).version
    await block_writes(indices.transport, before)
    await lifecycle.switch(second)
    await lifecycle.switch(before.name)
    said = (await indices.current()).version
    await lift_block(indices.transport, before)
    after = (await indices.current()).version
    assert (after.write_blocked, "blocked" in after.state) == (False, False)
    assert (after.epoch, after.state["previous"]) == (said.epoch, second)
    assert after.epoch > before.epoch


async def test_the_block_of_an_operator_is_left_alone(opensearch: Cluster, indices: Indices) -> None:
    name = (await indices.ensure()).name
    opensearch.ask("PUT", f"{name}/_block/write")
    assert (await indices.ensure()).write_blocked
