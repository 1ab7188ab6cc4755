"""`rag ingest` as people and scripts call it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RAG = str(Path(sys.executable).parent / "rag")
HEEDING_CTRL_C = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
"""A shell without a terminal starts what runs in its background with SIGINT ignored, and children inherit that."""


@pytest.fixture
def place(tmp_path: Path, model_cache: Path) -> Path:
    """A working folder with a configuration and three sound documents, one empty one and a picture."""
    (tmp_path / "config.ini").write_text(f"[cache]\npath = {model_cache}\n[embed]\ncache_entries = 0\n")
    docs = tmp_path / "docs"
    docs.mkdir()
    for n in range(3):
        (docs / f"note-{n}.md").write_text(f"# Note {n}\n\nValve {n} is opened by the shift leader only.\n")
    (docs / "empty.txt").touch()
    (docs / "photo.png").write_bytes(b"\x89PNG")
    return tmp_path


def rag(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RAG, *arguments], cwd=place, capture_output=True, text=True, check=False, timeout=120)


def report_of(place: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = rag(place, "ingest", "--json", *arguments)
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def test_json_reports_counts_and_reasons_and_the_exit_code_tells_of_failures(place: Path) -> None:
    code, report = report_of(place, "docs")
    assert code == 1
    counts = {"added", "updated", "unchanged", "unsupported", "access_widened", "chunks"}
    assert set(report) == {*counts, "seconds", "chunks_per_s", "complete", "outcome", "failed", "warnings"}
    assert (report["added"], report["unsupported"], report["chunks"], report["complete"]) == (3, 1, 3, True)
    assert [(Path(problem["source"]).name, problem["reason"]) for problem in report["failed"]] == [("empty.txt", "empty")]
    (place / "docs" / "empty.txt").unlink()
    code, report = report_of(place, "docs")
    assert (code, report["added"], report["unchanged"], report["failed"]) == (0, 0, 3, [])


def test_without_a_terminal_each_document_is_a_plain_line_once_it_is_stored(place: Path) -> None:
    done = rag(place, "ingest", "docs", "nowhere.pdf")
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert [line for line in lines if line.startswith("stored ")] == [f"stored {place}/docs/note-{n}.md" for n in range(3)]
    assert [line.split(":")[1].strip() for line in lines if line.startswith("failed ")] == ["not-found", "empty"]
    assert "3 added, 0 updated, 0 unchanged, 2 failed" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_a_file_of_unknown_format_fails_when_it_is_named(place: Path) -> None:
    code, report = report_of(place, "docs/photo.png", "docs/note-1.md")
    assert (code, report["added"], report["failed"][0]["reason"]) == (1, 1, "unsupported")


def test_nothing_at_the_paths_is_an_error_before_anything_is_opened(place: Path) -> None:
    done = rag(place, "ingest", "nowhere", "--json")
    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["code"] == "bad-input"
    assert not (place / ".rag").exists()


@pytest.mark.parametrize("arguments", [[], ["docs", "--allow", "everyone"], ["docs", "--allow", "user:"], ["docs", "--tenant", " "], ["docs", "--nonsense"]])
def test_wrong_usage_exits_with_2(place: Path, arguments: list[str]) -> None:
    assert rag(place, "ingest", *arguments).returncode == 2


def test_tenant_and_allow_are_stored_and_another_access_list_replaces_them(place: Path) -> None:
    (place / "docs" / "empty.txt").unlink()
    assert report_of(place, "docs", "--tenant", "grid", "--allow", "group:hr", "--allow", "user:ann")[1]["added"] == 3
    assert report_of(place, "docs", "--tenant", "grid", "--allow", "user:ann", "--allow", "group:hr")[1]["unchanged"] == 3
    assert report_of(place, "docs", "--tenant", "grid")[1]["updated"] == 3
    assert report_of(place, "docs")[1]["added"] == 3


def test_rebuild_empties_the_index_first(place: Path) -> None:
    (place / "docs" / "empty.txt").unlink()
    report_of(place, "docs")
    (place / "docs" / "note-0.md").unlink()
    assert report_of(place, "docs", "--rebuild")[1]["added"] == 2
    assert report_of(place, "docs")[1]["unchanged"] == 2


OBSTACLES = [pytest.param("nothing there", marks=pytest.mark.long), pytest.param("only a picture", marks=pytest.mark.long), "only a broken file", "no model"]


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_rebuild_touches_nothing_before_it_is_known_that_the_index_can_be_filled(place: Path, obstacle: str) -> None:
    (place / "docs" / "empty.txt").unlink()
    report_of(place, "docs")
    other = place / "other"
    other.mkdir()
    more = []
    if obstacle == "only a picture":
        (other / "photo.png").write_bytes(b"\x89PNG")
    elif obstacle == "only a broken file":
        (other / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    elif obstacle == "no model":
        (other / "note.md").write_text("# Note\n\nText.\n")
        config = "[embed]\nprovider = openai\nmodel = m\ndims = 384\napi_base = http://127.0.0.1:9/v1\napi_key = k\n"
        (place / "remote.ini").write_text(config)
        more = ["--config", "config.ini", "--config", "remote.ini"]
    done = rag(place, "ingest", "--json", "--rebuild", "other", *more)
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert done.returncode == 1
    assert (error["code"] == "bad-input") == (obstacle != "no model"), error
    assert report_of(place, "docs")[1]["unchanged"] == 3


def test_a_run_that_opens_documents_to_more_people_says_so(place: Path) -> None:
    (place / "docs" / "empty.txt").unlink()
    assert report_of(place, "docs", "--allow", "user:hr")[1]["access_widened"] == 0
    assert report_of(place, "docs", "--allow", "user:hr", "--allow", "user:ann")[1]["access_widened"] == 3
    narrowed = report_of(place, "docs", "--allow", "user:ann")[1]
    assert (narrowed["updated"], narrowed["access_widened"]) == (3, 0)
    assert "access widened: 3 documents" in rag(place, "ingest", "docs").stdout
    assert "access widened" not in rag(place, "ingest", "docs", "--allow", "group:hr").stdout


def read_all(descriptor: int) -> str:
    pieces = []
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # Linux ends a pseudo-terminal so
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces).decode()


def test_on_a_terminal_there_is_a_bar_with_rate_and_failures_stay_readable(place: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    process = subprocess.Popen([RAG, "ingest", "docs"], cwd=place, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment)
    os.close(theirs)
    shown = read_all(ours)
    os.close(ours)
    summary, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "chunks/s" in shown
    assert "%" in shown
    assert "empty.txt" in shown
    assert "stored " not in shown
    assert "3 added" in summary


@pytest.mark.parametrize("told", [pytest.param(signal.SIGINT, id="ctrl-c", marks=pytest.mark.long), pytest.param(signal.SIGTERM, id="sigterm")])
def test_ctrl_c_and_sigterm_end_cleanly_with_what_is_acknowledged(place: Path, told: signal.Signals) -> None:
    for n in range(80):
        body = " ".join(f"Step {k} of note {n} names the valve and the pump that it needs." for k in range(30))
        (place / "docs" / f"long-{n:03}.md").write_text(body)
    command = [sys.executable, "-c", HEEDING_CTRL_C, RAG, "ingest", "docs", "--json"]
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("stored "):
            process.send_signal(told)
            break
    output, rest = process.communicate(timeout=60)
    report = json.loads(output)
    stored = [line for line in [*lines, *rest.splitlines()] if line.startswith("stored ")]
    assert process.returncode == 130
    assert (report["complete"], report["outcome"]) == (False, "stopped")
    assert report["added"] == len(stored) < 83
    assert "Traceback" not in rest
    _, again = report_of(place, "docs")
    assert again["unchanged"] == len(stored)
    assert again["added"] == 83 - len(stored)


def test_help_says_what_is_not_done(place: Path) -> None:
    text = " ".join(rag(place, "ingest", "--help").stdout.split())
    assert "Documents whose file is gone stay in the index." in text
