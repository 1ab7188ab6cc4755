"""What every backend of threads must do: serve graphs of both kinds, keep threads to their owners, and fail clearly."""

from __future__ import annotations

import asyncio
import base64
import json
import operator
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from pydantic import SecretStr

from src.core.chat import Citation, Turn
from src.core.identity import Identity, current_identity
from src.errors import (
    ConflictError,
    NotFoundError,
    QueryError,
    ResourceClosedError,
    StorageCorruptError,
    StorageError,
    StorageLockedError,
)
from src.infra.config import EnvironmentCfg, PersistenceCfg, Settings, StorageCfg
from src.infra.persistence import (
    THREADS_FILE,
    create_langgraph_config,
    extract_user_context,
    generate_thread_id,
    get_checkpointer_and_store,
)
from src.infra.persistence import sqlite as sqlite_backend
from src.infra.persistence.locks import ThreadLocks
from src.infra.persistence.threads import LOCKS_FOLDER, ThreadService, turn_from_dict, turn_to_dict
from src.infra.resource_manager import ResourceManager, use_resources

ANNE = Identity("anne", "acme")
BOB = Identity("bob", "acme")
ANNE_ELSEWHERE = Identity("anne", "other")


class Counting(TypedDict, total=False):
    turns: Annotated[list[Any], operator.add]
    fail: bool


def make_settings(folder: Path, backend: str) -> Settings:
    return Settings(storage=StorageCfg(path=folder), persistence=PersistenceCfg(backend=backend))


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        return postgres_settings(tmp_path, server.dsn(server.database()))
    return make_settings(tmp_path, request.param)


def postgres_settings(folder: Path, dsn: str, **more: Any) -> Settings:
    return Settings(storage=StorageCfg(path=folder), persistence=PersistenceCfg(backend="postgres", dsn=SecretStr(dsn), **more))


@pytest.fixture
def sqlite_settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, "sqlite")


@pytest.fixture
def parts(settings: Settings) -> Iterator[tuple[Any, Any]]:
    checkpointer, store = get_checkpointer_and_store(settings)
    yield checkpointer, store
    for part in (checkpointer, store):
        getattr(part, "close", lambda: None)()


def counting_graph(checkpointer: Any, store: Any = None) -> Any:
    def count(state: Counting) -> Counting:
        if state.get("fail"):
            raise ValueError("as asked")
        return {"turns": [{"n": len(state.get("turns", [])) + 1}]}

    graph = StateGraph(Counting)
    graph.add_node("count", count)
    graph.add_edge(START, "count")
    graph.add_edge("count", END)
    return graph.compile(checkpointer=checkpointer, store=store)


def config(thread_id: str = "t1") -> Any:
    return create_langgraph_config({"user_id": "anne"}, thread_id)


def a_turn(n: int = 1) -> Turn:
    citation = Citation(n=1, chunk_id="c", document_id="d", title="T", source="s", quote="q", score=0.5, page=3, section="S")
    return Turn(f"m{n}", f"question {n}", "answer [1].", (citation,), False, ("reason",), "2026-01-01T00:00:00.000Z")


async def add_turns(service: ThreadService, checkpointer: Any, owner: Identity, questions: list[str]) -> str:
    """A thread as the agent makes it."""
    graph, thread_id = counting_graph(checkpointer), None
    for place, question in enumerate(questions, start=1):
        async with service.turn(thread_id, owner, question) as thread_id:
            await graph.aupdate_state(config(thread_id), {"turns": [turn_to_dict(a_turn(place))]})
            await service.finished(thread_id, place)
    assert thread_id is not None
    return thread_id


# -- checkpointer and store


async def test_both_kinds_of_graph_calls_work_and_see_each_others_state(parts: tuple[Any, Any]) -> None:
    graph = counting_graph(*parts)
    graph.invoke({}, config())
    await graph.ainvoke({}, config())
    state = await asyncio.to_thread(graph.invoke, {}, config())
    assert [turn["n"] for turn in state["turns"]] == [1, 2, 3]
    assert [turn["n"] for turn in (await graph.aget_state(config())).values["turns"]] == [1, 2, 3]


async def test_the_history_of_a_thread_can_be_walked_while_it_is_read(parts: tuple[Any, Any]) -> None:
    graph = counting_graph(*parts)
    graph.invoke({}, config())
    graph.invoke({}, config())
    walked = [(snapshot.config, graph.get_state(snapshot.config)) for snapshot in graph.get_state_history(config())]
    assert len(walked) >= 4
    assert len([snapshot async for snapshot in graph.aget_state_history(config())]) == len(walked)


