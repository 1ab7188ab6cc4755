"""The way to PostgreSQL: each fault has its own error, nothing is serialised, and what breaks off is taken up again."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from src.errors import (
    ConfigurationError,
    DeadlineExceededError,
    InputError,
    OverloadedError,
    RagError,
    ResourceClosedError,
    ServiceCredentialsError,
    ServicePermissionError,
    UnreachableError,
    WriteBlockedError,
)
from src.infra.config import PersistenceCfg, Settings
from src.infra.persistence import get_checkpointer_and_store, postgres_database
from src.infra.resource_manager import ResourceManager
from tests.integration.postgres_parts import config, graph_on, settings_for
from tests.servers.postgres import PASSWORD, PgBouncer, PostgresServer, _own, server_folder

CANARY = "canary-pässword-7f3a"


@pytest.fixture
def saver(postgres: PostgresServer) -> Iterator[Any]:
    checkpointer, _ = get_checkpointer_and_store(settings_for(postgres.dsn(postgres.database())))
    yield checkpointer
    checkpointer.close()


def failure_of(dsn: str, **more: Any) -> RagError:
    checkpointer, store = get_checkpointer_and_store(settings_for(dsn, **more))
    with pytest.raises(RagError) as found:
        checkpointer.get_tuple(config())
    with pytest.raises(type(found.value)):
        store.get(("a",), "b")
    assert PASSWORD not in repr(found.value) + str(found.value)
    assert found.value.__cause__ is None
    checkpointer.close()
    return found.value


# -- faults; those that one connection shows are rows of `test_postgres_faults.py`


async def test_callers_who_wait_for_a_server_that_answers_nothing_wait_together() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        dsn = f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/d?sslmode=disable"
        checkpointer, _ = get_checkpointer_and_store(settings_for(dsn, connect_timeout_s=2))
        attempts = [checkpointer.aget_tuple(config()) for _ in range(10)]
        failures = await asyncio.wait_for(asyncio.gather(*attempts, return_exceptions=True), 15)  # one after the other: 20 s
    assert {type(failure) for failure in failures} == {UnreachableError}
    checkpointer.close()  # type: ignore[attr-defined] - PostgreSQL's


def test_a_wrong_password_is_refused_credentials(postgres: PostgresServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for dsn in (postgres.dsn(password=CANARY), postgres.dsn(user="nobody_here", password=CANARY)):
        error = failure_of(dsn)
        assert (type(error), error.setting) == (ServiceCredentialsError, "persistence.dsn")
        assert error.hop == f"postgres://127.0.0.1:{postgres.port}"
    assert CANARY not in caplog.text + str(error)


@pytest.mark.parametrize("version", [15, 18])
def test_a_user_who_may_not_make_tables_is_told_so(version: int, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres" if version == 18 else "postgres_15")
    database = server.database()
    name, secret = server.role()
    error = failure_of(server.dsn(database, user=name, password=secret))
    assert (type(error), error.setting) == (ServicePermissionError, "persistence.dsn")
    first, _ = get_checkpointer_and_store(settings_for(server.dsn(database)))
    first.setup()
    first.close()
    assert isinstance(failure_of(server.dsn(database, user=name, password=secret)), ServicePermissionError)
    server_owner = psycopg.connect(server.dsn(database), autocommit=True)
    server_owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}")
    server_owner.close()
    allowed, _ = get_checkpointer_and_store(settings_for(server.dsn(database, user=name, password=secret)))
    graph_on(allowed).invoke({}, config())
    allowed.close()


def test_a_full_server_is_overloaded(postgres_node: Callable[..., PostgresServer]) -> None:
    node = postgres_node(18, max_connections=6, superuser_reserved_connections=0, reserved_connections=0, max_wal_senders=0)
    held = [psycopg.connect(node.dsn()) for _ in range(6)]
    error = failure_of(node.dsn())
    assert (type(error), error.setting) == (OverloadedError, "persistence.pool_size")
    for connection in held:
        connection.close()


def test_a_full_pooler_is_overloaded(postgres: PostgresServer) -> None:
    with server_folder() as folder, PgBouncer(postgres, folder / "b", settings={"max_client_conn": 3}).running() as bouncer:
        held: list[psycopg.Connection[Any]] = []
        with suppress(psycopg.OperationalError):
            held.extend(psycopg.connect(bouncer.dsn("postgres")) for _ in range(9))
        assert held
        assert isinstance(failure_of(bouncer.dsn("postgres")), OverloadedError)
        for connection in held:
            connection.close()


def test_a_standby_is_read_and_refuses_writes(postgres_node: Callable[..., PostgresServer]) -> None:
    primary = postgres_node(18)
    writer, _ = get_checkpointer_and_store(settings_for(primary.dsn()))
    graph_on(writer).invoke({}, config())
    with server_folder() as folder:
        standby = PostgresServer(folder / "standby", 18)
        standby.folder.mkdir()
        _own(standby.folder)
        standby._programs = primary._programs
        standby._run("pg_basebackup", "-D", str(standby.data), "-R", "-d", primary.dsn(), "--checkpoint", "fast", "--no-sync")
        standby.start()
        try:
            reader, _ = get_checkpointer_and_store(settings_for(standby.dsn()))
            assert [turn["n"] for turn in graph_on(reader).get_state(config()).values["turns"]] == [1]
            with pytest.raises(WriteBlockedError, match="target_session_attrs"):
                graph_on(reader).invoke({}, config())
            reader.close()
            both = f"postgresql://postgres@127.0.0.1:{standby.port},127.0.0.1:{primary.port}/postgres?target_session_attrs=read-write&sslmode=disable"
            chosen, _ = get_checkpointer_and_store(settings_for(both, password=SecretStr(PASSWORD)))
            graph_on(chosen).invoke({}, config())
            chosen.close()
        finally:
            standby.stop()
    writer.close()


def test_a_disk_that_is_full_under_a_write_is_said_to_be_and_nothing_is_written(postgres: PostgresServer) -> None:
    database = postgres.database()
    checkpointer, _ = get_checkpointer_and_store(settings_for(postgres.dsn(database)))
    graph = graph_on(checkpointer)
    graph.invoke({}, config())
    full = "BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END"
    postgres.execute(f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $${full}$$", database)
    postgres.execute("CREATE TRIGGER full_disk BEFORE INSERT ON checkpoints EXECUTE FUNCTION full_disk()", database)
    with pytest.raises(WriteBlockedError, match="disk is full") as found:
        graph.invoke({}, config())
    assert (found.value.hop, found.value.setting) == (f"postgres://127.0.0.1:{postgres.port}", "persistence.dsn")
    postgres.execute("DROP TRIGGER full_disk ON checkpoints", database)
    assert [turn["n"] for turn in graph.invoke({}, config())["turns"]] == [1, 2]
    checkpointer.close()


def test_a_statement_that_takes_too_long_is_given_up_and_ended_there(postgres: PostgresServer) -> None:
    database = postgres_database(settings_for(postgres.dsn(postgres.database()), timeout_s=0.5))
    assert database is not None
    database.touch()
    with pytest.raises(DeadlineExceededError) as found, database.connection() as connection:
        connection.execute("SELECT pg_sleep(60), 'the long one'")
    assert found.value.setting == "persistence.timeout_s"
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%the long one%' AND state = 'active' AND pid <> pg_backend_pid()"
    assert postgres.execute(running) == [(0,)]
    database.close()


def test_a_server_that_hangs_is_given_up(postgres_node: Callable[..., PostgresServer]) -> None:
    node = postgres_node(18)
    checkpointer, _ = get_checkpointer_and_store(settings_for(node.dsn(), timeout_s=0.5, connect_timeout_s=2))
    checkpointer.get_tuple(config())
    node.pause()
    try:
        with pytest.raises(DeadlineExceededError):
            checkpointer.get_tuple(config())
    finally:
        node.go_on()
    assert checkpointer.get_tuple(config()) is None
    checkpointer.close()


def test_libpqs_own_variables_and_files_change_nothing(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".pgpass").write_text(f"*:*:*:*:{PASSWORD}\n")
    (tmp_path / ".pgpass").chmod(0o600)
    dsn, without = postgres.dsn(postgres.database()), postgres.dsn(password="")
    monkeypatch.setenv("HOME", str(tmp_path))
    options = {"PGOPTIONS": "-c default_transaction_read_only=on", "PGSSLMODE": "require", "PGTARGETSESSIONATTRS": "standby", "PGCLIENTENCODING": "LATIN1"}
    for name, value in {**options, "PGPORT": "1", "PGPASSWORD": PASSWORD}.items():
        monkeypatch.setenv(name, value)
    checkpointer, _ = get_checkpointer_and_store(settings_for(dsn))
    graph_on(checkpointer).invoke({"note": "\u4f11\u5047"}, config())
    checkpointer.close()  # type: ignore[attr-defined] - PostgreSQL's
    assert isinstance(failure_of(without), ServiceCredentialsError)


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        (None, "no connection string"),
        ("postgres//u:secret-word@h/d", "cannot be read"),
        ("postgresql://u:secret-word@h/d?nonsense=1", "cannot be read"),
        ("postgresql://u:secret-word@/d", "no host"),
        ("postgresql://h/d", "no user"),
        ("host=h user=u password=secret-word", "no dbname"),
    ],
)
def test_a_connection_string_that_cannot_be_used_is_a_configuration_error(dsn: str | None, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as found:
        get_checkpointer_and_store(Settings(persistence=PersistenceCfg(backend="postgres", dsn=SecretStr(dsn) if dsn else None)))
    assert found.value.setting == "persistence.dsn"
    assert "secret-word" not in str(found.value) + repr(found.value.__cause__) + repr(found.value.__context__ if not found.value.__suppress_context__ else "")


def test_two_passwords_are_one_too_many() -> None:
    with pytest.raises(ConfigurationError, match=r"persistence\.password"):
        get_checkpointer_and_store(settings_for("postgresql://u:a@h/d", password=SecretStr("b")))


def test_a_missing_package_names_the_extra(root: Path) -> None:
    code = """
