"""Retention of threads of people's own graphs, and retention that the server runs by itself, on every backend."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import SecretStr

from src.api import app
from src.core.chat import Turn
from src.core.identity import Identity
from src.infra.config import PersistenceCfg, Settings, StorageCfg
from src.infra.persistence import create_langgraph_config, generate_thread_id, get_checkpointer_and_store, schedule
from src.infra.persistence.retention import Retention, iso, time_of
from src.infra.persistence.rows import ThreadRow
from src.infra.persistence.schedule import is_scheduled, run_if_due
from src.infra.persistence.threads import INTERRUPT, ThreadService
from src.infra.persistence.turns import save_turns, turn_to_dict
from src.infra.resource_manager import ResourceManager

ACME, OTHER = {"user_id": "anne", "tenant": "acme"}, {"user_id": "zoe", "tenant": "other"}


class Notes(TypedDict, total=False):
    said: Annotated[list[str], operator.add]
    ask: bool


def graph_on(checkpointer: Any, inner: Any = None) -> Any:
    """Three steps, the second with a subgraph; the last may wait for a person."""

    def last(state: Notes) -> Notes:
        return {"said": [interrupt("go on?")]} if state.get("ask") else {}

    graph = StateGraph(Notes)
    graph.add_node("one", lambda state: {})
    graph.add_node("two", inner or subgraph())
    graph.add_node("three", last)
    for before, after in ((START, "one"), ("one", "two"), ("two", "three"), ("three", END)):
        graph.add_edge(before, after)
    return graph.compile(checkpointer=checkpointer)


class Inner(TypedDict, total=False):
    ask: bool
    calls: Annotated[int, operator.add]


def subgraph(**options: Any) -> Any:
    graph = StateGraph(Inner)
    graph.add_node("inner", lambda state: {"calls": 1})
    graph.add_edge(START, "inner")
    return graph.compile(**options)


class Parts:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.checkpointer, self.store = get_checkpointer_and_store(settings)
        self.service = ThreadService(settings, self.checkpointer)
        self.graph = graph_on(self.checkpointer)

    def retention(self, **persistence: Any) -> Retention:
        return Retention(self.service, self.store, self.settings.persistence.model_copy(update=persistence))

    async def say(self, thread_id: str, *words: str, who: dict[str, str] = ACME) -> None:
        for word in words:
            await self.graph.ainvoke({"said": [word]}, create_langgraph_config(who, thread_id))

    async def states(self, thread_id: str) -> list[list[str]]:
        """What each checkpoint of the graph itself holds, the oldest first."""
        found = [state async for state in self.graph.aget_state_history({"configurable": {"thread_id": thread_id}})]
        return [state.values.get("said", []) for state in reversed(found)]

    async def ids(self) -> set[str]:
        return {saved.config["configurable"]["thread_id"] async for saved in self.checkpointer.alist(None)}


@pytest.fixture(params=["memory", "sqlite", "postgres", "postgres-sealed"])
async def parts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Parts]:
    backend, _, sealed = request.param.partition("-")
    options: dict[str, Any] = {"encryption_keys": SecretStr("k:" + "A" * 43 + "=")} if sealed else {}
    if backend == "postgres":
        server = request.getfixturevalue("postgres")
        options["dsn"] = SecretStr(server.dsn(server.database()))
    made = Parts(Settings(storage=StorageCfg(path=tmp_path), persistence=PersistenceCfg(backend=backend, **options)))  # type: ignore[arg-type] - from the list above
    yield made
    for part in (made.checkpointer, made.store):
        if hasattr(part, "aclose"):
            await part.aclose()


async def test_of_ones_own_graph_the_end_of_each_turn_stays_and_can_be_gone_back_to(parts: Parts) -> None:
    await parts.say("mine", "a", "b", "c")
    before = await parts.states("mine")
    report = await parts.retention().apply()
    assert (report.graph_deleted, report.graph_pruned) == (0, 1)
    assert report.bytes_after <= report.bytes_before
    assert await parts.states("mine") == [["a"], ["a", "b"], ["a", "b", "c"]]
    assert len(before) > 9
    second = [state async for state in parts.graph.aget_state_history({"configurable": {"thread_id": "mine"}})][1]
    forked = await parts.graph.ainvoke(
        {"said": ["d"]}, {**second.config, "configurable": {**create_langgraph_config(ACME, "mine")["configurable"], **second.config["configurable"]}}
    )
    assert forked["said"] == ["a", "b", "d"]
    await parts.retention().apply()
    assert (await parts.states("mine")) == [["a"], ["a", "b"], ["a", "b", "c"], ["a", "b", "d"]]
    await parts.say("mine", "e")
    assert (await parts.states("mine"))[-1] == ["a", "b", "d", "e"]


async def test_only_the_latest_checkpoint_stays_where_that_is_configured_and_all_do_where_it_is_off(parts: Parts) -> None:
    await parts.say("mine", "a", "b")
    before = await parts.states("mine")
    assert (await parts.retention(retention_graphs="off").apply()).graph_pruned == 0
    assert await parts.states("mine") == before
    await parts.retention(retention_graphs="latest").apply()
    assert await parts.states("mine") == [["a", "b"]]


async def test_a_run_that_waits_for_a_person_goes_on_after_pruning(parts: Parts) -> None:
    await parts.say("mine", "a")
    config = create_langgraph_config(ACME, "mine")
    await parts.graph.ainvoke({"said": ["b"], "ask": True}, config)
    await parts.retention().apply()
    assert (await parts.graph.aget_state(config)).next == ("three",)
    assert (await parts.graph.ainvoke(Command(resume="c"), config))["said"] == ["a", "b", "c"]


async def test_subgraphs_that_remember_keep_what_they_remember(parts: Parts) -> None:
    inner = StateGraph(Inner)
    seen: list[int] = []
    inner.add_node("inner", lambda state: seen.append(state.get("calls", 0)) or {"calls": 1})
    inner.add_edge(START, "inner")
    parts.graph = graph_on(parts.checkpointer, inner.compile(checkpointer=True))
    await parts.say("mine", "a", "b")
    await parts.retention().apply()
    await parts.say("mine", "c")
    assert seen == [0, 1, 2]


async def test_threads_of_ones_own_graphs_go_by_age_and_by_number_of_each_tenant(parts: Parts) -> None:
    for number in range(4):
        await parts.say(f"acme-{number}", "a")
    await parts.say("other-0", "a", who=OTHER)
    await parts.graph.ainvoke({"said": ["a"]}, {"configurable": {"thread_id": "nobodys"}})
    assert (await parts.retention().apply(keep=3, dry_run=True)).graph_deleted == 1
    assert (await parts.retention().apply(keep=3)).graph_deleted == 1
    assert await parts.ids() == {"acme-1", "acme-2", "acme-3", "other-0", "nobodys"}
    assert (await parts.retention().apply(days=1)).graph_deleted == 0
    later = datetime.now(UTC) + timedelta(days=2)
    assert (await parts.retention().apply(days=1, tenant="acme", now=later)).graph_deleted == 3
    assert (await parts.retention().apply(days=1, now=later)).graph_deleted == 1
    assert await parts.ids() == {"nobodys"}  # nothing says whose it is


async def test_a_thread_that_uses_langgraphs_delta_channels_stays_whole_and_stops_nothing(parts: Parts) -> None:
    class Deltas(TypedDict, total=False):
        said: Annotated[list[str], DeltaChannel(lambda before, writes: [*before, *(one for write in writes for one in write)])]

    graph = StateGraph(Deltas)
    graph.add_node("one", lambda state: {"said": ["x"]})
    graph.add_edge(START, "one")
    deltas: Any = graph.compile(checkpointer=parts.checkpointer)
    await deltas.ainvoke({"said": ["a"]}, create_langgraph_config(ACME, "delta"))
    await parts.say("mine", "a", "b")
    assert (await parts.retention().apply()).graph_pruned == 1
    assert (await deltas.aget_state({"configurable": {"thread_id": "delta"}})).values["said"] == ["a", "x"]


# -- by itself


def test_it_is_scheduled_where_a_limit_is_set() -> None:
    assert not is_scheduled(PersistenceCfg())
    assert is_scheduled(PersistenceCfg(retention_days=30))
    assert not is_scheduled(PersistenceCfg(retention_days=30, retention_every_h=0))


async def test_one_replica_applies_retention_and_the_others_see_that_it_is_done(parts: Parts) -> None:
    one, two = parts.service, ThreadService(parts.settings, parts.checkpointer)
    if parts.settings.persistence.backend == "memory":
        two = one  # memory is not shared
    await parts.say("mine", "a")
    retention = Retention(one, parts.store, parts.settings.persistence.model_copy(update={"retention_threads": 0}))
    reports = await asyncio.gather(*(run_if_due(service, retention, timedelta(hours=24)) for service in (one, two, one, two)))
    assert sorted(report.graph_deleted for report in reports if report is not None) == [1]
    later = datetime.now(UTC) + timedelta(hours=23)
    assert await run_if_due(two, retention, timedelta(hours=24), now=later) is None
    assert await run_if_due(two, retention, timedelta(hours=24), now=later + timedelta(hours=2)) is not None


async def test_the_server_applies_it_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing_to_load(_: Any) -> None: ...

    monkeypatch.setattr(app, "warm_up", nothing_to_load)
    monkeypatch.setattr(schedule, "LOOK_S", 0.02)
    settings = Settings(storage=StorageCfg(path=tmp_path), persistence=PersistenceCfg(backend="memory", retention_threads=1))
    async with ResourceManager(settings) as resources:
        checkpointer: Any = resources.checkpointer
        for number in range(3):
            await graph_on(checkpointer).ainvoke({"said": ["a"]}, create_langgraph_config(ACME, f"t{number}"))
        served = app.create_app(resources)
        async with served.router.lifespan_context(served), asyncio.timeout(20):
            while await resources.get("threads").rows.next_run(schedule.JOB) is None:
                await asyncio.sleep(0.02)
        assert {saved.config["configurable"]["thread_id"] for saved in checkpointer.list(None)} == {"t2"}


async def test_retention_that_fails_stays_due(parts: Parts) -> None:
    class Failing(Retention):
        async def apply(self, **_: Any) -> Any:
            raise OSError("as asked")

    with pytest.raises(OSError, match="as asked"):
        await run_if_due(parts.service, Failing(parts.service, parts.store, parts.settings.persistence), timedelta(hours=24))
    assert await run_if_due(parts.service, parts.retention(), timedelta(hours=24)) is not None


async def test_a_thread_that_is_used_while_retention_waits_for_it_stays(parts: Parts) -> None:
    anne = Identity("anne", "acme")
    async with parts.service.turn(None, anne, "first") as thread_id:
        await parts.say(thread_id, "a")
        await parts.service.finished(thread_id, 1)
    async with parts.service.turn(thread_id, anne, "again"):
        sweeping = asyncio.create_task(parts.retention().apply(keep=0))
        await asyncio.sleep(0.2)
        await parts.service.finished(thread_id, 2)
    assert (await sweeping).deleted == 0
    assert (await parts.service.get(thread_id, anne)).turns == 2


def test_a_checkpoints_id_tells_when_it_was_made() -> None:
    from langgraph.checkpoint.base.id import uuid6

    made = time_of(str(uuid6()))
    assert made is not None
    assert abs((made - datetime.now(UTC)).total_seconds()) < 60
    assert time_of("no uuid") is None
    assert time_of("01890000-0000-7000-8000-000000000000") is None


async def test_what_a_killed_process_left_of_a_first_answer_is_no_conversation_and_is_swept_unless_held_or_waiting(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.infra.persistence.threads.SWEEP_WAIT_S", 0.2)
    who = Identity("anne", "acme")
    left, waiting, saved = (generate_thread_id("anne") for _ in range(3))
    for thread_id in (left, waiting, saved):
        now = iso(datetime.now(UTC))
        await parts.service.rows.add(ThreadRow(thread_id, "acme", "anne", "How many days?", now, now))
    await parts.graph.ainvoke({"ask": True}, create_langgraph_config(ACME, waiting))
    turn = turn_to_dict(Turn("m1", "How many days?", "Thirty.", (), False, (), iso(datetime.now(UTC))))
    await save_turns(parts.checkpointer, saved, [turn], who)
    retention = parts.retention()
    assert (await retention.apply(days=0, keep=0, dry_run=True)).deleted == 0
    async with parts.service.turn(None, who, "How many days?") as held:
        assert (await retention.apply(keep=5)).deleted == 0
        assert [await parts.service.rows.get(one) is not None for one in (held, left, waiting, saved)] == [True, False, True, True]
        await parts.service.finished(held, 1)
    assert {one.thread_id for one in (await parts.service.list(who)).threads} == {held, saved}
    assert (await retention.apply(days=1, now=datetime.now(UTC) + timedelta(days=2))).deleted == 2
    assert await parts.service.rows.of_user("acme", "anne") == []
    assert await parts.ids() == set()


async def test_sweeping_makes_no_tables_that_count_as_growth(parts: Parts) -> None:
    now = iso(datetime.now(UTC))
    await parts.service.rows.add(ThreadRow(generate_thread_id("anne"), "acme", "anne", "x", now, now))
    report = await parts.retention().apply()
    assert (await parts.service.rows.of_user("acme", "anne"), report.bytes_after <= report.bytes_before) == ([], True)


def test_langgraph_writes_what_a_step_waits_for_where_sweeping_looks() -> None:
    from langgraph._internal._constants import INTERRUPT as THEIRS

    assert INTERRUPT == THEIRS
