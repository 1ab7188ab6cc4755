from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.telemetry.log_files import RETRY_S, LogFile, Rotation, _Appender
from src.telemetry.log_formats import JsonFormatter
from src.telemetry.metrics import watched

HOUR = 3600


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def file_of(folder: Path, clock: Clock, **rule: int) -> LogFile:
    handler = LogFile(folder / "app.log", Rotation(**{"keep": 100, "keep_s": 10**9, **rule}), clock)
    handler.setFormatter(JsonFormatter())
    return handler


def say(handler: LogFile, text: str, name: str = "src.x") -> None:
    handler.handle(logging.LogRecord(name, logging.INFO, __file__, 1, text, (), None))


def messages(folder: Path) -> list[str]:
    """Of all files, in the order in which they were written; each line must be whole."""
    aside = sorted(folder.glob("app-*.log"))
    return [json.loads(line)["message"] for path in [*aside, folder / "app.log"] if path.exists() for line in path.read_text().splitlines()]


def test_nothing_is_opened_before_there_is_a_line(tmp_path: Path, clock: Clock) -> None:
    handler = file_of(tmp_path / "logs", clock)
    assert not (tmp_path / "logs").exists()
    say(handler, "first")
    assert messages(tmp_path / "logs") == ["first"]
    assert (tmp_path / "logs" / "app.log").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700


def test_a_file_is_set_aside_before_it_grows_beyond_its_size_and_no_line_is_lost(tmp_path: Path, clock: Clock) -> None:
    handler = file_of(tmp_path, clock, max_bytes=1000)
    for number in range(40):
        say(handler, f"line {number}")
    assert all(path.stat().st_size <= 1000 for path in tmp_path.glob("*.log"))
    assert len(list(tmp_path.glob("app-*.log"))) > 3
    assert messages(tmp_path) == [f"line {number}" for number in range(40)]


def test_a_file_is_set_aside_when_a_new_period_begins(tmp_path: Path, clock: Clock) -> None:
    handler = file_of(tmp_path, clock, period_s=HOUR)
    say(handler, "old")
    os.utime(tmp_path / "app.log", (clock.now, clock.now))
    say(handler, "same hour")
    os.utime(tmp_path / "app.log", (clock.now, clock.now))
    clock.now += HOUR
    say(handler, "next hour")
    assert [json.loads(line)["message"] for line in (tmp_path / "app.log").read_text().splitlines()] == ["next hour"]
    assert messages(tmp_path) == ["old", "same hour", "next hour"]


def test_what_was_set_aside_is_deleted_beyond_its_number_and_its_time(tmp_path: Path, clock: Clock) -> None:
    other = tmp_path / "app-notes.log"
    other.write_text("")
    handler = file_of(tmp_path, clock, max_bytes=10, keep=3)
    for number in range(10):
        say(handler, f"line {number}")
    assert messages(tmp_path) == ["line 6", "line 7", "line 8", "line 9"]
    for path in tmp_path.glob("app-2*.log"):
        os.utime(path, (clock.now - 10, clock.now - 10))
    say(file_of(tmp_path, clock, max_bytes=10**6, keep=3, keep_s=5), "last")
    assert messages(tmp_path) == ["line 9", "last"]
    assert other.exists(), "a file of another's stays"


def test_a_file_that_another_program_moved_away_is_begun_anew(tmp_path: Path, clock: Clock) -> None:
    handler = file_of(tmp_path, clock)
    say(handler, "one")
    (tmp_path / "app.log").rename(tmp_path / "moved")
    say(handler, "two")
    assert "one" in (tmp_path / "moved").read_text()
    assert messages(tmp_path) == ["two"]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "src.telemetry.log_files"):
        yield caplog


