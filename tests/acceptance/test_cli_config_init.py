"""`rag config init`: asked on a terminal, told by options, and interrupted."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from src.cli.main import main

RAG = str(Path(sys.executable).parent / "rag")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RAG_") or name == "CLOUD_PROFILE"]:
        monkeypatch.delenv(name)


def init(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(main, ["config", "init", *arguments], prog_name="rag", input=text)


def files() -> list[str]:
    return sorted(os.listdir())  # noqa: PTH208 - names, those of hidden files too


def test_by_questions_alone_it_writes_what_was_answered_and_that_validates() -> None:
    answers = [
        "opensearch",
        "",
        "https://search.example",
        "",
        "maybe",
        "no",
        "u",
        "http://p:canary@proxy:1",
        "http://proxy.example:8080",
        "",
        "10.0.*",
        "",
        "/nope.pem",
        "ca.pem",
        "",
    ]
    trustme.CA().cert_pem.write_to_path("ca.pem")
    done = init(text="".join(f"{answer}\n" for answer in answers))
    assert done.exit_code == 0, done.output
    assert files() == ["ca.pem", "config.ini"]
    text = Path("config.ini").read_text()
    assert "\nhost = https://search.example\n" in text
    assert "\nusername = u\n" in text
    assert "\nproxy = http://proxy.example:8080\n" in text
    assert "\nca_bundle = ca.pem\n" in text
    assert "'/nope.pem' cannot be read" in done.output
    assert "'10.0.*' is no whole address" in done.output
    assert "# password = ${RAG_SEARCH__PASSWORD}" in text
    assert "canary" not in text
    assert "search.host: is needed." in done.output
    assert "RAG_SEARCH__PASSWORD, or search__password" in done.output
    assert "next: rag config explain, then rag doctor" in done.output
    assert CliRunner().invoke(main, ["config", "validate"]).exit_code == 0


@pytest.mark.parametrize("name", ["embedded", "azure", "bank", "local", "jpmc_azure"])
def test_without_a_terminal_a_name_is_enough(name: str) -> None:
    done = init("new.ini", "--profile", name, "--yes", "--json")
    body = json.loads(done.stdout)
    assert body["path"] == str(Path("new.ini").absolute())
    shown = json.loads(CliRunner().invoke(main, ["config", "show", "--json", "--config", "new.ini"]).stdout)
    assert shown["settings"]["environment"]["cloud_profile"] == {"azure": "azure", "bank": "jpmc_azure", "jpmc_azure": "jpmc_azure"}.get(name, "local")


def test_options_answer_questions_and_add_keys_that_nobody_asks_for() -> None:
    given = [
        "search host=https://search.example",
        "RAG_API__PORT=81",
        "intent:how-to.pattern=^how",
        "intent:how-to.mode=bm25",
        "azure.tenant_id=t = 1",
        "search.use_aws_auth=yes",
    ]
    done = init("--profile", "bank", "--yes", *(part for pair in given for part in ("--set", pair)))
    assert done.exit_code == 0, done.output
    loaded = json.loads(CliRunner().invoke(main, ["config", "show", "--changed", "--json"]).stdout)["settings"]
    assert (loaded["search"]["host"], loaded["search"]["use_aws_auth"], loaded["api"]["port"]) == ("https://search.example", True, 81)
    assert (loaded["azure"]["tenant_id"], loaded["intent:how-to"]["pattern"]) == ("t = 1", "^how")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "opensearch", "--yes"], "needs --set search.host=VALUE"),
        (["--profile", "nobody"], "nobody"),
        (["--yes", "--set", "search.password=canary"], "RAG_SEARCH__PASSWORD"),
        (["--yes", "--set", "serach.host=x"], "search.host"),
        (["--yes", "--set", "search=x"], "section.key=value"),
        (["--yes", "--set", "search.host"], "section.key=value"),
        (["--yes", "--set", "environment.cloud_profile=azure"], "--profile"),
        (["--yes", "--set", "api.port=many"], "whole number"),
        (["--yes", "--set", "search.host=https://s", "--set", "search.username=u", "--set", "search.use_aws_auth=yes"], "use_aws_auth"),
        (["--yes", "--set", "chat.api_base=${NO_SUCH_VARIABLE}"], "NO_SUCH_VARIABLE"),
        (["--yes", "--set", "intent:x.pattern=("], "pattern"),
        (["--yes", "--config", "x.ini"], "no --config"),
        (["new.yaml", "--yes"], "Only INI"),
        (["no/such/new.ini", "--yes"], "no folder"),
        ([], "the input ended"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(arguments: list[str], said: str) -> None:
    done = init(*arguments)
    assert done.exit_code == 2, done.output
    assert said.lower() in done.output.lower()
    assert "canary" not in done.output
    assert files() == []


def test_a_file_that_is_there_is_left_alone_unless_forced() -> None:
    Path("config.ini").write_text("mine")
    Path("config.ini").chmod(0o640)
    done = init("--yes")
    assert (done.exit_code, Path("config.ini").read_text()) == (2, "mine")
    assert "--force" in done.output
    assert init("--yes", "--force", "--set", "chat.api_base=${NO_SUCH_VARIABLE}").exit_code == 2
    assert Path("config.ini").read_text() == "mine"
    assert init("--yes", "--force").exit_code == 0
    assert "[storage]" in Path("config.ini").read_text()
    assert stat.S_IMODE(Path("config.ini").stat().st_mode) == 0o640


def test_what_is_no_file_is_never_overwritten() -> None:
    os.mkfifo("pipe.ini")
    assert init("pipe.ini", "--yes", "--force").exit_code == 2
    assert stat.S_ISFIFO(Path("pipe.ini").stat().st_mode)


def test_a_folder_gets_a_config_ini_and_links_are_followed_when_forced_only() -> None:
    Path("folder").mkdir()
    assert init("folder", "--yes").exit_code == 0
    assert Path("folder/config.ini").is_file()
    Path("link.ini").symlink_to("folder/config.ini")
    Path("nowhere.ini").symlink_to("gone.ini")
    assert init("link.ini", "--yes").exit_code == init("nowhere.ini", "--yes").exit_code == init("nowhere.ini", "--yes", "--force").exit_code == 2
    assert init("link.ini", "--yes", "--force", "--set", "api.port=81").exit_code == 0
    assert Path("link.ini").is_symlink()
    assert "port = 81" in Path("folder/config.ini").read_text()


@pytest.mark.parametrize(("typed", "reached"), [(b"", b"[embedded]"), (b"opensearch\n", b"search.host:"), (b"azure\n\n\ngpt-4o", b"chat.model")])
def test_ctrl_c_leaves_no_file(typed: bytes, reached: bytes, tmp_path: Path) -> None:
    outer, inner = pty.openpty()
    process = subprocess.Popen([RAG, "config", "init"], cwd=tmp_path, stdin=inner, stdout=inner, stderr=inner, start_new_session=True)
    os.close(inner)
    try:
        seen = _read(outer, b"[embedded]")
        os.write(outer, typed)
        seen += _read(outer, reached) if typed else b""
        for _ in range(60):  # readline misses a signal that comes between its prompt and its waiting
            os.killpg(process.pid, signal.SIGINT)
            try:
                assert process.wait(1) == 130
                break
            except subprocess.TimeoutExpired:
                continue
        seen += _read(outer, b"interrupted")
    finally:
        process.kill()
        process.wait()
        os.close(outer)
    assert b"Traceback" not in seen
    assert files() == []


def _read(terminal: int, mark: bytes) -> bytes:
    """What the terminal shows, until the mark does; a minute at most."""
    seen = b""
    while mark not in seen:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, seen
        seen += os.read(terminal, 4096)
    return seen
