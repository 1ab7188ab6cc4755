"""Threads belong to someone, on every backend: what their owners can do with them, and what nobody else can."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from src.core.chat import Citation, Turn
from src.core.identity import Identity
from src.errors import InputError, NotFoundError
from src.infra.config import Settings
from src.infra.persistence import THREADS_FILE, create_langgraph_config, get_checkpointer_and_store
from src.infra.persistence.retention import Retention
from src.infra.persistence.threads import ThreadService
from src.infra.persistence.turns import REPLACES, joined, turn_to_dict
from src.infra.persistence.user_context import user_namespace
from tests.contract.persisted import BACKENDS, settings_for

ANNE, BOB, ANNE_ELSEWHERE = Identity("anne", "acme"), Identity("bob", "acme"), Identity("anne", "other")
SECRET = "canary-question-about-salaries"


class State(TypedDict, total=False):
    turns: Annotated[list[Any], joined]


@dataclass
class Parts:
    settings: Settings
    checkpointer: Any
    store: Any
    service: ThreadService
    raw: Any
    """Reads every table's every row, as text."""

    async def ask(self, thread_id: str | None, who: Identity, number: int, question: str = "How many days?", replaces: str | None = None) -> str:
        """A turn as the agent makes it."""
        async with self.service.turn(thread_id, who, question) as held:
            config = create_langgraph_config({"user_id": who.user, "tenant": who.tenant}, held)
            turn = turn_to_dict(a_turn(number, question))
            state = await self.graph.ainvoke({"turns": [{**turn, REPLACES: replaces}]}, config)
            await self.service.finished(held, len(state["turns"]))
            return held

    @property
    def graph(self) -> Any:
        graph = StateGraph(State)
        for name in ("one", "two", "three"):
            graph.add_node(name, lambda state: {})
        graph.add_edge(START, "one")
        graph.add_edge("one", "two")
        graph.add_edge("two", "three")
        graph.add_edge("three", END)
        return graph.compile(checkpointer=self.checkpointer)

    def ids(self, turns: tuple[Turn, ...]) -> list[str]:
        return [turn.message_id for turn in turns]


def a_turn(n: int, question: str) -> Turn:
    citation = Citation(n=1, chunk_id="c", document_id="d", title="T", source="s", quote="q", score=0.5, page=3, section="S")
    return Turn(f"m{n}", question, "answer [1].", (citation,), False, (), "2026-01-01T00:00:00.000Z")