import sys
sys.modules["psycopg"] = None
from pydantic import SecretStr
from src.infra.config import PersistenceCfg, Settings
from src.infra.persistence import get_checkpointer_and_store
try:
    get_checkpointer_and_store(Settings(persistence=PersistenceCfg(backend="postgres", dsn=SecretStr("postgresql://u@h/d"))))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("MissingExtraError ")
    assert "founders-rag[postgres]" in done.stdout


def test_a_text_with_a_nul_is_stored_in_a_checkpoint_and_refused_as_an_id(saver: Any) -> None:
    graph = graph_on(saver)
    graph.invoke({"note": "a\0b"}, config())
    assert graph.get_state(config()).values["note"] == "a\0b"
    with pytest.raises(InputError):
        saver.get_tuple({"configurable": {"thread_id": "a\0b", "checkpoint_ns": ""}})


# -- the pool


def test_nothing_connects_before_first_use(postgres: PostgresServer) -> None:
    database = postgres.database()
    checkpointer, store = get_checkpointer_and_store(settings_for(postgres.dsn(database)))
    count = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'"
    assert postgres.execute(count) == [(0,)]
    store.put(("a",), "b", {"c": 1})
    assert postgres.execute(count) != [(0,)]
    checkpointer.close()
    with pytest.raises(ResourceClosedError):
        store.get(("a",), "b")


