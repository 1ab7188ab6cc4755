"""The `rag` command as an installed console command."""

from __future__ import annotations

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


def test_a_mistyped_command_names_the_nearest_and_is_a_usage_error(tmp_path: Path) -> None:
    done = rag("igest", cwd=tmp_path)
    assert done.returncode == 2
    assert "'ingest'" in done.stderr


def test_version_is_printed(tmp_path: Path) -> None:
    assert rag("--version", cwd=tmp_path).stdout.startswith("rag, version ")
