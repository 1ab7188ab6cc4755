"""PostgreSQL and each way of failing: within its deadline an error whose hop and setting are right, and a doctor that names the same.

The rows are `tests/faults/postgres_rows.py`; `docs/faults.md` prints them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from src.errors import RagError
from tests.faults.page import POSTGRES, postgres_page
from tests.faults.postgres_rows import FAULTS, ROWS, Row
from tests.faults.postgres_running import run_postgres
from tests.faults.running import Outcome
from tests.integration.test_fault_matrix import PAGE
from tests.servers.postgres import PostgresServer

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)


@pytest.fixture(scope="module")
def outcomes(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Mapping[Row, Outcome]:
    """All rows, run side by side: most of their time they wait."""
    return run_postgres(postgres, tmp_path_factory.mktemp("faults"), doctor=True)


def test_the_table_is_whole() -> None:
    assert [row.fault for row in ROWS] == list(FAULTS)


@every_row
def test_each_fault_is_the_right_error(row: Row, outcomes: Mapping[Row, Outcome]) -> None:
    found = outcomes[row]
    error = found.error
    assert isinstance(error, RagError), repr(error)
    assert (type(error).__name__, error.hop, error.setting) == (row.error, found.hop, row.setting), error
    assert error.message
    assert error.hint
    assert error.__cause__ is None, "psycopg's details may hold rows"
    assert not isinstance(error, asyncio.TimeoutError), "the guard ended it, not its own deadline"
    assert "canary" not in f"{error!s}{error!r}"


@every_row
def test_the_doctor_names_the_same_hop_and_setting(row: Row, outcomes: Mapping[Row, Outcome]) -> None:
    found = outcomes[row]
    assert found.report is not None
    hop = found.report.hop("postgres")
    assert isinstance(found.error, RagError)
    assert (hop.status, hop.worst.finding.address, hop.setting, hop.code) == ("failed", found.hop, row.setting, found.error.code), hop.worst
    assert hop.hint
    assert "canary" not in repr(found.report)


def test_the_page_says_what_a_person_reads(outcomes: Mapping[Row, Outcome]) -> None:
    before, _, table = PAGE.read_text(encoding="utf-8").partition(POSTGRES)
    assert before
    assert (POSTGRES + table).splitlines() == postgres_page(outcomes).splitlines(), "run: python -m tests.faults > docs/faults.md"