async def test_operations_do_not_wait_for_each_other(saver: Any, postgres: PostgresServer) -> None:
    graph = graph_on(saver)
    await graph.ainvoke({}, config())
    locked = psycopg.connect(postgres.dsn(saver.database._target.params["dbname"]))
    locked.execute("SELECT 1 FROM checkpoints WHERE thread_id = 't1' FOR UPDATE")
    held = [asyncio.create_task(saver.aput(snapshot.config, snapshot.checkpoint, snapshot.metadata, {})) async for snapshot in saver.alist(config())][:3]
    await asyncio.sleep(0.2)
    assert not any(task.done() for task in held)  # they wait for the locked rows
    await asyncio.wait_for(graph.ainvoke({}, config("t2")), 20)
    locked.close()
    await asyncio.gather(*held)


async def test_a_pool_that_is_used_up_is_overloaded(postgres: PostgresServer) -> None:
    database = postgres_database(settings_for(postgres.dsn(postgres.database()), pool_size=2, pool_timeout_s=0.2))
    assert database is not None
    await database.ping()
    with database.connection(), database.connection(), pytest.raises(OverloadedError) as found:
        await database.ping()
    assert found.value.setting == "persistence.pool_size"
    await database.ping()
    await database.aclose()


def test_a_restart_of_the_server_costs_no_error(postgres_node: Callable[..., PostgresServer]) -> None:
    node = postgres_node(18)
    checkpointer, store = get_checkpointer_and_store(settings_for(node.dsn()))
    graph = graph_on(checkpointer, store)
    graph.invoke({}, config())
    node.stop()
    with pytest.raises(UnreachableError):
        graph.invoke({}, config())
    node.start()
    assert [turn["n"] for turn in graph.invoke({}, config())["turns"]] == [1, 2]
    checkpointer.close()


