"""The `rag` command as an installed console command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RAG = str(Path(sys.executable).parent / "rag")


def rag(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RAG, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def foreign_repository(tmp_path: Path) -> Path:
    """Somebody else's checkout, with a package named `src` that fails when it is imported."""
    package = tmp_path / "src"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('the wrong src was imported')\n")
    (package / "cli").mkdir()
    (package / "cli" / "__init__.py").write_text("raise RuntimeError('the wrong src was imported')\n")
    return tmp_path


def test_help_lists_every_command_and_each_has_help_of_its_own(tmp_path: Path) -> None:
    done = rag("--help", cwd=tmp_path)
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.split("Commands:")[1].splitlines() if line.strip()]
    assert names
    for name in names:
        own = rag(name, "--help", cwd=tmp_path)
        assert own.returncode == 0, own.stderr
        assert "Usage: rag" in own.stdout


def test_rag_works_inside_a_repository_that_has_its_own_src_folder(foreign_repository: Path) -> None:
    done = rag("config", "validate", cwd=foreign_repository)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["src.cli", "src.cli.main"])
def test_run_as_a_module_it_is_the_same_command(module: str, tmp_path: Path) -> None:
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-m", module, "igest"], cwd=repository, capture_output=True, text=True, check=False, timeout=60)
    asked = rag("igest", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (asked.returncode, asked.stdout, asked.stderr)


def test_a_mistyped_command_names_the_nearest_and_is_a_usage_error(tmp_path: Path) -> None:
    done = rag("igest", cwd=tmp_path)
    assert done.returncode == 2
    assert "'ingest'" in done.stderr


def test_version_is_printed(tmp_path: Path) -> None:
    assert rag("--version", cwd=tmp_path).stdout.startswith("rag, version ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", b"\xff\xfe bad"],
        ["search", b"\xff"],
        ["ask", "x", "--user", b"\xff"],
        ["ask", "x", "--tenant", b"\xff"],
        ["chat", "--group", b"\xff"],
        ["ingest", "x", "--allow", b"user:\xff"],
        ["threads", "show", b"\xff"],
        ["search", "x", "--filter", b"title=\xff"],
    ],
)
def test_an_argument_that_is_not_utf8_is_one_line_that_names_it(tmp_path: Path, arguments: list[str | bytes]) -> None:
    done = subprocess.run([RAG, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "is not UTF-8 text" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_name_that_is_not_utf8_is_no_fault_of_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run([RAG, "config", "validate", "--config", b"\xff.ini"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "\\udcff.ini: cannot be read" in done.stdout


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_output_that_cannot_be_written_is_one_line_and_exit_1(tmp_path: Path, form: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([RAG, "config", "show", *form], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    if form:
        assert json.loads(done.stderr)["error"]["message"]


def test_a_reader_that_goes_away_is_met_with_silence(tmp_path: Path) -> None:
    process = subprocess.Popen([RAG, "config", "show"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(60) == 1


def test_a_folder_that_is_gone_is_an_error_that_says_so(tmp_path: Path) -> None:
    command = ["sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh", RAG, "search", "x", "--config", "some.ini"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "error: The current folder no longer exists. Change to another folder.\n")


def test_chat_without_standard_input_says_so(tmp_path: Path) -> None:
    done = subprocess.run(["sh", "-c", 'exec "$0" chat <&-', RAG], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Standard input is closed")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["search", "x", "--mode", "foo"], "foo"),
        (["search"], "QUERY"),
        (["igest"], "ingest"),
        (["threads", "shwo"], "shwo"),
        (["ask", "x", "--no-such"], "--no-such"),
    ],
)
def test_usage_errors_are_json_where_json_is_asked_for(tmp_path: Path, arguments: list[str], named: str) -> None:
    done = rag(*arguments, "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "usage"
    assert named in error["message"]
    assert not rag(*arguments, cwd=tmp_path).stderr.startswith("{")


def test_an_error_says_where_the_setting_responsible_stands(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text("[storage]\npath = data\n[search]\nhost = https://localhost:9\n")
    done = rag("search", "hello", cwd=tmp_path)
    assert done.returncode == 1
    assert f"(hop https://localhost:9, setting search.host from file {tmp_path}/config.ini:4)" in done.stderr
    told = json.loads(rag("search", "hello", "--json", cwd=tmp_path).stderr)["error"]
    assert (told["setting"], told["source"], told["hop"]) == ("search.host", f"file {tmp_path}/config.ini:4", "https://localhost:9")
