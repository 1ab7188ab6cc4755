"""`rag ask`, `rag chat` and `rag threads` over a data folder of their own."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from src.cli.ask import print_sources
from src.cli.main import main
from src.cli.search import as_text
from src.core.chat import Answer, Citation
from src.core.search import Hit
from tests.integration.agent_parts import agent_over

LEAVE = "How many days of annual leave do employees get?"


@pytest.fixture
def rag(tmp_path: Path, model_cache: Path) -> Any:
    """Runs `rag` on ingested documents, in the thread that a command line has to itself."""

    async def ingest() -> None:
        async with agent_over(tmp_path / "data", model_cache):
            pass

    asyncio.run(ingest())
    config = tmp_path / "config.ini"
    config.write_text(f"[storage]\npath = {tmp_path / 'data'}\n[cache]\npath = {model_cache}\n", encoding="utf-8")

    def run(*arguments: str, said: str | bytes | None = None) -> Result:
        return CliRunner().invoke(main, [*arguments, "--config", str(config)], input=said)

    return run


def thread_of(rag: Any, question: str = LEAVE) -> str:
    return str(json.loads(rag("ask", question, "--json").stdout)["thread_id"])


def test_ask_prints_the_answer_and_its_numbered_sources(rag: Any) -> None:
    done = rag("ask", *LEAVE.split())
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("Employees receive 25 days of paid annual leave each calendar year [1].")
    assert "[1] Annual leave" in done.stdout
    assert "leave.md" in done.stdout
    assert "“Employees receive 25 days of paid annual leave each calendar year.”" in done.stdout


def test_ask_json_is_the_answer_of_the_api(rag: Any) -> None:
    body = json.loads(rag("ask", LEAVE, "--json").stdout)
    assert set(body) == {"thread_id", "message_id", "answer", "citations", "refused", "clarifying", "degraded", "usage", "timings_ms"}
    assert {"n", "chunk_id", "document_id", "title", "source", "quote", "score"} <= set(body["citations"][0])
    assert (body["refused"], body["degraded"], body["citations"][0]["n"]) == (False, [], 1)


def test_a_refusal_is_no_failure(rag: Any) -> None:
    plain, machine = rag("ask", "Who won the football world cup in 1998?"), rag("ask", "Who won the football world cup in 1998?", "--json")
    assert (plain.exit_code, machine.exit_code) == (0, 0)
    assert "could not find" in plain.stdout
    assert json.loads(machine.stdout)["refused"] is True


def test_a_follow_up_names_its_thread(rag: Any) -> None:
    body = json.loads(rag("ask", "How many of them can be carried over?", "--thread", thread_of(rag), "--json").stdout)
    assert "carried over" in body["answer"]


def test_filters_narrow_what_is_asked(rag: Any) -> None:
    body = json.loads(rag("ask", LEAVE, "--filter", "title=Power cuts", "--json").stdout)
    assert {citation["title"] for citation in body["citations"]} <= {"Power cuts"}


@pytest.mark.parametrize(
    "arguments", [["ask", LEAVE, "--thread", "nope"], ["threads", "show", "nope"], ["threads", "delete", "nope"], ["ask", LEAVE, "--filter", "=x"]]
)
def test_what_fails_exits_with_1_and_says_why(rag: Any, arguments: list[str]) -> None:
    done = rag(*arguments)
    assert done.exit_code == 1
    assert "error:" in done.stderr


def test_chat_reads_questions_from_a_pipe_and_follows_up(rag: Any) -> None:
    done = rag("chat", said=f"{LEAVE}\nHow many of them can be carried over?\n/threads\n/quit\nnever asked\n")
    assert done.exit_code == 0, done.stderr
    assert "25 days" in done.stdout
    assert "carried over until 31 March" in done.stdout
    assert f"  2  {LEAVE}" in done.stdout
    assert "never asked" not in done.stdout


def test_chat_as_json_is_one_line_an_answer_and_new_begins_a_thread(rag: Any) -> None:
    done = rag("chat", "--json", said=f"{LEAVE}\n\nWho approves it?\n/new\n{LEAVE}")
    bodies = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(bodies) == 3
    assert bodies[0]["thread_id"] == bodies[1]["thread_id"] != bodies[2]["thread_id"]


def test_chat_goes_on_after_an_error(rag: Any) -> None:
    done = rag("chat", said=f"{'x' * 20_000}\n{LEAVE}\n")
    assert done.exit_code == 1
    assert "error:" in done.stderr
    assert "25 days" in done.stdout


def test_chat_as_json_reports_each_failed_turn_as_json_and_exits_with_1(rag: Any) -> None:
    done = rag("chat", "--json", "--thread", "nosuch", said=f"{LEAVE}\n/new\n{LEAVE}\n")
    assert done.exit_code == 1
    assert json.loads(done.stderr)["error"]["code"] == "not-found"
    assert "25 days" in json.loads(done.stdout)["answer"]


def test_chat_refuses_a_line_that_is_not_utf8_and_goes_on(rag: Any) -> None:
    done = rag("chat", said=b"combien co\xfbte\n" + LEAVE.encode() + b"\n")
    assert done.exit_code == 1
    assert "error: The question is not UTF-8 text." in done.stderr
    assert "25 days" in done.stdout


@pytest.mark.parametrize(("arguments", "said"), [(["ask", LEAVE], None), (["chat"], LEAVE)])
def test_on_an_empty_index_ask_and_chat_say_what_to_do(tmp_path: Path, model_cache: Path, arguments: list[str], said: str | None) -> None:
    (tmp_path / "config.ini").write_text(f"[storage]\npath = {tmp_path / 'data'}\n[cache]\npath = {model_cache}\n", encoding="utf-8")
    done = CliRunner().invoke(main, [*arguments, "--config", str(tmp_path / "config.ini")], input=said)
    assert done.exit_code == 0
    assert "rag ingest" in done.stderr


STEERING = "x\x1b]0;owned\x07\x9b2J\nforged line"


def test_what_a_file_is_called_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hit = Hit("d:0", "d", STEERING, f"text {STEERING}", STEERING, 1.0, {}, None, STEERING)
    citation = Citation(1, "d:0", "d", f"title {STEERING}", STEERING, STEERING, 1.0, None, STEERING)
    print_sources(Answer("t", "m", "", (citation,)))
    shown = capsys.readouterr().out + as_text(1, hit).replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert "x\\x1b]0;owned" in shown
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|^forged", shown, re.MULTILINE)


def test_threads_are_listed_shown_and_deleted_by_their_owner_alone(rag: Any) -> None:
    thread = thread_of(rag)
    assert [found["thread_id"] for found in json.loads(rag("threads", "list", "--json").stdout)["threads"]] == [thread]
    assert json.loads(rag("threads", "list", "--json", "--user", "eve").stdout)["threads"] == []
    assert rag("threads", "delete", thread, "--user", "eve").exit_code == 1
    assert f"> {LEAVE}" in rag("threads", "show", thread).stdout
    assert json.loads(rag("threads", "show", thread, "--json").stdout)["turns"][0]["question"] == LEAVE
    assert rag("threads", "delete", thread).exit_code == 0
    assert rag("threads", "show", thread).exit_code == 1


def test_threads_are_renamed_forked_and_exported(rag: Any) -> None:
    thread = thread_of(rag)
    assert json.loads(rag("threads", "rename", thread, "Days off", "--json").stdout)["title"] == "Days off"
    assert "Days off" in rag("threads", "list", "--title", "OFF days").stdout
    assert "Days off" not in rag("threads", "list", "--title", "on").stdout
    fork = json.loads(rag("threads", "fork", thread, "--json").stdout)
    assert (fork["turns"], fork["title"]) == (1, "Days off")
    assert fork["thread_id"] != thread
    exported = json.loads(rag("threads", "export", fork["thread_id"]).stdout)
    assert exported["history"][0]["question"] == LEAVE
    assert exported["history"][0]["citations"][0]["n"] == 1
    for arguments in (["rename", thread, "x"], ["fork", thread], ["export", thread]):
        assert rag("threads", *arguments, "--user", "eve").exit_code == 1
    assert rag("threads", "fork", thread, "--until", "no-such-turn").exit_code == 1


def test_retention_and_erasing_say_what_they_did(rag: Any) -> None:
    for _ in range(2):
        thread_of(rag)
    planned = json.loads(rag("threads", "retain", "--keep", "1", "--dry-run", "--json").stdout)
    assert (planned["deleted"], planned["pruned"], planned["dry_run"]) == (1, 1, True)
    assert len(json.loads(rag("threads", "list", "--json").stdout)["threads"]) == 2
    said = rag("threads", "retain", "--keep", "1").stdout
    assert "1 conversation deleted, 1 pruned" in said
    assert "bytes before" in said
    assert rag("threads", "erase", "--user", "local", "--tenant", "default", said="n\n").exit_code == 1
    erased = json.loads(rag("threads", "erase", "--user", "local", "--tenant", "default", "--yes", "--json").stdout)
    assert erased["threads"] == 1
    assert json.loads(rag("threads", "list", "--json").stdout)["threads"] == []
