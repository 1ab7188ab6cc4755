"""Each hop and each way of failing: within its deadline an error whose hop and setting are right, and a doctor that names the same.

The rows are `tests/faults/rows.py`; the page of them is `docs/faults.md`, which `python -m tests.faults > docs/faults.md` writes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import requests

from src.errors import RagError
from tests.faults.hops import HOPS
from tests.faults.page import POSTGRES, line, page
from tests.faults.rows import FAULTS, ROWS, Row
from tests.faults.running import LATE, SHOWN_PROXY, Outcome, run_all

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
SAMPLED = frozenset(ROWS[::3])
"""What `make test` runs: all rows take 43 s of processor time."""


def each(rows: Iterable[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", [pytest.param(row, id=row.id, marks=() if row in SAMPLED else pytest.mark.long) for row in rows])


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[Row, Outcome]:
    """The rows that are asked for, run side by side: most of their time they wait."""
    here = [item for item in request.session.items if item.path == request.path]
    asked = {item.callspec.params.get("row") for item in here if isinstance(item, pytest.Function) and hasattr(item, "callspec")}
    whole = any(item.name.startswith(test_the_page_is_the_one_that_the_command_writes.__name__) for item in here)
    return run_all([row for row in ROWS if whole or row in asked], tmp_path_factory.mktemp("faults"), doctor=True)


def test_the_matrix_is_whole() -> None:
    """Each hop meets each fault, none twice, and all but one of them in its proxy too: a stream begins as an answer does."""
    assert max(Counter(ROWS).values()) == 1
    met = {hop: {row.fault for row in ROWS if row.hop == hop and row.at in ("host", "gateway")} for hop in HOPS}
    assert all(faults == set(FAULTS) for faults in met.values())
    assert {row.hop for row in ROWS if row.at == "proxy"} == set(HOPS) - {"chat, stream"}
    assert len(ROWS) >= 60
    assert len(SAMPLED) >= 60
    assert {row.hop for row in SAMPLED} == set(HOPS)
    assert {row.fault for row in SAMPLED} == set(FAULTS)


@each(ROWS)
def test_each_fault_is_the_right_error(row: Row, outcomes: Mapping[Row, Outcome]) -> None:
    found = outcomes[row]
    error = found.error
    assert isinstance(error, RagError), repr(error)
    assert (type(error).__name__, error.hop, error.setting) == (row.error, found.hop, row.setting), error
    assert error.message
    assert error.hint
    assert not isinstance(error, asyncio.TimeoutError), "the guard ended it, not its own deadline"
    assert bool(error.proxy) == (row.at in ("proxy", "behind"))
    assert isinstance(error, requests.RequestException) == (row.hop == "search session")
    assert "canary" not in f"{error!s}{error!r}{error.__cause__!r}"


@each(row for row in ROWS if HOPS[row.hop].doctor)
def test_the_doctor_names_the_same_hop_and_setting(row: Row, outcomes: Mapping[Row, Outcome]) -> None:
    found = outcomes[row]
    assert found.report is not None
    hop = found.report.hop(HOPS[row.hop].doctor)
    assert hop.status == "failed", hop
    assert (hop.worst.finding.address, hop.setting) == (found.hop, row.setting), hop.worst
    assert hop.hint
    assert "canary" not in repr(found.report)


def comparable(text: str) -> list[str]:
    """The page's lines; of rows that a clock ends without their words: on a machine without time to spare another limit may end them first."""
    late = tuple(f"| {fault} " for fault in LATE)
    return [" | ".join(part.split(" | ")[:3]) if part.startswith(late) else part for part in text.splitlines()]


@each(ROWS)
def test_the_page_says_what_a_person_reads(row: Row, outcomes: Mapping[Row, Outcome]) -> None:
    (said,) = comparable(line(row, outcomes[row]))
    assert said in comparable(PAGE.read_text(encoding="utf-8")), "run: python -m tests.faults > docs/faults.md"


@pytest.mark.long
def test_the_page_is_the_one_that_the_command_writes(outcomes: Mapping[Row, Outcome]) -> None:
    assert comparable(page(outcomes)) == comparable(PAGE.read_text(encoding="utf-8").partition(f"\n{POSTGRES}")[0])
    assert SHOWN_PROXY in page(outcomes)
