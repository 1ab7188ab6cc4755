"""The snippets of docs/clients.md that speak HTTP, run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def section(root: Path, title: str) -> str:
    """The text below one heading of the page."""
    text = (root / "docs" / "clients.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, title
    return found.group(1)


def run(language: str, code: str, cwd: Path) -> str:
    program = [sys.executable, "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
    done = subprocess.run([*program, code], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("title", "language", "says"), [("OpenAI's client", "python", "one hour"), ("HTTP", "python", "done {'thread_id'")])
def test_every_snippet_of_a_section_works(handbook_server: Any, root: Path, tmp_path: Path, title: str, language: str, says: str) -> None:
    snippets = re.findall(rf"```{language}\n(.*?)```", section(root, title), re.DOTALL)
    assert snippets
    assert says in run(language, "\n".join(snippets).replace("http://127.0.0.1:8000", handbook_server.url), tmp_path)
