from __future__ import annotations

import importlib.util
import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.core.identity import Identity, current_identity
from src.errors import InvalidSettingsError, MissingExtraError
from src.infra.capturing import set_up_privacy
from src.infra.config import Settings
from src.infra.logging_setup import ACCESS, FILES, KEY_FILE, log_uncaught, set_up_logs
from src.infra.redacting import policy_of
from src.infra.settings import load_settings
from src.telemetry import logger as logs
from src.telemetry.log_context import user_hash
from src.telemetry.logger import get_logger
from src.telemetry.redaction import redact


@pytest.fixture(autouse=True)
def _as_before(tmp_path: Path) -> Iterator[None]:
    names = ("", "src", "urllib3")
    levels, handlers, raising = {name: logging.getLogger(name).level for name in names}, list(logging.getLogger().handlers), logging.raiseExceptions
    yield
    logs.use_handlers(FILES, [])
    logging.captureWarnings(False)
    logging.raiseExceptions = raising
    logging.getLogger().handlers[:] = handlers
    logs._set.clear()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    set_up_privacy(settings(tmp_path))


def settings(folder: Path, **keys: object) -> Settings:
    return load_settings(overrides={"storage.path": str(folder / "data"), **{key.replace("__", "."): value for key, value in keys.items()}})


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_streams_have_files_of_their_own_and_content_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(settings(tmp_path, logging__folder=str(tmp_path / "logs"), logging__levels="urllib3=INFO"))
    get_logger("src.infra.x").info("stored", document="a")
    get_logger(ACCESS).info("request", path="/v1/search", status=200)
    logging.getLogger("urllib3").info("new connection")
    get_logger("src.conversation").info("turn", question="never")
    assert [line["message"] for line in lines(tmp_path / "logs" / "app.log")] == ["stored", "new connection"]
    assert [line["message"] for line in lines(tmp_path / "logs" / "api.log")] == ["request"]
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["stored", "request", "new connection"]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["api.log", "app.log"]


def test_only_the_streams_that_are_asked_for_are_kept(tmp_path: Path) -> None:
    set_up_logs(settings(tmp_path, logging__folder=str(tmp_path / "logs"), logging__streams="api"))
    get_logger("src.infra.x").info("stored")
    get_logger(ACCESS).info("request")
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["api.log"]


def test_a_folder_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").write_text("a file stands where the folder should")
    set_up_logs(settings(tmp_path, logging__folder=str(tmp_path / "logs")))
    for _ in range(3):
        get_logger("src.infra.x").info("stored")
    said = [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
    assert said.count("stored") == 3
    assert said.count("a log file cannot be written") == 1


def test_users_have_the_same_hash_in_every_process_of_a_data_folder(tmp_path: Path) -> None:
    set_up_logs(settings(tmp_path))
    assert not (tmp_path / "data").exists(), "a command that nobody asks anything of writes nothing"
    token = current_identity.set(Identity("ann"))
    try:
        get_logger("src.infra.x").info("asked")
    finally:
        current_identity.reset(token)
    one = user_hash("ann")
    assert (tmp_path / "data" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    set_up_logs(settings(tmp_path))
    assert user_hash("ann") == one
    set_up_logs(settings(tmp_path, logging__user_key="k" * 20))
    assert user_hash("ann") != one


def test_where_no_key_can_be_kept_the_hash_ends_with_the_process(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    set_up_logs(settings(tmp_path))
    assert user_hash("ann") == user_hash("ann") != "ann"


def test_what_threads_raise_is_logged_without_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    set_up_logs(settings(tmp_path))
    log_uncaught()
    thread = threading.Thread(target=int, args=("xyzzy-canary",), name="worker")
    thread.start()
    thread.join()
    said = capsys.readouterr().err
    (line,) = [json.loads(line) for line in said.splitlines()]
    assert (line["message"], line["thread"]) == ("a thread failed", "worker")
    assert "ValueError: (text withheld)" in line["exception"]
    assert "canary" not in said


def test_own_patterns_of_the_configuration_are_redacted(tmp_path: Path) -> None:
    file = tmp_path / "config.ini"
    file.write_text("[telemetry]\nredact_patterns =\n  customer=C-[0-9]{4,8}\n  meter=\\bM[0-9]{2,} [0-9]+\n")
    set_up_logs(load_settings(str(file)))
    assert redact("C-12345 has M12 34567, and ann@example.com") == "[redacted:customer] has [redacted:meter], and [redacted:email]"
    set_up_logs(settings(tmp_path))
    assert redact("C-12345") == "C-12345"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("telemetry.redact_patterns", "C-[0-9]+", "NAME=PATTERN"),
        ("telemetry.redact_patterns", "customer=(", "unclosed"),
        ("telemetry.redact_patterns", "customer=(?=x)", "look-around"),
        ("telemetry.redact_patterns", "Customer=x", "small letters"),
        ("telemetry.redact_patterns", "customer=.*", "everywhere"),
        ("logging.levels", "urllib3", "LOGGER=LEVEL"),
        ("logging.levels", "urllib3=LOUD", "LOGGER=LEVEL"),
        ("logging.level", "LOUD", "level"),
        ("logging.structured", "maybe", "structured"),
        ("logging.user_key", "short", "user_key"),
        ("telemetry.content_to", "screen", "content_to"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_key(key: str, value: str, message: str) -> None:
    with pytest.raises(InvalidSettingsError, match=message) as caught:
        load_settings(overrides={key: value})
    assert key.partition(".")[2] in str(caught.value)


@pytest.mark.parametrize("written", ["auto", True, "yes", "off", "1"])
def test_structured_is_a_truth_value_or_auto(written: object) -> None:
    assert load_settings(overrides={"logging.structured": written}).logging.structured in ("auto", "true", "false")


def test_presidio_without_its_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "src.infra.presidio", raising=False)
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(MissingExtraError, match=r"founders-rag\[presidio\]") as caught:
        policy_of(load_settings(overrides={"telemetry.presidio": "UK_NHS"}).telemetry)
    assert caught.value.setting == "telemetry.presidio"
    assert importlib.util.find_spec("src.infra.presidio") is not None
