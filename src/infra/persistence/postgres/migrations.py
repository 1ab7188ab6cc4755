"""The tables of threads, made and upgraded by whichever replica comes first.

LangGraph's own statements run as they are, each by itself: ``CREATE INDEX CONCURRENTLY`` refuses to run in a transaction. The
lock is an advisory one that a transaction on a second connection holds, so that it also holds behind a pooler in
transaction mode; and it is tried, not waited for: who waits inside a statement is waited for by the index that is built.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from langgraph.checkpoint.postgres.base import MIGRATIONS as CHECKPOINT_MIGRATIONS
from langgraph.store.postgres.base import MIGRATIONS as STORE_MIGRATIONS

from ....errors import ConfigurationError, DeadlineExceededError
from ....telemetry.logger import get_logger
from .connections import Connection, alone

log = get_logger(__name__)

LOCK_KEY = 0x7261675F74687264
"""``rag_thrd``: the advisory lock of those who migrate."""
LOCK_WAIT_S = 3600.0
ANSWER_S = 3600.0
"""An index on a large table takes its time."""
LOCK_POLL_S = 0.2
OLDEST_SERVER = 130000

OWN_MIGRATIONS = (
    """CREATE TABLE IF NOT EXISTS rag_threads (
    thread_id TEXT PRIMARY KEY, tenant TEXT NOT NULL, user_id TEXT NOT NULL, title TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL, turns INTEGER NOT NULL
);""",
    'CREATE INDEX IF NOT EXISTS rag_threads_mine ON rag_threads (tenant, user_id, updated_at COLLATE "C" DESC, thread_id COLLATE "C" DESC);',
    # Unlogged: taking and leaving a lease waits for no disk. A crash of the server empties it, and whoever held a lease cannot write then.
    """CREATE UNLOGGED TABLE IF NOT EXISTS rag_thread_leases (
    thread_id TEXT PRIMARY KEY, holder TEXT NOT NULL, expires_at TIMESTAMPTZ NOT NULL
);""",
    "CREATE TABLE IF NOT EXISTS rag_jobs (job TEXT PRIMARY KEY, next_run TEXT NOT NULL);",
    """CREATE TABLE IF NOT EXISTS rag_journal (
    tenant TEXT NOT NULL, user_id TEXT NOT NULL, key TEXT NOT NULL, head BYTEA NOT NULL, claim TEXT NOT NULL, thread_id TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(), expires_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (tenant, user_id, key)
);""",
    """CREATE TABLE IF NOT EXISTS rag_journal_parts (
    tenant TEXT NOT NULL, user_id TEXT NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, body BYTEA NOT NULL, PRIMARY KEY (tenant, user_id, key, seq),
    FOREIGN KEY (tenant, user_id, key) REFERENCES rag_journal ON DELETE CASCADE
);""",
    "CREATE INDEX IF NOT EXISTS rag_journal_end ON rag_journal (expires_at);",
    "CREATE INDEX IF NOT EXISTS rag_journal_thread ON rag_journal (thread_id);",
)


_TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes", "store", "rag_threads", "rag_thread_leases", "rag_jobs", "rag_journal", "rag_journal_parts")
_MAKES = "SELECT 'CREATE on schema ' || current_schema() AS lacking WHERE NOT has_schema_privilege(current_schema(), 'CREATE')"
_USED = ("SELECT", "INSERT", "UPDATE", "DELETE")
_RIGHTS = """
SELECT string_agg(r, ', ' ORDER BY r) || ' on ' || t AS lacking FROM unnest(%s::text[]) t, unnest(%s::text[]) r
WHERE to_regclass(t) IS NOT NULL AND NOT has_table_privilege(to_regclass(t), r) GROUP BY t ORDER BY t
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One list of migrations: ``applied`` of ``known`` are done; more than known is a newer release's work."""

    table: str
    applied: int
    known: int


@dataclass(frozen=True, slots=True)
class State:
    """What a database is: the server's version (180006 is 18.6), whether it takes writes, how far it is migrated, and what our user may not do there."""

    server_version: int
    read_only: bool
    parts: tuple[Part, ...]
    denied: tuple[str, ...] = ()
    """Such as ``INSERT on store``; only `with_rights` looks."""

    @property
    def version(self) -> str:
        return f"{self.server_version // 10000}.{self.server_version % 10000}"

    @property
    def migrated(self) -> bool:
        return all(part.applied >= part.known for part in self.parts)


def _lists() -> tuple[tuple[str, Sequence[str]], ...]:
    return (("checkpoint_migrations", CHECKPOINT_MIGRATIONS), ("store_migrations", STORE_MIGRATIONS), ("rag_migrations", OWN_MIGRATIONS))


