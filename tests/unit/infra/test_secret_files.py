"""Secret files: what changes is seen however it was written, what came back is well again, and no file keeps the program waiting."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from src.errors import InvalidSettingsError
from src.infra.config import Settings
from src.infra.health import HealthChecker
from src.infra.secrets.health import register_secrets
from src.infra.secrets.held import FileSecret
from src.infra.secrets.live import LiveSecret, renewed
from src.infra.settings import load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "chat__api_key").write_text("one\n")
    return tmp_path / "chat__api_key"


def loaded(folder: Path) -> Settings:
    return load_settings([], environ={}, secrets_dir=folder)


async def unwell(checker: HealthChecker) -> list[str]:
    return [component.message for component in (await checker.check_all()).components if component.status != "healthy"]


async def test_health_is_well_again_once_a_file_that_was_moved_away_is_back(file: Path) -> None:
    checker = HealthChecker(ttl_s=0)
    register_secrets(checker, loaded(file.parent))
    assert await unwell(checker) == []
    file.rename(file.with_name("aside"))
    assert "cannot be read" in (await unwell(checker))[0]
    file.with_name("aside").rename(file)
    assert await unwell(checker) == []


def test_a_file_that_is_back_as_it_was_clears_the_complaint_though_nothing_of_it_changed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = FileSecret(file)
    real = os.stat

    def gone(path: object) -> os.stat_result:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("src.infra.secrets.held.os.stat", gone)  # as a file system that was unmounted for a while
    assert held.error is not None
    monkeypatch.setattr("src.infra.secrets.held.os.stat", real)
    assert held.error is None


def test_a_file_rewritten_in_place_with_its_size_and_time_is_seen(file: Path) -> None:
    held = FileSecret(file)
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # the kernel's clock ticks in milliseconds
        file.write_text("two\n")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert held.ask() == "two"


async def test_a_refused_value_is_read_again_even_where_nothing_tells_that_the_file_changed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.infra.secrets.held._version", lambda path: (1,))
    secret = LiveSecret((FileSecret(file),))
    file.write_text("two\n")
    assert secret.get_secret_value() == "one"
    assert await renewed(secret, "Basic one")
    assert secret.get_secret_value() == "two"
    assert not await renewed(secret, "two")


async def test_a_file_that_was_empty_at_the_start_is_told_of_and_health_says_when_it_holds_a_value(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "chat__api_key"
    file.write_text("\n")
    settings = loaded(tmp_path)
    assert settings.chat.api_key is None
    assert "a secret file is empty" in caplog.text
    checker = HealthChecker(ttl_s=0)
    register_secrets(checker, settings)
    assert await unwell(checker) == [], "an empty file is how a chart leaves a key out"
    file.write_text("canary-pw")
    (message,) = await unwell(checker)
    assert "was empty when the configuration was loaded" in message
    assert "Restart" in message
    assert "canary" not in message
    file.unlink()
    assert await unwell(checker) == []


@pytest.mark.parametrize("name", ["chat__api_key", "chat__user"])
def test_a_pipe_in_the_folder_is_a_problem_and_keeps_nobody_waiting(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InvalidSettingsError, match="no regular file"):
        loaded(tmp_path)


def test_a_file_that_becomes_a_pipe_leaves_the_last_value(file: Path) -> None:
    held = FileSecret(file)
    file.unlink()
    os.mkfifo(file)
    assert held.ask() == "one"
    assert "no regular file" in str(held.error)