def test_connections_that_are_ended_under_load_lose_and_double_nothing(saver: Any, postgres: PostgresServer) -> None:
    graph, name = graph_on(saver), saver.database._target.params["dbname"]
    graph.invoke({}, config("t0"))
    stop = threading.Event()
    ended = 0

    def end_sessions() -> None:
        nonlocal ended
        with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
            while not stop.wait(0.05):
                row = admin.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE datname = %s LIMIT 1) s", (name,)
                ).fetchone()
                ended += row[0] if row else 0

    killer = threading.Thread(target=end_sessions)
    killer.start()
    lasting = []
    try:
        for _ in range(40):
            try:
                lasting = graph.invoke({}, config("t0"))["turns"]
            except UnreachableError:  # ended twice in a row: told, and the thread goes on from its last step
                continue
    finally:
        stop.set()
        killer.join()
    final = [turn["n"] for turn in graph.invoke({}, config("t0"))["turns"]]
    assert ended > 3
    assert final == list(range(1, len(final) + 1))
    assert len(final) >= len(lasting)


async def test_a_write_that_began_is_finished_though_its_caller_is_cancelled(saver: Any, postgres: PostgresServer) -> None:
    graph = graph_on(saver)
    await graph.ainvoke({}, config())
    latest = await saver.aget_tuple(config())
    locked = psycopg.connect(postgres.dsn(saver.database._target.params["dbname"]))
    locked.execute("LOCK TABLE checkpoints IN EXCLUSIVE MODE")
    task = asyncio.create_task(saver.aput(config() | {"configurable": {"thread_id": "t9", "checkpoint_ns": ""}}, latest.checkpoint, latest.metadata, {}))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    locked.rollback()
    locked.close()
    await saver.aclose()
    assert postgres.execute("SELECT count(*) FROM checkpoints WHERE thread_id = 't9'", saver.database._target.params["dbname"]) == [(1,)]


async def test_the_pair_works_behind_pgbouncer_with_fewer_server_connections_than_callers(pgbouncer: PgBouncer, postgres: PostgresServer) -> None:
    checkpointer, store = get_checkpointer_and_store(settings_for(pgbouncer.dsn(postgres.database()), pool_size=20))
    graph = graph_on(checkpointer, store)

    async def conversation(number: int) -> list[int]:
        for _ in range(3):
            state = await graph.ainvoke({}, config(f"t{number}"))
            await store.aput(("seen",), str(number), {"n": number})
        return [turn["n"] for turn in state["turns"]]

    assert await asyncio.gather(*map(conversation, range(20))) == [[1, 2, 3]] * 20
    assert len(await store.asearch(("seen",), limit=100)) == 20
    await checkpointer.aclose()


async def test_the_resource_manager_shares_one_pool_and_reports_health(postgres: PostgresServer) -> None:
    async with ResourceManager(settings_for(postgres.dsn(postgres.database()))) as manager:
        checkpointer: Any = manager.checkpointer
        store: Any = manager.store
        assert checkpointer.database is store.database is manager.get("database")
        await checkpointer.database.ping()
    with pytest.raises(ResourceClosedError):
        await checkpointer.aget_tuple(config())
