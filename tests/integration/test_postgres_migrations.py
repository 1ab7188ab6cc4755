"""Tables in PostgreSQL: made once, by whoever comes first, and never half."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.postgres import PostgresSaver

from src.errors import ConfigurationError
from src.infra.persistence import get_checkpointer_and_store, postgres_database
from tests.integration.postgres_parts import config, graph_on, settings_for
from tests.servers.postgres import PgBouncer, PostgresServer

TABLES = {"checkpoints", "checkpoint_blobs", "checkpoint_writes", "checkpoint_migrations", "store", "store_migrations", "rag_threads", "rag_migrations"}


def tables(server: PostgresServer, database: str) -> set[str]:
    return {name for (name,) in server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database)}


def broken_indices(server: PostgresServer, database: str) -> list[Any]:
    return server.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid", database)


@pytest.mark.parametrize("way", ["postgres", "postgres_15", "pgbouncer"])
def test_replicas_that_start_at_once_migrate_once(way: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> None:
    where = request.getfixturevalue(way)
    server: PostgresServer = where.server if isinstance(where, PgBouncer) else where
    database = server.database()
    replicas = [postgres_database(settings_for(where.dsn(database), pool_size=2)) for _ in range(8)]
    barrier = threading.Barrier(len(replicas))

    def start(replica: Any) -> None:
        barrier.wait()
        replica.touch()

    caplog.set_level("INFO", "src")
    # Twice the server connections that the pooler has: those who wait must hold none.
    with ThreadPoolExecutor(len(replicas)) as threads:
        list(threads.map(start, replicas))
    assert tables(server, database) >= TABLES
    assert broken_indices(server, database) == []
    assert sorted(record.getMessage() for record in caplog.records).count("the database was migrated") == 3  # one for each list
    for replica in replicas:
        assert replica is not None
        assert replica.inspect().migrated
        replica.close()


def test_a_look_at_an_empty_database_changes_nothing(postgres: PostgresServer) -> None:
    name = postgres.database()
    database = postgres_database(settings_for(postgres.dsn(name)))
    assert database is not None
    state = database.inspect()
    assert not state.migrated
    assert not state.read_only
    assert state.version.startswith("18.")
    assert [part.applied for part in state.parts] == [0, 0, 0]
    assert tables(postgres, name) == set()
    database.touch()
    assert database.inspect().migrated
    database.close()


def test_without_leave_to_migrate_missing_tables_are_a_configuration_error(postgres: PostgresServer) -> None:
    name = postgres.database()
    careful, _ = get_checkpointer_and_store(settings_for(postgres.dsn(name), auto_migrate=False))
    with pytest.raises(ConfigurationError, match=r"persistence\.auto_migrate"):
        careful.get_tuple(config())
    assert tables(postgres, name) == set()
    able, _ = get_checkpointer_and_store(settings_for(postgres.dsn(name)))
    able.get_tuple(config())
    assert careful.get_tuple(config()) is None
    for part in (able, careful):
        part.close()  # type: ignore[attr-defined] - PostgreSQL's


def test_the_tables_of_langgraphs_own_setup_are_taken_over_with_their_threads(postgres: PostgresServer) -> None:
    name = postgres.database()
    with PostgresSaver.from_conn_string(postgres.dsn(name)) as theirs:
        theirs.setup()
        graph_on(theirs).invoke({}, config())
    ours, _ = get_checkpointer_and_store(settings_for(postgres.dsn(name)))
    assert [turn["n"] for turn in graph_on(ours).invoke({}, config())["turns"]] == [1, 2]
    ours.close()  # type: ignore[attr-defined] - PostgreSQL's


def test_an_index_whose_building_was_interrupted_is_built_anew(postgres: PostgresServer) -> None:
    name = postgres.database()
    first, _ = get_checkpointer_and_store(settings_for(postgres.dsn(name)))
    first.get_tuple(config())
    # As a connection that broke off in CREATE INDEX CONCURRENTLY leaves it.
    postgres.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'checkpoints_thread_id_idx'::regclass", name)
    postgres.execute("DELETE FROM checkpoint_migrations WHERE v >= 6", name)
    assert broken_indices(postgres, name) != []
    again, _ = get_checkpointer_and_store(settings_for(postgres.dsn(name)))
    again.get_tuple(config())
    assert broken_indices(postgres, name) == []
    for part in (first, again):
        part.close()  # type: ignore[attr-defined] - PostgreSQL's


def test_a_replica_that_dies_while_it_migrates_leaves_the_lock(postgres: PostgresServer) -> None:
    from src.infra.persistence.postgres.migrations import LOCK_KEY

    name = postgres.database()
    dead = psycopg.connect(postgres.dsn(name))
    dead.execute(f"SELECT pg_advisory_xact_lock({LOCK_KEY})".encode())
    waiting = postgres_database(settings_for(postgres.dsn(name)))
    assert waiting is not None
    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(waiting.touch)
        assert not tables(postgres, name)
        dead.close()
        done.result(30)
    assert tables(postgres, name) >= TABLES
    waiting.close()


def test_newer_tables_are_used_as_they_are(postgres: PostgresServer) -> None:
    name = postgres.database()
    first = postgres_database(settings_for(postgres.dsn(name)))
    assert first is not None
    first.touch()
    postgres.execute("INSERT INTO rag_migrations (v) VALUES (999)", name)
    assert first.inspect().migrated
    second = postgres_database(settings_for(postgres.dsn(name)))
    assert second is not None
    second.touch()
    for database in (first, second):
        database.close()