@pytest.fixture(params=BACKENDS)
async def parts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Parts]:
    backend, dsn = request.param.partition("-")[0], None
    raw: Any = lambda: ""  # noqa: E731 - memory has no tables
    if backend == "postgres":
        server = request.getfixturevalue("postgres")
        name = server.database()
        dsn = server.dsn(name)

        def raw() -> str:
            tables = [table for (table,) in server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name)]
            return repr([server.execute(f"SELECT * FROM {table}", name) for table in tables])

    elif backend == "sqlite":

        def raw() -> str:
            with sqlite3.connect(tmp_path / THREADS_FILE) as connection:
                tables = [table for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                return repr([connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables])

    settings = settings_for(request.param, tmp_path, dsn)
    checkpointer, store = get_checkpointer_and_store(settings)
    yield Parts(settings, checkpointer, store, ThreadService(settings, checkpointer), raw)
    for part in (checkpointer, store):
        if hasattr(part, "aclose"):
            await part.aclose()


# -- whose it is


async def test_every_way_to_a_foreign_thread_answers_as_to_an_unknown_one(parts: Parts) -> None:
    service = parts.service
    thread_id = await parts.ask(None, ANNE, 1)
    ways: list[Any] = [
        service.get,
        service.history,
        service.delete,
        service.fork,
        service.export,
        lambda thread_id, who: service.rename(thread_id, who, "mine now"),
        lambda thread_id, who: service.fork(thread_id, who, "m1"),
        lambda thread_id, who: parts.ask(thread_id, who, 2),
    ]
    for stranger in (BOB, ANNE_ELSEWHERE):
        for way in ways:
            with pytest.raises(NotFoundError) as foreign:
                await way(thread_id, stranger)
            with pytest.raises(NotFoundError) as unknown:
                await way("01890000-0000-7000-8000-000000000000", stranger)
            assert (str(foreign.value), foreign.value.hint) == (str(unknown.value), unknown.value.hint)
        assert (await service.list(stranger)).threads == ()
    assert (await service.get(thread_id, ANNE)).title == "How many days?"
    assert parts.ids(await service.history(thread_id, ANNE)) == ["m1"]


@pytest.mark.parametrize("strange", ["a\0b", "\ud800", "'; DROP TABLE rag_threads; --", "%", "\U0001f600" * 50])
async def test_strange_ids_are_unknown_ones(parts: Parts, strange: str) -> None:
    with pytest.raises(NotFoundError):
        await parts.service.get(strange, ANNE)
    with pytest.raises(NotFoundError):
        await parts.service.delete(strange, ANNE)


async def test_a_first_question_with_control_characters_makes_a_plain_title(parts: Parts) -> None:
    thread_id = await parts.ask(None, ANNE, 1, "How many\0 days\x1b[1m?\n")
    assert (await parts.service.get(thread_id, ANNE)).title == "How many days [1m?"
    assert (await parts.service.history(thread_id, ANNE))[0].question == "How many\0 days\x1b[1m?\n"
    assert (await parts.service.rename(thread_id, ANNE, "a\0b")).title == "a b"


# -- rename


async def test_a_thread_is_renamed(parts: Parts) -> None:
    thread_id = await parts.ask(None, ANNE, 1)
    renamed = await parts.service.rename(thread_id, ANNE, "  Leave\nand holidays ")
    assert renamed.title == "Leave and holidays"
    assert [thread.title for thread in (await parts.service.list(ANNE)).threads] == ["Leave and holidays"]
    await parts.ask(thread_id, ANNE, 2, "another question")
    assert (await parts.service.get(thread_id, ANNE)).title == "Leave and holidays"
    assert (await parts.service.rename(thread_id, ANNE, "\u202ePay\u200b slip\u2066s")).title == "Pay slips"
    for blank in (" \n ", "\u200b\u2060", "\u200d", "\u3164 \u2800"):
        with pytest.raises(InputError):
            await parts.service.rename(thread_id, ANNE, blank)
    assert (await parts.service.get(thread_id, ANNE)).title == "Pay slips"


async def test_a_renamed_thread_keeps_its_place_in_the_list(parts: Parts) -> None:
    made = [await parts.ask(None, ANNE, number) for number in range(3)]
    order = [thread.thread_id for thread in (await parts.service.list(ANNE)).threads]
    await parts.service.rename(made[0], ANNE, "renamed")
    assert [thread.thread_id for thread in (await parts.service.list(ANNE)).threads] == order


async def test_threads_are_found_by_words_of_their_titles_page_by_page_and_by_their_owner_alone(parts: Parts) -> None:
    for number, title in enumerate(("Gas escapes", "Annual leave", "Reading a gas meter", "100% of a gas bill")):
        await parts.service.rename(await parts.ask(None, ANNE, number), ANNE, title)
    await parts.service.rename(await parts.ask(None, BOB, 9), BOB, "Gas of somebody else")
    titles, cursor = [], None
    while cursor or not titles:
        found = await parts.service.list(ANNE, 1, cursor, "GAS")
        titles += [thread.title for thread in found.threads]
        cursor = found.next_cursor
    assert titles == ["100% of a gas bill", "Reading a gas meter", "Gas escapes"]
    assert [thread.title for thread in (await parts.service.list(ANNE, title="0% g")).threads] == ["100% of a gas bill"]
    assert (await parts.service.list(ANNE, title="gas leave")).threads == ()


# -- fork, edit, export


async def test_a_fork_has_the_turns_up_to_one_of_them_and_goes_its_own_way(parts: Parts) -> None:
    thread_id = await parts.ask(None, ANNE, 1)
    for number in (2, 3):
        await parts.ask(thread_id, ANNE, number)
    fork = await parts.service.fork(thread_id, ANNE, "m2")
    assert (fork.turns, fork.title) == (2, "How many days?")
    history = await parts.service.history(fork.thread_id, ANNE)
    assert history == (await parts.service.history(thread_id, ANNE))[:2]
    assert history[0].citations[0].page == 3
    await parts.ask(fork.thread_id, ANNE, 9)
    assert parts.ids(await parts.service.history(fork.thread_id, ANNE)) == ["m1", "m2", "m9"]
    assert parts.ids(await parts.service.history(thread_id, ANNE)) == ["m1", "m2", "m3"]
    await parts.service.delete(thread_id, ANNE)
    assert len(await parts.service.history(fork.thread_id, ANNE)) == 3
    with pytest.raises(NotFoundError):
        await parts.service.get(fork.thread_id, BOB)


async def test_a_fork_without_a_turn_named_has_them_all_and_an_unknown_turn_is_not_found(parts: Parts) -> None:
    thread_id = await parts.ask(None, ANNE, 1)
    await parts.ask(thread_id, ANNE, 2)
    assert (await parts.service.fork(thread_id, ANNE)).turns == 2
    with pytest.raises(NotFoundError, match="no such turn"):
        await parts.service.fork(thread_id, ANNE, "m7")
    assert len((await parts.service.list(ANNE)).threads) == 2


async def test_a_turn_that_is_asked_anew_takes_the_place_of_it_and_those_after(parts: Parts) -> None:
    thread_id = await parts.ask(None, ANNE, 1)
    for number in (2, 3):
        await parts.ask(thread_id, ANNE, number)
    await parts.ask(thread_id, ANNE, 4, "edited", replaces="m2")
    history = await parts.service.history(thread_id, ANNE)
    assert parts.ids(history) == ["m1", "m4"]
    assert history[1].question == "edited"
    assert (await parts.service.get(thread_id, ANNE)).turns == 2
    with pytest.raises(NotFoundError):
        await parts.ask(thread_id, ANNE, 5, replaces="m3")
    assert parts.ids(await parts.service.history(thread_id, ANNE)) == ["m1", "m4"]


async def test_an_export_holds_the_thread_and_its_turns(parts: Parts) -> None:
    thread_id = await parts.ask(None, ANNE, 1)
    found = await parts.service.export(thread_id, ANNE)
    assert (found.thread.thread_id, found.turns) == (thread_id, await parts.service.history(thread_id, ANNE))


# -- going away


async def test_deleting_leaves_nothing_in_any_table(parts: Parts) -> None:
    kept = await parts.ask(None, ANNE, 1)
    gone = await parts.ask(None, ANNE, 2, SECRET)
    await parts.ask(gone, ANNE, 3)
    forked = (await parts.service.fork(gone, ANNE)).thread_id
    sealed = parts.settings.persistence.encryption_keys is not None
    assert parts.settings.persistence.backend == "memory" or (SECRET in parts.raw()) is not sealed
    await parts.service.delete(gone, ANNE)
    await parts.service.delete(forked, ANNE)
    everything = parts.raw()
    assert gone not in everything
    assert forked not in everything
    assert SECRET not in everything
    assert [thread.thread_id for thread in (await parts.service.list(ANNE)).threads] == [kept]
    assert await parts.checkpointer.aget_tuple({"configurable": {"thread_id": gone}}) is None


async def test_retention_deletes_by_age_and_by_number_of_each_tenant(parts: Parts) -> None:
    retention = Retention(parts.service, parts.store, parts.settings.persistence)
    for who in (ANNE, BOB, ANNE_ELSEWHERE):
        for number in range(3):
            await parts.ask(None, who, number)
    assert (await retention.apply(keep=4, dry_run=True)).deleted == 2
    done = await retention.apply(keep=4)
    assert done.deleted == 2  # acme has 6, other 3
    assert done.bytes_after <= done.bytes_before
    assert len((await parts.service.list(ANNE_ELSEWHERE)).threads) == 3
    assert len((await parts.service.list(BOB)).threads) == 3  # the latest of acme
    assert (await retention.apply(days=1)).deleted == 0
    later = datetime.now(UTC) + timedelta(days=2)
    assert (await retention.apply(days=1, tenant="other", now=later)).deleted == 3
    assert (await retention.apply(days=1, now=later)).deleted == 4
    assert [(await parts.service.list(who)).threads for who in (ANNE, BOB, ANNE_ELSEWHERE)] == [(), (), ()]
    with pytest.raises(InputError):
        await retention.apply(days=-1)


async def test_a_turn_adds_about_its_own_size_and_every_turn_stays(parts: Parts) -> None:
    used, thread_id = [], None
    for number in range(12):
        thread_id = await parts.ask(thread_id, ANNE, number, secrets.token_hex(1500))
        used.append(await parts.service.rows.used_bytes())
    assert thread_id is not None
    turn = len(parts.checkpointer.serde.dumps_typed(turn_to_dict(a_turn(1, secrets.token_hex(1500))))[1])
    assert used[-1] - used[1] < 3 * turn * 10
    assert len([saved async for saved in parts.checkpointer.alist({"configurable": {"thread_id": thread_id}})]) == 1
    assert (await parts.service.fork(thread_id, ANNE, "m3")).turns == 4
    await parts.ask(thread_id, ANNE, 100, replaces="m5")
    assert parts.ids(await parts.service.history(thread_id, ANNE)) == ["m0", "m1", "m2", "m3", "m4", "m100"]


async def test_retention_prunes_what_processes_that_died_left_and_keeps_every_turn(parts: Parts) -> None:
    thread_id = await parts.ask(None, ANNE, 0)
    for number in range(1, 12):
        turn = {**turn_to_dict(a_turn(number, "x" * 2000)), REPLACES: None}
        await parts.graph.ainvoke({"turns": [turn]}, create_langgraph_config({"user_id": "anne", "tenant": "acme"}, thread_id))
    before = await parts.service.history(thread_id, ANNE)
    assert len(before) == 12
    report = await Retention(parts.service, parts.store, parts.settings.persistence).apply()
    assert (report.deleted, report.pruned) == (0, 1)
    assert 0 < report.bytes_after < report.bytes_before / 1.5
    assert await parts.service.history(thread_id, ANNE) == before
    assert len([saved async for saved in parts.checkpointer.alist({"configurable": {"thread_id": thread_id}})]) == 1
    await parts.ask(thread_id, ANNE, 99)
    assert parts.ids(await parts.service.history(thread_id, ANNE))[-2:] == ["m11", "m99"]


async def test_erasing_a_user_takes_threads_runs_of_other_graphs_and_stored_entries(parts: Parts) -> None:
    retention = Retention(parts.service, parts.store, parts.settings.persistence)
    mine = await parts.ask(None, ANNE, 1, SECRET)
    hers = await parts.ask(None, ANNE_ELSEWHERE, 1)
    await parts.graph.ainvoke({"turns": []}, create_langgraph_config({"user_id": "anne", "tenant": "acme"}, "a-graph-of-their-own"))
    for who in (ANNE, ANNE_ELSEWHERE):
        await parts.store.aput(user_namespace(who.tenant, who.user), "note", {"text": who.tenant})
        await parts.store.aput((*user_namespace(who.tenant, who.user), "deeper"), "note", {"text": who.tenant})
    report = await retention.erase("acme", "anne")
    assert (report.threads, report.runs, report.entries) == (1, 1, 2)
    everything = parts.raw()
    assert mine not in everything
    assert "a-graph-of-their-own" not in everything
    assert SECRET not in everything
    assert (await parts.service.get(hers, ANNE_ELSEWHERE)).turns == 1
    assert (await parts.store.aget(user_namespace("other", "anne"), "note")).value == {"text": "other"}
    again = await retention.erase("acme", "anne")
    assert (again.threads, again.runs, again.entries) == (0, 0, 0)


# -- one after the other


async def test_turns_of_several_replicas_on_one_thread_never_interleave(parts: Parts) -> None:
    if parts.settings.persistence.backend == "memory":
        replicas = [parts]
    else:
        pairs = [get_checkpointer_and_store(parts.settings) for _ in range(3)]
        replicas = [Parts(parts.settings, saver, store, ThreadService(parts.settings, saver), parts.raw) for saver, store in pairs]
    thread_id = await parts.ask(None, ANNE, 0)
    running = 0

    async def turn(replica: Parts, number: int) -> None:
        nonlocal running
        async with replica.service.turn(thread_id, ANNE, "q"):
            running += 1
            assert running == 1
            config = create_langgraph_config({"user_id": "anne", "tenant": "acme"}, thread_id)
            state = await replica.graph.ainvoke({"turns": [turn_to_dict(a_turn(number, "q"))]}, config)
            await replica.service.finished(thread_id, len(state["turns"]))
            running -= 1

    await asyncio.gather(*(turn(replicas[number % len(replicas)], number) for number in range(1, 10)))
    assert sorted(parts.ids(await parts.service.history(thread_id, ANNE))) == sorted(f"m{number}" for number in range(10))
    for replica in replicas if replicas != [parts] else []:
        await replica.checkpointer.aclose()