def current_state(connection: Connection) -> State:
    """Read the state; changes nothing.

    Raises:
        psycopg.Error: as reading does.
    """
    row = connection.execute("SELECT current_setting('server_version_num')::int AS v, current_setting('transaction_read_only') = 'on' AS ro").fetchone()
    assert row is not None
    parts = tuple(Part(table, _applied(connection, table), len(known)) for table, known in _lists())
    return State(int(row["v"]), bool(row["ro"]), parts)


def with_rights(connection: Connection, state: State) -> State:
    """The state with what our user lacks of the rights that are used: on each table, or to make them.

    Raises:
        psycopg.Error: as reading does.
    """
    asked = connection.execute(_RIGHTS, (list(_TABLES), list(_USED))) if state.migrated else connection.execute(_MAKES)
    return replace(state, denied=tuple(str(row["lacking"]) for row in asked.fetchall()))


def _applied(connection: Connection, table: str) -> int:
    there = connection.execute("SELECT to_regclass(%s) IS NOT NULL AS there", (table,)).fetchone()
    if there is None or not there["there"]:
        return 0
    row = connection.execute(f"SELECT max(v) AS v FROM {table}".encode()).fetchone()  # noqa: S608 - one of three names of ours
    return 0 if row is None or row["v"] is None else int(row["v"]) + 1


def migrate(connect: Callable[[], Connection], *, allowed: bool, hop: str) -> None:
    """Bring the database to this release's tables; a look where it is there already.

    Args:
        allowed: otherwise tables that are missing are an error.

    Raises:
        ConfigurationError: they are missing and may not be made, or the server is too old.
        DeadlineExceededError: another replica migrates for too long.
        psycopg.Error: a statement failed; what was done stays, and the next attempt goes on from there.
    """
    with alone(connect) as connection:
        state = current_state(connection)
        if state.server_version < OLDEST_SERVER:
            raise ConfigurationError(f"PostgreSQL {state.version} is too old.", hop=hop, setting="persistence.dsn", hint="Use version 13 or newer.")
        if state.migrated:
            return
        if not allowed:
            text = f"The database is not migrated: {', '.join(f'{part.table} {part.applied}/{part.known}' for part in state.parts)}."
            raise ConfigurationError(text, hop=hop, setting="persistence.auto_migrate", hint="Switch it on once, as a user who may create tables.")
        connection.answer_s = ANSWER_S
        with alone(connect) as holder:
            _lock(holder, hop)
            for table, known in _lists():
                _apply(connection, table, known)
            holder.execute("ROLLBACK")


def _lock(holder: Connection, hop: str) -> None:
    """Hold the lock until this connection's transaction ends, which is also when it dies."""
    until = time.monotonic() + LOCK_WAIT_S
    while True:
        holder.execute("BEGIN")
        # Without parameters: those leave a portal open, whose snapshot the index that is built would wait for.
        row = holder.execute(f"SELECT pg_try_advisory_xact_lock({LOCK_KEY}) AS mine".encode()).fetchone()
        if row is not None and row["mine"]:
            return
        holder.execute("ROLLBACK")  # nobody may wait inside a transaction, see above
        if time.monotonic() > until:
            raise DeadlineExceededError(
                f"Another replica has migrated the database for {LOCK_WAIT_S:g} s.", hop=hop, setting="persistence.dsn", hint="Look at it."
            )
        time.sleep(LOCK_POLL_S)


def _apply(connection: Connection, table: str, known: Sequence[str]) -> None:
    applied = _applied(connection, table)
    if applied >= len(known):
        return
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (v INTEGER PRIMARY KEY)".encode())
    for version in range(applied, len(known)):
        _drop_half_built(connection, known[version])
        connection.execute(known[version].encode())
        connection.execute(f"INSERT INTO {table} (v) VALUES (%s) ON CONFLICT DO NOTHING".encode(), (version,))  # noqa: S608 - as above
    log.info("the database was migrated", table=table, before=applied, now=len(known))


def _drop_half_built(connection: Connection, statement: str) -> None:
    """An index whose building was interrupted stays, unused and slowing writes, and IF NOT EXISTS would keep it so."""
    found = re.search(r"INDEX\s+CONCURRENTLY\s+IF\s+NOT\s+EXISTS\s+(\w+)", statement, re.IGNORECASE)
    if found is None:
        return
    name = found.group(1)
    row = connection.execute("SELECT 1 AS broken FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid", (name,)).fetchone()
    if row is not None:
        connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}".encode())
