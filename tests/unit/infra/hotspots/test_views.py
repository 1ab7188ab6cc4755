"""The report as text and as a page: what it says, and that names in it are names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.assembly import stage_budgets
from src.cli.hotspots_page import html_of
from src.cli.hotspots_view import bar, change, clock, ms, text_of
from src.infra.config import Settings
from src.infra.hotspots.batch import Cell, Outcomes
from src.infra.hotspots.comparing import Change
from src.infra.hotspots.report import Report, make_report
from src.infra.hotspots.store import Window
from src.telemetry.recording import Finished

RERANK = {"provider": "tei", "api_base": "http://127.0.0.1:1", "timeout_s": 2.0}
EVIL = '<script>alert(1)</script>"\x1b[31m'


def report_of(stage: str = "embed", tenant: str = "default") -> Report:
    cells = {stage: Cell(30, 9000.0, 9000.0, 2, 300.0, {117: 30}), "chat": Cell(30, 1000.0, 10_000.0, 0, None, {118: 30})}
    before = {stage: Cell(30, 900.0, 900.0, 0, 300.0, {80: 30})}
    worst = [Finished("chat", tenant, 1_800_000_000.0, 1.5, {stage: 1.2, "chat": 0.3}, degraded=(EVIL,), correlation_id="abc", trace_id="f" * 32)]
    return make_report(Window(30_000_000, 30_000_059), cells, before, {"chat": Outcomes(30, 1, 0, 2)}, worst)


def test_the_text_says_which_stage_it_is_what_it_took_and_how_it_changed() -> None:
    lines = text_of(report_of()).splitlines()
    assert lines[0].endswith("30 answers, 1 failed, 2 degraded.")
    assert lines[1].startswith("Most of the time of questions: embed, 90%: 9.00 s in 30 calls")
    assert re.search(r"embed +█+ +90% .* 30 +2  slower, p50 \+\d,\d+ %", lines[4])
    assert re.search(r"chat \(rest\) +█+. +10% .* 30 +–  nothing before", lines[5])
    assert any("correlation abc · trace ffff" in line for line in lines)


def test_names_can_neither_steer_a_terminal_nor_become_markup() -> None:
    report = report_of(stage=EVIL, tenant=EVIL)
    assert "\x1b" not in text_of(report)
    page = html_of(report)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page


def test_the_page_follows_the_readers_colours_and_prints() -> None:
    page = html_of(report_of())
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert 'style="width:90.00%"' in page


def test_an_empty_report_is_said() -> None:
    empty = make_report(Window(1, 60, "acme"), {}, {}, {}, [])
    assert text_of(empty).endswith("tenant acme: no requests.")
    assert html_of(empty).count("<table>") == 0


@given(st.floats(0, 1), st.integers(1, 40))
def test_a_bar_is_as_long_as_its_share_and_never_hides_something(share: float, whole: int) -> None:
    drawn = bar(share, whole)
    assert len(drawn) <= whole
    assert bool(drawn) == bool(share)
    assert abs(len(drawn) - share * whole) <= 1


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_tables_fit_the_terminal(width: int) -> None:
    lines = text_of(report_of(), width).splitlines()
    table = [line for line in lines if line.startswith(("Questions", "embed", "chat"))]
    assert len(table) == 3
    assert max(map(len, table)) <= width


@pytest.mark.parametrize(("milliseconds", "text"), [(0.0042, "0.0042 ms"), (3.21, "3.2 ms"), (412.3, "412 ms"), (1204, "1.20 s"), (65_000, "65.0 s")])
def test_durations_are_said_in_few_figures(milliseconds: float, text: str) -> None:
    assert ms(milliseconds) == text


def test_changes_are_said_in_words() -> None:
    assert change(Change("slower", "p95", 35.0, 50)) == "slower, p95 +35 %"
    assert change(Change("too few", calls_before=3)) == "too few"


def test_a_time_of_another_day_has_its_day() -> None:
    assert re.fullmatch(r"2001-0\d-\d\d \d\d:\d\d", clock("2001-02-03T04:05:06Z"))


def test_budgets_are_those_of_retrieval_and_of_the_agent() -> None:
    assert stage_budgets(Settings()) == {"chat": 2.0, "tool": 30}
    set_ones = Settings.model_validate({"retrieval": {"budget_s": 1.0, "search_budget_s": 0.4}, "agent": {"max_seconds": 5}, "rerank": RERANK})
    assert stage_budgets(set_ones) == {"chat": 5, "retrieve": 1.0, "embed": 0.5, "search": 0.4, "rerank": 2.0, "tool": 30}
