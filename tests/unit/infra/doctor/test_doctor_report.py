"""What a report says of its hops, and as JSON and INI. Pure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.cli.doctor_view import hint_lines, lines, show, summary
from src.infra.configuring.files import parse_file
from src.infra.doctor.report import Finding, Fix, HopReport, Report, StepReport, as_json


def failed(step: str, *fixes: Fix, hint: str = "Do it.") -> StepReport:
    return StepReport(step, "failed", Finding("It is broken.", "network.proxy", "file a.ini:3", hint, "unreachable", "https://h", fixes))


def warned(step: str, *fixes: Fix) -> StepReport:
    return StepReport(step, "warning", Finding("Fine."), (Finding("It ends soon.", "chat.api_base", "default", "Renew it.", fixes=fixes),))


def hop(*steps: StepReport, name: str = "chat") -> HopReport:
    return HopReport(name, "https://h", steps, "one token")


def test_a_hop_is_as_bad_as_its_worst_step_and_speaks_of_that_one() -> None:
    found = hop(StepReport("name", "ok", Finding("a")), warned("tls"), failed("service"), StepReport("more", "not reached"))
    assert (found.status, found.step, found.setting, found.source, found.message, found.hint, found.code) == (
        "failed",
        "service",
        "network.proxy",
        "file a.ini:3",
        "It is broken.",
        "Do it.",
        "unreachable",
    )


def test_a_warning_speaks_where_nothing_failed_and_does_not_spoil_the_report() -> None:
    found = hop(StepReport("name", "ok"), warned("tls"), StepReport("service", "ok", Finding("Good.")))
    assert (found.status, found.step, found.message) == ("warning", "tls", "It ends soon.")
    assert Report((found,)).ok


def test_a_good_hop_speaks_of_its_last_step() -> None:
    found = hop(StepReport("name", "ok", Finding("a")), StepReport("service", "ok", Finding("Good.")))
    assert (found.status, found.step, found.message, found.setting) == ("ok", "service", "Good.", "")


def test_a_hop_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Report(()).hop("chat")


def test_json_is_plain_data_with_every_step() -> None:
    report = Report((hop(StepReport("name", "ok", Finding("a"), took_ms=1.6), failed("tcp", Fix("network.proxy", "http://p:1"))),), 12.3)
    found = json.loads(json.dumps(as_json(report)))
    assert (found["ok"], found["took_ms"]) == (False, 12)
    (one,) = found["hops"]
    assert {key: one[key] for key in ("hop", "address", "status", "step", "setting", "source", "message", "hint", "code")} == {
        "hop": "chat",
        "address": "https://h",
        "status": "failed",
        "step": "tcp",
        "setting": "network.proxy",
        "source": "file a.ini:3",
        "message": "It is broken.",
        "hint": "Do it.",
        "code": "unreachable",
    }
    assert one["steps"][0] == {"step": "name", "status": "ok", "message": "a", "took_ms": 2}
    assert one["steps"][1]["fixes"] == [{"key": "network.proxy", "value": "http://p:1", "ready": True, "note": ""}]


def test_lines_show_steps_and_below_a_failed_one_setting_source_and_fix() -> None:
    text = "\n".join(lines(Report((hop(StepReport("name", "ok", Finding("a")), failed("tcp"), StepReport("tls", "not reached")),))))
    for part in ("chat  https://h  FAILED", "setting: network.proxy (file a.ini:3)", "fix: Do it.", "not reached"):
        assert part in text


def test_what_could_steer_a_terminal_is_spelled_out() -> None:
    text = "\n".join(lines(Report((hop(StepReport("name", "ok", Finding("a\x1b[2Jb"))),))))
    assert "\x1b" not in text


def test_the_summary_tells_what_the_asking_cost_only_where_it_was_asked() -> None:
    assert "one token" in summary(Report((hop(StepReport("service", "ok")),)))
    assert "one token" not in summary(Report((hop(failed("tcp"), StepReport("service", "not reached")),)))


def test_hints_are_one_section_each_every_key_once_and_unfinished_lines_commented() -> None:
    report = Report(
        (
            hop(failed("tls", Fix("network.ca_bundle", "/ca.pem", ready=False, note="Who signed."))),
            hop(failed("tls", Fix("network.ca_bundle", "/ca.pem", ready=False, note="Who signed."), Fix("network.no_proxy", "h")), name="embed"),
            hop(failed("service", Fix("embed.dims", "8")), name="embed-2"),
        )
    )
    text = hint_lines(report)
    assert text.splitlines() == [
        "[network]",
        "# chat, tls: Who signed.",
        "# ca_bundle = /ca.pem",
        "# embed, tls: It is broken.",
        "no_proxy = h",
        "",
        "[embed]",
        "# embed-2, service: It is broken.",
        "dims = 8",
    ]


def test_failures_that_no_line_mends_are_said_as_comments() -> None:
    assert hint_lines(Report((hop(failed("tcp")),))) == "# chat, tcp: It is broken. Do it."
    assert hint_lines(Report((hop(StepReport("name", "ok")),))).startswith("#")


VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="$#;%\"'"), min_size=1, max_size=40)


@given(st.dictionaries(st.sampled_from(["network.no_proxy", "chat.api_base", "search.host", "embed.model"]), VALUES, min_size=1), st.text(max_size=60))
def test_what_is_printed_reads_back_as_what_was_meant(tmp_path_factory: pytest.TempPathFactory, values: dict[str, str], note: str) -> None:
    fixes = tuple(Fix(key, value, note=note) for key, value in values.items())
    path: Path = tmp_path_factory.mktemp("hints") / "hints.ini"
    path.write_text(hint_lines(Report((hop(failed("tls", *fixes)),))), encoding="utf-8", errors="replace")
    parsed = parse_file(path)
    assert parsed.problems == []
    assert {f"{entry.section}.{entry.key}": entry.value for entry in parsed.entries} == values


def test_the_summary_names_no_cost_where_nothing_was_asked() -> None:
    stopped = Report((hop(failed("settings")), hop(StepReport("tcp", "ok"), failed("service"))))
    assert "asked for" not in summary(stopped)
    late = StepReport("service", "failed", Finding("Late.", code="deadline"))
    for last in (StepReport("service", "ok"), late):
        assert "asked for one token" in summary(Report((hop(StepReport("tcp", "ok"), last),)))


def test_the_summary_names_the_one_setting_that_stops_several_hops() -> None:
    assert "failed: chat, embed, all by network.proxy" in summary(Report((hop(failed("settings")), hop(failed("tcp"), name="embed"))))
    assert "all by" not in summary(Report((hop(failed("settings")),)))


@pytest.mark.parametrize(("columns", "table"), [("40", False), ("79", False), ("120", True)])
def test_a_narrow_terminal_gets_lines(columns: str, table: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show(Report((hop(failed("tcp")),)))
    said = capsys.readouterr().out
    assert ("│" in said) == table
    assert "It is broken." in said
