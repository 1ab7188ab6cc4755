from __future__ import annotations

import asyncio
import json
import logging

import pytest

from src.telemetry import stages
from src.telemetry.log_formats import JsonFormatter, TextFormatter
from src.telemetry.logger import get_logger
from src.telemetry.stages import collect_timings, stage


def record_of(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    return caplog.records[-1]


def test_fields_given_as_keywords_become_keys_of_the_json_line(caplog: pytest.LogCaptureFixture) -> None:
    get_logger("src.x").warning("stored", document="a/b.pdf", chunks=3)
    entry = json.loads(JsonFormatter().format(record_of(caplog)))
    assert entry["message"] == "stored"
    assert (entry["document"], entry["chunks"], entry["level"], entry["logger"]) == ("a/b.pdf", 3, "WARNING", "src.x")


def test_text_lines_carry_fields_and_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        get_logger("src.x").exception("failed", path="p")
    line = TextFormatter().format(record_of(caplog))
    assert "failed  path=p" in line
    assert "ValueError: broken" in line


def test_stages_are_timed_in_milliseconds_and_repeats_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([10.0, 10.25, 20.0, 20.5, 30.0, 30.125])
    monkeypatch.setattr(stages.time, "perf_counter", lambda: next(seconds))
    with collect_timings() as timings:
        for name in ("embed", "search", "embed"):
            with stage(name, texts=1):
                pass
    assert timings == {"embed": 375.0, "search": 500.0}
    assert list(timings) == ["embed", "search"]


async def test_requests_side_by_side_keep_their_own_timings() -> None:
    async def request(name: str) -> dict[str, float]:
        with collect_timings() as timings:
            with stage(name):
                await asyncio.sleep(0)
            return timings

    first, second = await asyncio.gather(request("a"), request("b"))
    assert (list(first), list(second)) == (["a"], ["b"])


def test_a_stage_outside_a_request_costs_nothing_and_passes_errors_on() -> None:
    with pytest.raises(KeyError), stage("embed"):
        raise KeyError