async def test_a_checkpoint_is_gone_back_to_by_its_id_alone(parts: tuple[Any, Any]) -> None:
    graph = counting_graph(*parts)
    for _ in range(2):
        graph.invoke({}, config())
    first = next(one.config["configurable"]["checkpoint_id"] for one in graph.get_state_history(config()) if len(one.values.get("turns", [])) == 1)
    back: Any = {"configurable": {"thread_id": "t1", "checkpoint_id": first}}
    assert graph.get_state(back).values["turns"] == (await graph.aget_state(back)).values["turns"] == [{"n": 1}]
    assert graph.invoke({}, back)["turns"] == (await graph.ainvoke({}, back))["turns"] == [{"n": 1}, {"n": 2}]
    assert graph.invoke(None, back)["turns"] == (await graph.ainvoke(None, back))["turns"]
    for forked in (graph.update_state(back, {"turns": [{"n": 9}]}), await graph.aupdate_state(back, {"turns": [{"n": 9}]})):
        assert graph.get_state(forked).values["turns"] == [{"n": 1}, {"n": 9}]


async def test_the_store_serves_synchronous_and_asynchronous_callers(parts: tuple[Any, Any]) -> None:
    _, store = parts
    store.put(("users", "anne"), "prefs", {"theme": "dark"})
    await store.aput(("users", "anne"), "language", {"is": "en"})
    assert (await store.aget(("users", "anne"), "prefs")).value == {"theme": "dark"}
    assert {item.key for item in store.search(("users", "anne"))} == {"prefs", "language"}


def test_nothing_connects_before_first_use(sqlite_settings: Settings) -> None:
    get_checkpointer_and_store(sqlite_settings)
    assert not (sqlite_settings.storage.path / THREADS_FILE).exists()


def test_a_class_named_by_a_checkpoint_is_not_made(parts: tuple[Any, Any]) -> None:
    class_by_name = parts[0].serde.dumps_typed(Settings())
    assert not isinstance(parts[0].serde.loads_typed(class_by_name), Settings)
    with pytest.raises(NotImplementedError):
        parts[0].serde.loads_typed(("pickle", b"cos\nsystem\n."))


def test_what_is_saved_survives_a_restart(sqlite_settings: Settings) -> None:
    for expected in (1, 2, 3):
        checkpointer, store = get_checkpointer_and_store(sqlite_settings)
        state = counting_graph(checkpointer, store).invoke({}, config())
        assert len(state["turns"]) == expected
        checkpointer.close()


def test_without_settings_they_are_the_processs_own(sqlite_settings: Settings) -> None:
    with ResourceManager(sqlite_settings) as manager, use_resources(manager):
        assert get_checkpointer_and_store() == (manager.checkpointer, manager.store)


def test_the_file_is_readable_by_its_owner_alone(sqlite_settings: Settings) -> None:
    checkpointer, _ = get_checkpointer_and_store(sqlite_settings)
    counting_graph(checkpointer).invoke({}, config())
    files = [*sqlite_settings.storage.path.glob(f"{THREADS_FILE}*")]
    assert files
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
    checkpointer.close()


def test_writes_that_fail_half_way_leave_nothing(sqlite_settings: Settings) -> None:
    checkpointer, _ = get_checkpointer_and_store(sqlite_settings)
    counting_graph(checkpointer).invoke({}, config())

    def broken() -> Iterator[tuple[Any, ...]]:
        yield ("t1", "", "c", "task", "", 0, "channel", "msgpack", b"")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError), checkpointer.cursor() as cursor:
        cursor.executemany("INSERT INTO writes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", broken())
    with checkpointer.cursor(transaction=False) as cursor:
        assert cursor.execute("SELECT count(*) FROM writes WHERE checkpoint_id = 'c'").fetchone() == (0,)
    checkpointer.close()


# -- faults of the file


def test_a_damaged_file_is_named_and_left_alone(sqlite_settings: Settings) -> None:
    path = sqlite_settings.storage.path / THREADS_FILE
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    before = path.read_bytes()
    checkpointer, store = get_checkpointer_and_store(sqlite_settings)
    with pytest.raises(StorageCorruptError, match=THREADS_FILE):
        counting_graph(checkpointer).invoke({}, config())
    with pytest.raises(StorageCorruptError):
        store.get(("a",), "b")
    assert path.read_bytes() == before


