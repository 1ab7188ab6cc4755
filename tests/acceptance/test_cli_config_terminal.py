"""`rag config` on a terminal: narrow ones, and those that want no colour."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

RAG = str(Path(sys.executable).parent / "rag")


def on_terminal(*arguments: str, cwd: Path, **environ: str) -> str:
    """What a command shows on a terminal."""
    outer, inner = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAG_") and name not in ("CLOUD_PROFILE", "NO_COLOR", "COLUMNS")}
    try:
        process = subprocess.Popen([RAG, "config", *arguments], cwd=cwd, stdin=inner, stdout=inner, stderr=inner, env=clean | environ)
        os.close(inner)
        seen = b""
        try:
            while part := os.read(outer, 4096):
                seen += part
        except OSError:  # Linux says that nobody has the other end any more
            pass
        process.wait(60)
    finally:
        os.close(outer)
    return seen.decode().replace("\r\n", "\n")


NARROW = [("explain", "search.host"), ("diff", "local", "jpmc_azure")]
MORE_NARROW = [pytest.param(arguments, marks=pytest.mark.long) for arguments in (("explain",), ("explain", "network"))]


@pytest.mark.parametrize("arguments", [*NARROW, *MORE_NARROW])
def test_a_narrow_terminal_gets_lines_that_fit_and_whole_words(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text("[search]\nhost = https://search.example\n[environment]\ncloud_profile = azure\n")
    narrow = on_terminal(*arguments, cwd=tmp_path, COLUMNS="40", RAG_SEARCH__HOST="https://other.example")
    wide = on_terminal(*arguments, cwd=tmp_path, COLUMNS="400", RAG_SEARCH__HOST="https://other.example")
    assert set(wide.replace("#", " ").split()) == set(narrow.replace("#", " ").split())
    for line in narrow.splitlines():
        assert len(line) <= 40 or line.strip(" #+-").count(" ") <= 2 or " = " in line or line.startswith("#"), line


def test_no_color_is_heeded_and_colour_is_for_terminals_alone(tmp_path: Path) -> None:
    assert "\x1b[" in on_terminal("explain", "serach.host", cwd=tmp_path)
    assert "\x1b[" not in on_terminal("explain", "serach.host", cwd=tmp_path, NO_COLOR="1")
    piped = subprocess.run([RAG, "config", "explain", "serach.host"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "\x1b[" not in piped.stderr
