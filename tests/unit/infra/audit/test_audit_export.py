"""Exports: each format reads back, nothing in a CSV runs, and OCSF events have what their classes require."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.errors import InputError
from src.infra.audit.chain import Head, opened, parse_keys, sealed
from src.infra.audit.exporting import COLUMNS, Format, cell, exported, wanted
from src.infra.audit.ocsf import to_ocsf

KEYS = parse_keys("k1:" + "QUFB" * 10 + "QUE=")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def record(**more: Any) -> dict[str, Any]:
    body = {"action": "search", "outcome": "allowed", "time": "2026-11-21T09:30:00.123Z", "user": "ann", "tenant": "acme", "documents": ["d1"]}
    line, _ = sealed({**body, **more}, Head(chain="c"), KEYS)
    found = opened(line[:-1])
    assert found is not None
    return found


def text(form: Format, *records: dict[str, Any]) -> str:
    return "".join(exported(enumerate(records, start=1), form, "1.0"))


def test_json_and_ndjson_hold_the_records_with_their_rows() -> None:
    one, two = record(), record(user="bob")
    assert json.loads(text("json", one, two)) == [{"row": 1, **one}, {"row": 2, **two}]
    assert [json.loads(line) for line in text("ndjson", one, two).splitlines()] == [{"row": 1, **one}, {"row": 2, **two}]
    assert json.loads(text("json")) == []
    assert text("ndjson") == ""


DANGEROUS = st.sampled_from(["=1+1", "+cmd", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", 'a"b,c\nd', "\ud800", "\x00=1", "plain"])


@settings(max_examples=50)
@given(DANGEROUS | st.text(), DANGEROUS | st.text())
def test_no_cell_of_a_csv_is_a_formula_and_every_row_reads_back(user: str, thread: str) -> None:
    rows = list(csv.reader(io.StringIO(text("csv", record(user=user, object=thread), record()), newline="")))
    assert rows[0] == list(COLUMNS)
    assert [len(row) for row in rows] == [len(COLUMNS)] * 3
    for row in rows:
        assert not [value for value in row if value.strip(" ")[:1] in {"=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"}]


@given(st.text(alphabet=st.characters(codec="ascii", categories=("L", "N")), min_size=1))
def test_what_is_no_formula_stays_as_it_is(name: str) -> None:
    assert cell(name) == name


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("2026-11-21", "2026-11-21T00:00:00.000Z"),
        ("2026-11-21T10:00:00+02:00", "2026-11-21T08:00:00.000Z"),
        ("90m", "2026-11-21T10:30:00.000Z"),
        ("7d", "2026-11-14T12:00:00.000Z"),
    ],
)
def test_since_is_a_time_or_how_long_ago(since: str, expected: str) -> None:
    assert wanted(KEYS, since=since, now=NOW).since == expected


@pytest.mark.parametrize("since", ["yesterday", "7", "-1d", "999999w", "2026-13-01", "=1"])
def test_what_is_no_time_is_an_error_of_the_caller(since: str) -> None:
    with pytest.raises(InputError, match="is no time"):
        wanted(KEYS, since=since, now=NOW)


def test_filters_by_time_user_and_action_and_finds_pseudonyms() -> None:
    assert record() in wanted(KEYS, since="2026-11-21T09:30:00.123Z", user="ann", actions=["search"])
    assert record() not in wanted(KEYS, since="2026-11-21T09:30:00.124Z")
    assert record() not in wanted(KEYS, user="bob")
    assert record(user=KEYS.pseudonym("user", "ann")) in wanted(KEYS, user="ann")


REQUIRED = {
    6003: {"actor", "api", "src_endpoint"},
    6005: {"actor", "database", "src_endpoint"},
    3002: {"user", "service"},
}
"""Of OCSF 1.8.0, beside what every class requires; 6005 and 3002 want one of several, of which these are ours."""
BASE = {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}
ACTIONS = ["chat", "search", "document.delete", "index.switch", "user.erase", "audit.export", "signin", "audit.gap", "feedback.export", "something.new"]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("outcome", ["begun", "allowed", "refused", "failed"])
def test_an_ocsf_event_has_what_its_class_requires(action: str, outcome: str) -> None:
    event = to_ocsf(record(action=action, outcome=outcome, facts={"client": "10.1.2.3"}), "1.0")
    assert event.keys() >= BASE | REQUIRED[event["class_uid"]]
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert event["category_uid"] == event["class_uid"] // 1000
    assert event["time"] == 1795253400123
    assert event["metadata"]["version"] == "1.8.0"
    assert {"name", "vendor_name"} <= event["metadata"]["product"].keys()
    assert (event["status_id"], event["src_endpoint"]) == ({"begun": 99, "allowed": 1}.get(outcome, 2), {"ip": "10.1.2.3"})


def test_an_event_of_nobody_still_has_an_actor_and_a_source() -> None:
    event = to_ocsf(record(action="audit.gap", user="", documents=[]), "1.0")
    assert (event["actor"], event["src_endpoint"]) == ({"app_name": "founders-rag"}, {"svc_name": "founders-rag"})
    assert "resources" not in event