WRITES = """
import os, sys
from pathlib import Path
from src.errors import RagError
from src.infra.config import Settings, StorageCfg
from src.infra.persistence import get_checkpointer_and_store
import langgraph.checkpoint.sqlite
settings = Settings(storage=StorageCfg(path=Path(sys.argv[1])))
checkpointer, _ = get_checkpointer_and_store(settings)
import src.infra.persistence.threads
if os.geteuid() == 0:  # permissions mean nothing to root: the process becomes another user
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    checkpointer.get_tuple({"configurable": {"thread_id": "t"}})
except RagError as error:
    print(type(error).__name__, error)
"""


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, root: Path) -> None:
    for parent in [tmp_path, *tmp_path.parents][:3]:
        parent.chmod(0o755)
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    done = subprocess.run([sys.executable, "-c", WRITES, str(folder)], cwd=root, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("StorageReadOnlyError ")
    assert str(folder) in done.stdout
    assert "storage.path" in done.stdout


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    checkpointer, _ = get_checkpointer_and_store(make_settings(tmp_path / "file", "sqlite"))
    with pytest.raises(StorageError, match=r"storage\.path"):
        counting_graph(checkpointer).invoke({}, config())


def test_a_file_that_another_process_holds_is_said_to_be_locked(sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_backend, "BUSY_S", 0.05)
    checkpointer, _ = get_checkpointer_and_store(sqlite_settings)
    counting_graph(checkpointer).invoke({}, config())
    other = sqlite3.connect(sqlite_settings.storage.path / THREADS_FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageLockedError):
        counting_graph(checkpointer).invoke({}, config())
    other.rollback()
    counting_graph(checkpointer).invoke({}, config())
    other.close()
    checkpointer.close()


async def test_after_closing_use_is_an_error(sqlite_settings: Settings) -> None:
    checkpointer, store = get_checkpointer_and_store(sqlite_settings)
    for part in (checkpointer, store):
        await part.aclose()
        await part.aclose()
    with pytest.raises(ResourceClosedError):
        await counting_graph(checkpointer).ainvoke({}, config())
    with pytest.raises(ResourceClosedError):
        await store.aget(("a",), "b")


# -- user context


def test_the_user_is_that_of_the_request_then_of_the_configuration_then_local(tmp_path: Path) -> None:
    with ResourceManager(Settings(storage=StorageCfg(path=tmp_path))) as plain:
        assert extract_user_context(plain) == {"user_id": "local", "tenant": "default", "groups": []}
    with ResourceManager(Settings(environment=EnvironmentCfg(jpmc_user_sid="S123"))) as configured:
        assert extract_user_context(configured)["user_id"] == "S123"
        token = current_identity.set(Identity("anne", "acme", ("hr",)))
        try:
            assert extract_user_context(configured) == {"user_id": "anne", "tenant": "acme", "groups": ["hr"]}
        finally:
            current_identity.reset(token)


def test_thread_ids_sort_by_time_and_cannot_be_guessed() -> None:
    ids = [generate_thread_id("anne") for _ in range(1000)]
    assert len({*ids}) == 1000
    assert {uuid.UUID(value).version for value in ids} == {7}
    stamps = [value[:13] for value in ids]
    assert stamps == sorted(stamps)
    with pytest.raises(ValueError, match="user"):
        generate_thread_id("")


@pytest.mark.parametrize("bad", [None, "", " ", 7, 0, uuid.UUID(int=7), b"t1", ("t1",), "a\0b", "\ud800"])
def test_an_id_that_users_would_share_or_no_backend_keeps_is_refused(bad: Any) -> None:
    for user, thread_id in (("anne", bad), (bad, "t1")):
        with pytest.raises((TypeError, ValueError), match="generate_thread_id"):
            create_langgraph_config({"user_id": user, "tenant": "acme"}, thread_id)
    with pytest.raises(TypeError, match="tenant"):
        create_langgraph_config({"user_id": "anne", "tenant": None}, "t1")


# -- threads


async def test_a_turn_comes_back_as_it_was(settings: Settings, parts: tuple[Any, Any]) -> None:
    assert turn_from_dict(turn_to_dict(a_turn())) == a_turn()
    service = ThreadService(settings, parts[0])
    thread_id = await add_turns(service, parts[0], ANNE, ["How many days of leave?", "And after five years?"])
    assert await service.history(thread_id, ANNE) == (a_turn(1), a_turn(2))
    thread = await service.get(thread_id, ANNE)
    assert (thread.title, thread.turns) == ("How many days of leave?", 2)


async def test_threads_of_others_are_not_found_like_unknown_ones(settings: Settings, parts: tuple[Any, Any]) -> None:
    service = ThreadService(settings, parts[0])
    thread_id = await add_turns(service, parts[0], ANNE, ["mine"])
    for stranger in (BOB, ANNE_ELSEWHERE):
        for call in (service.get, service.history, service.delete):
            with pytest.raises(NotFoundError) as foreign:
                await call(thread_id, stranger)
            with pytest.raises(NotFoundError) as unknown:
                await call("no-such-thread", stranger)
            assert str(foreign.value) == str(unknown.value)
        with pytest.raises(NotFoundError):
            async with service.turn(thread_id, stranger, "may I?"):
                pass
        assert (await service.list(stranger)).threads == ()
    assert len(await service.history(thread_id, ANNE)) == 1


async def test_the_list_is_latest_first_and_pages_neither_overlap_nor_skip(settings: Settings, parts: tuple[Any, Any]) -> None:
    service = ThreadService(settings, parts[0])
    made = [await add_turns(service, parts[0], ANNE, [f"question {n}"]) for n in range(7)]
    await add_turns(service, parts[0], BOB, ["not hers"])
    seen, cursor = [], None
    while True:
        page = await service.list(ANNE, 3, cursor)
        seen += [thread.thread_id for thread in page.threads]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(made)
    dates = [(await service.get(thread_id, ANNE)).updated_at for thread_id in seen]
    assert dates == sorted(dates, reverse=True)


SURROGATE = base64.urlsafe_b64encode(json.dumps(["\ud800", "t"]).encode()).decode()
DEEP = base64.urlsafe_b64encode(b"[" * 2900).decode()


@pytest.mark.parametrize("cursor", ["", "x", "bm9wZQ==", "WzEsIDJd", "é", SURROGATE, DEEP])
async def test_a_cursor_that_is_not_ours_is_a_query_error(settings: Settings, parts: tuple[Any, Any], cursor: str) -> None:
    service = ThreadService(settings, parts[0])
    if cursor == "":
        assert (await service.list(ANNE, 1, cursor)).threads == ()
        return
    with pytest.raises(QueryError):
        await service.list(ANNE, 1, cursor)


async def test_deleting_leaves_no_row_in_any_table(sqlite_settings: Settings) -> None:
    checkpointer, _ = get_checkpointer_and_store(sqlite_settings)
    service = ThreadService(sqlite_settings, checkpointer)
    kept = await add_turns(service, checkpointer, ANNE, ["kept"])
    gone = await add_turns(service, checkpointer, ANNE, ["SECRETQUESTION", "again"])
    await service.delete(gone, ANNE)
    path = sqlite_settings.storage.path / THREADS_FILE
    with sqlite3.connect(path) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        holding = [table for table in tables if any(gone in str(row) for row in connection.execute(f"SELECT * FROM {table}"))]
    assert holding == []
    assert [thread.thread_id for thread in (await service.list(ANNE)).threads] == [kept]
    await checkpointer.aclose()
    assert b"SECRETQUESTION" not in path.read_bytes()


async def test_a_new_thread_whose_first_turn_fails_is_removed(settings: Settings, parts: tuple[Any, Any]) -> None:
    service = ThreadService(settings, parts[0])
    with pytest.raises(ValueError, match="as asked"):
        async with service.turn(None, ANNE, "a question") as thread_id:
            await counting_graph(parts[0]).ainvoke({"fail": True}, config(thread_id))
    assert (await service.list(ANNE)).threads == ()
    assert await parts[0].aget_tuple(config(thread_id)) is None
    with pytest.raises(NotFoundError):
        await service.get(thread_id, ANNE)


async def test_turns_of_one_thread_run_one_after_the_other(settings: Settings, parts: tuple[Any, Any]) -> None:
    service = ThreadService(settings, parts[0])
    thread_id = await add_turns(service, parts[0], ANNE, ["first"])
    running, most = 0, 0

    async def turn() -> None:
        nonlocal running, most
        async with service.turn(thread_id, ANNE, "more"):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    tasks = [asyncio.create_task(turn()) for _ in range(20)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 1
    assert [index for index, result in enumerate(results) if isinstance(result, BaseException)] == [3]


async def test_turns_from_two_event_loops_wait_for_each_other(settings: Settings, parts: tuple[Any, Any]) -> None:
    service = ThreadService(settings, parts[0])
    thread_id = await add_turns(service, parts[0], ANNE, ["first"])
    order: list[str] = []

    async def other() -> None:
        async with service.turn(thread_id, ANNE, "from elsewhere"):
            order.append("other")

    async with service.turn(thread_id, ANNE, "here"):
        elsewhere = asyncio.create_task(asyncio.to_thread(asyncio.run, other()))
        await asyncio.sleep(0.05)
        order.append("here")
    await elsewhere
    assert order == ["here", "other"]


HOLDS = """
import asyncio, sys
from pathlib import Path
from src.infra.persistence.locks import ThreadLocks
async def hold():
    async with ThreadLocks(Path(sys.argv[1])).hold(sys.argv[2]):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(hold())
"""


async def test_turns_of_two_services_on_one_folder_lose_nothing(sqlite_settings: Settings) -> None:
    # As two processes have it: each its own connection and its own locks.
    checkpointers = [get_checkpointer_and_store(sqlite_settings)[0] for _ in range(2)]
    slow, quick = ((checkpointer, ThreadService(sqlite_settings, checkpointer)) for checkpointer in checkpointers)
    thread_id = await add_turns(slow[1], slow[0], ANNE, ["first"])
    begun = asyncio.Event()

    async def turn(part: tuple[Any, ThreadService], name: str, pause: float) -> None:
        async with part[1].turn(thread_id, ANNE, name):
            before = len(await part[1].history(thread_id, ANNE))
            begun.set()
            await asyncio.sleep(pause)
            await counting_graph(part[0]).aupdate_state(config(thread_id), {"turns": [turn_to_dict(a_turn(before + 1))]})
            await part[1].finished(thread_id, before + 1)

    first = asyncio.create_task(turn(slow, "slow", 0.2))
    await begun.wait()
    await asyncio.gather(first, turn(quick, "quick", 0))
    assert [entry.message_id for entry in await quick[1].history(thread_id, ANNE)] == ["m1", "m2", "m3"]
    assert (await slow[1].get(thread_id, ANNE)).turns == 3
    assert [*(sqlite_settings.storage.path / LOCKS_FOLDER).iterdir()] == []
    for part in (slow, quick):
        await part[0].aclose()


async def test_a_process_that_is_killed_lets_go_of_its_thread(sqlite_settings: Settings, root: Path) -> None:
    checkpointer, _ = get_checkpointer_and_store(sqlite_settings)
    service = ThreadService(sqlite_settings, checkpointer)
    thread_id = await add_turns(service, checkpointer, ANNE, ["first"])
    folder = sqlite_settings.storage.path / LOCKS_FOLDER
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(folder), thread_id], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == b"held\n"
        waiting = asyncio.create_task(service.delete(thread_id, ANNE))
        given_up = asyncio.create_task(service.delete(thread_id, ANNE))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        given_up.cancel()
        holder.kill()
    await asyncio.wait_for(waiting, 30)
    assert [*folder.iterdir()] == []
    with pytest.raises(NotFoundError):
        await service.get(thread_id, ANNE)
    await checkpointer.aclose()


async def test_a_turn_that_gives_up_waiting_leaves_no_lock_behind(tmp_path: Path) -> None:
    one, other = ThreadLocks(tmp_path), ThreadLocks(tmp_path)

    async def hold(locks: ThreadLocks, pause: float = 0) -> None:
        async with locks.hold("t"):
            await asyncio.sleep(pause)

    for pauses in range(60):  # cancelled at each step of taking the lock
        task = asyncio.create_task(hold(one, 10))
        for _ in range(pauses % 6):
            await asyncio.sleep(0)
        await asyncio.sleep(0.0002 * (pauses // 6))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.wait_for(hold(other), 30)
    assert [*tmp_path.iterdir()] == []


async def test_a_thread_that_another_process_deleted_is_not_brought_back(settings: Settings, parts: tuple[Any, Any]) -> None:
    service = ThreadService(settings, parts[0])
    thread_id = await add_turns(service, parts[0], ANNE, ["first"])

    async def turn() -> None:
        async with service.turn(thread_id, ANNE, "second"):
            await service._rows.delete(thread_id)  # as another process would
            await counting_graph(parts[0]).ainvoke({}, config(thread_id))
            await service.finished(thread_id, 2)

    with pytest.raises(ConflictError):
        await turn()
    assert await parts[0].aget_tuple(config(thread_id)) is None


async def test_a_long_first_question_becomes_a_title_of_one_line(settings: Settings, parts: tuple[Any, Any]) -> None:
    service = ThreadService(settings, parts[0])
    thread_id = await add_turns(service, parts[0], ANNE, ["Why is\nthe " + "water " * 40])
    title = (await service.get(thread_id, ANNE)).title
    assert title.startswith("Why is the water water")
    assert title.endswith("water…")
    assert len(title) <= 80
