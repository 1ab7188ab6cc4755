"""Runs the rows of PostgreSQL: a value is written and the tables are made for it, as the product's first use does; the doctor is asked after it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme
from pydantic import SecretStr

from src.infra.config import NetworkCfg, PersistenceCfg, Settings, StorageCfg
from src.infra.doctor import diagnose
from src.infra.persistence import get_checkpointer_and_store
from tests.faults.places import black_hole, nobody
from tests.faults.postgres_places import FaultyPostgres
from tests.faults.postgres_rows import ROWS, Row
from tests.faults.running import AT_ONCE, GUARD_S, LATE, WAITING_AT_ONCE, Outcome

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer

SLOW = LATE | {"no word", "login time-out"}
"""What a clock ends; nothing connects faster than libpq's 2 s."""
CANARY = "canary-database-password"
SHOWN = "db.company.com:5432"


@contextmanager
def _made(row: Row, authority: trustme.CA) -> Iterator[str]:
    """The connection string of a place that fails so."""
    mode = "?sslmode=disable" if row.fault.endswith("sslmode=disable") else ""
    with ExitStack() as stack:
        if row.fault == "unknown name":
            yield f"postgresql://rag:{CANARY}@no-such-host.invalid:5432/rag"
            return
        if row.fault in ("refused", "connect time-out"):
            port = stack.enter_context(nobody() if row.fault == "refused" else black_hole())
        else:
            port = stack.enter_context(FaultyPostgres(authority, row.fault).running())
        yield f"postgresql://rag:{CANARY}@localhost:{port}/rag{mode}"


def _real(row: Row, server: PostgresServer) -> tuple[str, dict[str, str]]:
    """A connection string of the real server with the fault made, and what its names are called in the table."""
    database = server.database()
    options = "CONNECTION LIMIT 0" if row.fault == "too many connections" else ""
    user, _ = server.role(CANARY, options)
    names = {database: "rag", user: "rag"}
    known: dict[str, dict[str, str]] = {
        "no TLS": {"sslmode": "verify-full"},
        "wrong password": {"password": f"{CANARY}-no-more"},
        "database missing": {"database": f"{database}_2"},
        "standby": {"target_session_attrs": "read-write"},
    }
    statements = {
        "no right to connect": [f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"],
        "read-only": [f"ALTER DATABASE {database} SET default_transaction_read_only = on"],
        "standby": [f"ALTER DATABASE {database} SET default_transaction_read_only = on"],
        "not migrated": [f"ALTER DATABASE {database} OWNER TO {user}"],
    }
    if row.fault in ("no right to write", "read-only"):
        checkpointer, _ = get_checkpointer_and_store(_settings(server.dsn(database), NetworkCfg()))
        checkpointer.setup()  # type: ignore[attr-defined] - PostgreSQL's
        checkpointer.close()  # type: ignore[attr-defined] - PostgreSQL's
        server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}", database)
    for statement in statements.get(row.fault, ()):
        server.execute(statement)
    return server.dsn(**{"database": database, "user": user, "password": CANARY, "host": "localhost", **known.get(row.fault, {})}), names


def _settings(dsn: str, network: NetworkCfg, folder: Path | None = None, **more: Any) -> Settings:
    storage = StorageCfg() if folder is None else StorageCfg(path=folder)
    return Settings(network=network, persistence=PersistenceCfg(backend="postgres", dsn=SecretStr(dsn), **more), storage=storage)


async def _use(settings: Settings) -> BaseException | None:
    checkpointer, store = get_checkpointer_and_store(settings)
    try:
        async with asyncio.timeout(GUARD_S):
            await store.aput(("faults",), "key", {"value": 1})
    except Exception as caught:  # noqa: BLE001 - whatever comes is the outcome
        return caught
    finally:
        await checkpointer.aclose()  # type: ignore[attr-defined] - PostgreSQL's
    return None


async def run(row: Row, server: PostgresServer, folder: Path, authority: trustme.CA, *, doctor: bool) -> Outcome:
    """One row, and what the doctor says of it."""
    with ExitStack() as stack:
        names: dict[str, str] = {}
        if row.real:
            dsn, names = await asyncio.to_thread(_real, row, server)
        else:
            dsn = await asyncio.to_thread(lambda: stack.enter_context(_made(row, authority)))
        network = NetworkCfg(ca_bundle=folder / ("other.pem" if row.fault == "wrong CA" else "ca.pem"), ca_mode="replace")
        limits = {"connect_timeout_s": 2.0 if row.fault in SLOW else 20.0, "timeout_s": 1.0 if row.fault in ("read time-out", "dripping") else 20.0}
        settings = _settings(dsn, network, folder / "data", auto_migrate=row.fault != "not migrated", **limits)
        error = await _use(settings)
        report = await diagnose(settings, timeout_s=GUARD_S / 3, hops=["postgres"]) if doctor else None
        await asyncio.to_thread(stack.close)
    hop = getattr(error, "hop", "")
    place = hop.removeprefix("postgres://")
    text = str(error)
    for real, name in ((place, SHOWN), *names.items()):
        text = text.replace(real, name) if real else text
    text = re.sub(r"\b0/\d+", "0/…", text)  # how many there are changes with releases
    return Outcome(error, _expected(dsn), text, report)


def _expected(dsn: str) -> str:
    from psycopg.conninfo import conninfo_to_dict

    found = conninfo_to_dict(dsn)
    return f"postgres://{found['host']}:{found['port']}"


def run_postgres(server: PostgresServer, folder: Path, *, doctor: bool) -> dict[Row, Outcome]:
    """All rows, several at once: most of their time they wait."""
    authority = trustme.CA()
    for name, made in (("ca.pem", authority), ("other.pem", trustme.CA())):
        made.cert_pem.write_to_path(str(folder / name))

    async def work() -> dict[Row, Outcome]:
        working, waiting = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(WAITING_AT_ONCE)

        async def one(row: Row) -> tuple[Row, Outcome]:
            async with waiting if row.fault in SLOW else working:
                return row, await run(row, server, folder, authority, doctor=doctor)

        return dict(await asyncio.gather(*map(one, ROWS)))

    return asyncio.run(work())
