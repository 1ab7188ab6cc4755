"""The audit trail of a server as it is run: who asked, what they were shown, what was refused; and `rag audit` over it."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import rag

QUESTION = "Where is the Vexillomatic reserve kept?"
TEXT = b"# Reserves\n\nThe Vexillomatic reserve of 417 crates is kept in hall nine. Each morning it is counted."
SECRET = base64.b64encode(b"s" * 32).decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> Path:
    """A folder after a server with an audit trail has served ann, who may, and bob, who may not."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "anchors").mkdir()
    (folder / "tokens.json").write_text("{}")
    more = f"[audit]\nenabled = true\nkeys = k1:{SECRET}\nanchor = {folder / 'anchors' / 'heads'}\nanchor_log_s = 0.001\n"
    with serve(folder, {"auth": "tokens", "tokens_file": folder / "tokens.json", "host": "127.0.0.1"}, more) as server:
        tokens = {}
        for user in ("ann", "bob"):
            done = rag("token", "create", "--user", user, "--config", folder / "config.ini", cwd=folder)
            assert done.returncode == 0, done.stderr
            tokens[user] = done.stdout.strip()
        with (
            server.client(headers={"Authorization": f"Bearer {tokens['ann']}"}) as ann,
            server.client(headers={"Authorization": f"Bearer {tokens['bob']}"}) as bob,
            server.client(headers={"Authorization": "Bearer wrong"}) as nobody,
        ):
            document = ann.post("/v1/documents", files={"files": ("=reserve.md", TEXT)}).json()["documents"][0]["document_id"]
            answer = ann.post("/v1/chat", json={"message": QUESTION}).json()
            assert answer["citations"]
            assert bob.get(f"/v1/documents/{document.replace('/', '%2F')}").status_code == 404
            assert bob.get(f"/v1/threads/{answer['thread_id']}").status_code == 404
            assert nobody.post("/v1/search", json={"query": QUESTION}).status_code == 401
            assert ann.delete(f"/v1/threads/{answer['thread_id']}").status_code == 204
            assert ann.delete(f"/v1/documents/{document.replace('/', '%2F')}").status_code == 200
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "data" / "audit" / "audit.jsonl").read_text().splitlines()]


def audit(folder: Path, *arguments: str) -> Any:
    return rag("audit", *arguments, "--config", folder / "config.ini", cwd=folder)


def test_who_asked_and_what_they_were_shown_changed_or_refused_is_in_order(folder: Path) -> None:
    found = [(one["action"], one["outcome"], one.get("user", "")) for one in records(folder)]
    assert found == [
        ("config.loaded", "allowed", ""),
        ("token.create", "allowed", ""),
        ("token.create", "allowed", ""),
        ("document.write", "begun", "ann"),
        ("document.write", "allowed", "ann"),
        ("search", "allowed", "ann"),
        ("chat", "allowed", "ann"),
        ("document.read", "refused", "bob"),
        ("thread.open", "refused", "bob"),
        ("signin", "refused", ""),
        ("thread.delete", "begun", "ann"),
        ("thread.delete", "allowed", "ann"),
        ("document.delete", "begun", "ann"),
        ("document.delete", "allowed", "ann"),
    ]
    search, chat = records(folder)[5:7]
    assert search["documents"] == chat["documents"] == ["ann/=reserve.md"]
    assert search["turn"]
    assert search["correlation_id"] == chat["correlation_id"]
    assert chat["facts"]["answered"] is True


def test_no_word_of_question_document_or_key_is_in_it(folder: Path) -> None:
    raw = (folder / "data" / "audit" / "audit.jsonl").read_text() + (folder / "server.log").read_text()
    for word in ("Vexillomatic", "hall nine", "417 crates", SECRET, "Bearer", "rag_"):
        assert word not in raw


def test_verify_finds_it_intact_and_the_log_alone_is_anchor_enough(folder: Path) -> None:
    done = audit(folder, "verify", "--json", "--anchors", str(folder / "server.log"))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["intact"], said["unanchored"], said["findings"]) == (True, 0, [])
    assert said["anchors"] > said["records"] / 2


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        pytest.param(lambda rows: [*rows[:5], rows[5].replace(b'"ann"', b'"eve"'), *rows[6:]], "changed", marks=pytest.mark.long),
        pytest.param(lambda rows: [*rows[:5], *rows[6:]], "deleted", marks=pytest.mark.long),
        (lambda rows: rows[:-3], "cut"),
    ],
)
def test_verify_names_the_row_that_was_tampered_with(folder: Path, tmp_path: Path, harm: Callable[[list[bytes]], list[bytes]], kind: str) -> None:
    rows = (folder / "data" / "audit" / "audit.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "copy").write_bytes(b"".join(harm(rows)))
    done = audit(folder, "verify", "--file", str(tmp_path / "copy"), "--anchors", str(folder / "anchors" / "heads"))
    assert done.returncode == 1
    row = len(rows) - 2 if kind == "cut" else 6
    assert f"row {row}" in done.stdout
    assert kind in done.stdout
    assert "[audit] anchor are not used for a copy" in done.stderr


@pytest.mark.long
def test_exports_hold_what_was_asked_for_in_each_format(folder: Path) -> None:
    copy = str(folder / "data" / "audit" / "audit.jsonl")
    rows = list(csv.DictReader(io.StringIO(audit(folder, "export", "--format", "csv", "--file", copy).stdout)))
    assert len(rows) == len(records(folder))
    assert not [value for row in rows for value in row.values() if value.startswith(("=", "+", "-", "@"))]
    bobs = json.loads(audit(folder, "export", "--json", "--user", "bob", "--since", "1h", "--file", copy).stdout)
    assert [one["action"] for one in bobs] == ["document.read", "thread.open"]
    events = [json.loads(line) for line in audit(folder, "export", "--format", "ocsf", "--file", copy).stdout.splitlines()]
    assert [(one["class_uid"], one["type_uid"]) for one in events][5:10] == [(6003, 600302)] * 3 + [(6003, 600399), (3002, 300201)]
    assert events[5]["resources"] == [{"uid": "ann/=reserve.md", "type": "document"}]


def test_an_export_is_recorded_itself(folder: Path) -> None:
    before = len(records(folder))
    done = audit(folder, "export", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == len(records(folder)) == before + 1
    assert rows[-1]["action"] == "audit.export"
    assert not [value for row in rows for value in row.values() if value.startswith(("=", "+", "-", "@"))]


def test_a_lost_anchor_and_heads_of_other_chains_are_noted(folder: Path, tmp_path: Path) -> None:
    heads = [line for line in (folder / "anchors" / "heads").read_text().splitlines() if line]
    (tmp_path / "copy").write_bytes((folder / "data" / "audit" / "audit.jsonl").read_bytes())
    first = json.loads(heads[3])["n"]
    (tmp_path / "collected").write_text("\n".join([*heads[3:], json.dumps({"chain": "dead", "mac": "0" * 64, "n": 9_000})]))
    for command in ("verify", "export"):
        done = audit(folder, command, "--file", str(tmp_path / "copy"), "--anchors", str(tmp_path / "collected"))
        assert done.returncode == 0, done.stderr
        assert f"anchored from record {first} on; records 1-{first - 1} are not" in done.stderr
        assert "1 heads are of other chains" in done.stderr