def test_a_full_disk_is_said_once_lines_are_dropped_and_counted_and_its_end_is_said(tmp_path: Path, clock: Clock, told: pytest.LogCaptureFixture) -> None:
    handler = file_of(tmp_path, clock)
    (tmp_path / "app.log").symlink_to("/dev/full")  # where the kernel itself says so at each write
    for number in range(50):
        say(handler, f"lost {number}")
        clock.now += 1
    assert (handler.away, handler.dropped) == (True, 50)
    (tmp_path / "app.log").unlink()
    clock.now += RETRY_S
    say(handler, "after")
    assert (handler.away, handler.dropped) == (False, 0)
    assert [value for value, key in watched("rag.log.dropped") if ("rag.stream", "app") in key] == [50]
    assert messages(tmp_path) == ["after"]
    assert [record.getMessage() for record in told.records] == ["a log file cannot be written", "a log file is written again"]
    assert told.records[0].__dict__["rag_fields"]["error"] == "No space left on device"
    assert told.records[1].__dict__["rag_fields"]["dropped"] == 50


def test_a_line_that_a_full_disk_cut_off_is_closed_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, write = _Appender(str(tmp_path / "app.log")), os.write
    with monkeypatch.context() as disk:
        disk.setattr("src.telemetry.log_files.os.write", lambda descriptor, data: write(descriptor, data[:3]))
        with pytest.raises(OSError, match="space"):
            stream.write("a long line\n")
    stream.write("whole\n")
    stream.close()
    assert (tmp_path / "app.log").read_text() == "a l\nwhole\n"


def test_a_file_that_cannot_be_set_aside_is_written_on_and_that_is_said_once(tmp_path: Path, clock: Clock, told: pytest.LogCaptureFixture) -> None:
    handler = file_of(tmp_path, clock, max_bytes=500)
    (tmp_path / ".app.log.lock").mkdir()  # nobody, root neither, opens it as the file that it should be
    for number in range(30):
        say(handler, f"line {number}")
        clock.now += 1
    assert messages(tmp_path) == [f"line {number}" for number in range(30)]
    assert [record.getMessage() for record in told.records] == ["a log file cannot be set aside"]
    (tmp_path / ".app.log.lock").rmdir()
    clock.now += RETRY_S
    say(handler, "after")
    assert messages(tmp_path)[-1] == "after"
    assert len(list(tmp_path.glob("app-*.log"))) == 1
    assert handler.dropped_ever == 0


def test_the_size_of_a_file_is_counted_in_bytes(tmp_path: Path, clock: Clock) -> None:
    handler = file_of(tmp_path, clock, max_bytes=1000)
    for _ in range(8):
        say(handler, "漢" * 100)
    assert all(path.stat().st_size <= 1000 for path in tmp_path.glob("*.log"))


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path, clock: Clock, told: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    handler = file_of(tmp_path / "file" / "logs", clock)
    for _ in range(3):
        say(handler, "lost")
    assert [record.getMessage() for record in told.records] == ["a log file cannot be written"]
    (tmp_path / "file").unlink()
    clock.now += RETRY_S
    say(handler, "kept")
    assert messages(tmp_path / "file" / "logs") == ["kept"]


def test_what_is_said_of_a_file_is_not_written_to_it(tmp_path: Path, clock: Clock) -> None:
    handler = file_of(tmp_path, clock)
    say(handler, "a log file cannot be written", "src.telemetry.log_files")
    assert not (tmp_path / "app.log").exists()


WRITER = """
import logging, sys
from pathlib import Path
from src.telemetry.log_files import LogFile, Rotation
from src.telemetry.log_formats import JsonFormatter
handler = LogFile(Path(sys.argv[1]) / "app.log", Rotation(max_bytes=20_000, keep=10_000))
handler.setFormatter(JsonFormatter())
for number in range(400):
    handler.handle(logging.LogRecord("src.x", logging.INFO, "f", 1, f"{sys.argv[2]} {number} " + "x" * (number * 37 % 9000), (), None))
"""


def test_processes_that_share_a_file_lose_and_tear_no_line(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], cwd=root) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = [message.split()[:2] for message in messages(tmp_path)]
    assert sorted(found) == sorted([name, str(number)] for name in "abc" for number in range(400))
    assert len(list(tmp_path.glob("app-*.log"))) > 10
