"""The rolling store: what several processes write adds up, stays bounded, and never stops a request."""

from __future__ import annotations

import logging
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from src.errors import InputError, StorageCorruptError, StorageFullError, StorageLockedError, StorageReadOnlyError
from src.infra.hotspots import store as store_file
from src.infra.hotspots.batch import MOST_CELLS, MOST_TENANTS, MOST_TROUBLES, WORST, Batch, Summing
from src.infra.hotspots.recorder import HotspotRecorder
from src.infra.hotspots.report import parse_span, read_ingests, read_report, read_troubles, window_of
from src.infra.hotspots.store import KEEP_TROUBLES, HotspotStore, Window
from src.telemetry import recording
from src.telemetry.recording import Finished
from src.telemetry.stages import operation, stage

NOW = 1_800_000_000.0
ROOT = Path(__file__).resolve().parents[4]
EVER = Window(0, 1 << 40)


@pytest.fixture
def store(tmp_path: Path) -> HotspotStore:
    return HotspotStore(tmp_path / "data" / "hotspots.sqlite", days=7, megabytes=32)


@pytest.fixture
async def recorder(store: HotspotStore) -> Iterator[HotspotRecorder]:  # type: ignore[misc] # an asynchronous fixture
    found = HotspotRecorder(store, {"embed": 0.1})
    found.start()
    yield found
    await found.aclose()


def request(seconds: float = 1.0, **more: object) -> Finished:
    return replace(Finished("chat", "default", NOW, seconds, {"embed": seconds / 2, "chat": seconds / 2}), **more)


def batch_of(*requests: Finished, budgets: dict[str, float] | None = None) -> Batch:
    batch, summing = Batch(), Summing(budgets or {})
    for one in requests:
        summing.calls(batch, one.ended, one.tenant, [(name, seconds, seconds) for name, seconds in one.own.items()])
        summing.finished(batch, one)
    return batch


def test_what_two_writers_bring_adds_up(store: HotspotStore, tmp_path: Path) -> None:
    other = HotspotStore(store.path, days=7, megabytes=32)
    store.write(batch_of(request(1.0), request(2.0, degraded=("by words alone",))), NOW)
    other.write(batch_of(request(3.0, failed="unavailable")), NOW)
    cell, outcomes = store.cells(EVER)["embed"], other.outcomes(EVER)["chat"]
    assert (cell.calls, cell.own_ms, sum(cell.buckets.values())) == (3, pytest.approx(3000), 3)
    assert (outcomes.count, outcomes.failed, outcomes.degraded) == (3, 1, 1)
    assert [one.seconds for one in store.worst(EVER)] == [3.0, 2.0, 1.0]
    assert [one.failed or one.degraded[0] for one in store.troubles(EVER)] == ["by words alone", "unavailable"]


def test_a_window_holds_its_own_minutes_and_the_one_before_those_before(store: HotspotStore) -> None:
    store.write(batch_of(*(request(ended=NOW - minutes * 60) for minutes in range(120))), NOW)
    window = window_of(NOW, 3600)
    assert store.cells(window)["embed"].calls == store.cells(window.before())["embed"].calls == 60
    assert window.before().last + 1 == window.first
    assert store.cells(window_of(NOW, 61))["embed"].calls == 2


def test_a_tenant_is_told_apart(store: HotspotStore) -> None:
    store.write(batch_of(request(tenant="a"), request(tenant="b"), request(tenant="b")), NOW)
    assert store.outcomes(replace(EVER, tenant="b"))["chat"].count == 2
    assert store.outcomes(replace(EVER, tenant="' OR 1=1 --")) == {}


def test_ten_thousand_tenants_and_stages_take_the_room_of_a_few(store: HotspotStore) -> None:
    batch, summing = Batch(), Summing({})
    for number in range(10_000):
        one = request(tenant=f"t{number}", own={f"s{number}": 1.0})
        summing.calls(batch, NOW, one.tenant, [(name, 1.0, 1.0) for name in one.own])
        summing.finished(batch, one)
    assert len({tenant for _, tenant, _ in batch.cells}) == MOST_TENANTS + 1
    assert len(batch.cells) <= MOST_CELLS
    assert sum(found.count for found in batch.outcomes.values()) == 10_000


def test_calls_beyond_their_budget_are_counted(store: HotspotStore) -> None:
    store.write(batch_of(request(0.1), request(0.2), request(0.4), budgets={"embed": 0.1}), NOW)
    line = next(line for line in read_report(store, 60, now=NOW).stages if line.stage == "embed")
    assert (line.calls, line.missed, line.budget_ms) == (3, 2, 100.0)


def test_old_and_superfluous_rows_go(store: HotspotStore) -> None:
    store.write(batch_of(request(ended=NOW - 8 * 86400, degraded=("x",))), NOW - 8 * 86400)
    store.write(batch_of(*(request(seconds, degraded=("x",)) for seconds in range(1, 30))), NOW)
    assert store.cells(window_of(NOW, 60))["embed"].calls == 29
    assert len(store.worst(EVER)) == WORST
    assert [one.seconds for one in store.worst(EVER)][:2] == [29, 28]
    assert len(store.troubles(EVER)) == 29
    for minute in range(1, 6):
        at = NOW + minute * 60
        store.write(batch_of(*(request(1.0, ended=at, failed="unavailable") for _ in range(MOST_TROUBLES))), at)
    assert KEEP_TROUBLES <= len(store.troubles(EVER)) <= KEEP_TROUBLES + MOST_TROUBLES


def test_a_file_that_grows_too_large_loses_its_oldest_minutes(tmp_path: Path) -> None:
    small = HotspotStore(tmp_path / "hotspots.sqlite", days=7, megabytes=1)
    batch, summing = Batch(), Summing({})
    calls = [(f"stage{number}", 1.2**value, 0.1) for number in range(80) for value in range(6)]
    for minute in range(150):
        summing.calls(batch, NOW - (150 - minute) * 60, "default", calls)
    small.write(batch, NOW)
    kept = sqlite3.connect(small.path).execute("SELECT min(minute), max(minute) FROM stages").fetchone()
    assert kept[1] == NOW // 60 - 1
    assert kept[0] > NOW // 60 - 150
    pages = sqlite3.connect(small.path).execute("SELECT (SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count)")
    assert pages.fetchone()[0] * 4096 <= 1_000_000


def test_only_the_services_own_failures_are_troubles_and_cancelled_ones_are_counted(store: HotspotStore) -> None:
    store.write(batch_of(request(failed="cancelled"), request(failed="bad-input"), request(failed="deadline")), NOW)
    assert [one.failed for one in read_troubles(store, EVER, 10)] == ["deadline"]
    assert (store.outcomes(EVER)["chat"].failed, store.outcomes(EVER)["chat"].cancelled) == (1, 1)


def test_a_run_of_ingestion_tells_its_failures_by_reason(store: HotspotStore) -> None:
    run = Finished("ingest", "default", NOW, 5.0, {}, counts={"added": 3, "updated": 0, "unchanged": 1, "chunks": 9, "failed.broken": 2})
    store.write(batch_of(run), NOW)
    (found,) = read_ingests(store, EVER, 10)
    assert (found.added, found.unchanged, found.chunks, dict(found.failures), found.stopped) == (3, 1, 9, {"broken": 2}, "")


def test_ingestion_does_not_hide_questions(store: HotspotStore) -> None:
    store.write(batch_of(request(0.4), Finished("ingest", "default", NOW, 600, {"ingest.embed": 500, "ingest": 100})), NOW)
    report = read_report(store, 60, now=NOW)
    assert [line.stage for line in report.stages] == ["chat", "embed"]
    assert [line.stage for line in report.ingestion] == ["ingest.embed", "ingest"]
    assert [one.kind for one in report.worst] == ["chat"]
    assert sum(line.share for line in report.stages) == pytest.approx(1)


def test_without_a_file_there_is_nothing_and_none_is_made(store: HotspotStore) -> None:
    report = read_report(store, 3600)
    assert (report.stages, report.worst, dict(report.requests)) == ((), (), {})
    assert not store.path.parent.exists()


def test_a_file_of_another_release_is_begun_anew(store: HotspotStore) -> None:
    store.write(batch_of(request()), NOW)
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version=99")
    assert store.cells(EVER) == {}
    store.write(batch_of(request()), NOW)
    assert store.cells(EVER)["embed"].calls == 1


def test_a_command_that_only_asks_makes_no_data_folder(store: HotspotStore) -> None:
    asking = HotspotStore(store.path, days=7, megabytes=32, make_folder=False)
    asking.write(batch_of(request()), NOW)
    assert not store.path.parent.exists()
    store.path.parent.mkdir()
    asking.write(batch_of(request()), NOW)
    assert store.cells(EVER)["embed"].calls == 1


def test_only_its_owner_reads_the_file(store: HotspotStore) -> None:
    store.write(batch_of(request()), NOW)
    assert {oct(path.stat().st_mode & 0o777) for path in store.path.parent.iterdir()} == {"0o600"}


def test_what_is_wrong_with_the_file_has_a_name(store: HotspotStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_file, "BUSY_S", 0.05)
    store.write(batch_of(request()), NOW)
    holder = sqlite3.connect(store.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageLockedError):
        store.write(batch_of(request()), NOW)
    holder.close()
    store.path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StorageCorruptError, match="Delete it"):
        store.write(batch_of(request()), NOW)
    store.path.unlink()
    store.path.mkdir()
    with pytest.raises(StorageReadOnlyError):
        store.write(batch_of(request()), NOW)


def test_where_the_disk_has_no_room_the_file_stays_whole_and_the_error_has_a_name(store: HotspotStore) -> None:
    store.write(batch_of(request()), NOW)
    large = batch_of(*(request(ended=NOW + 60 * number, own={f"{number:0150}": 1.0}) for number in range(500)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))  # no file of this process may grow beyond
    try:
        with pytest.raises(StorageFullError, match="No space"):
            store.write(large, NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    store.write(batch_of(request()), NOW)
    assert store.cells(EVER)["embed"].calls == 2


async def test_requests_reach_the_file_by_the_recorder(recorder: HotspotRecorder) -> None:
    with operation("chat"), stage("embed"):
        pass
    recorder.flush()
    assert recorder.store.cells(EVER)["embed"].calls == 1
    assert recorder.store.outcomes(EVER)["chat"].count == 1
    await recorder.aclose()
    assert recording.sink is None


async def test_a_file_that_cannot_be_written_is_said_once_and_loses_nothing_of_the_time_between(
    recorder: HotspotRecorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_file, "BUSY_S", 0.01)
    recorder.store.write(batch_of(request()), NOW)
    holder = sqlite3.connect(recorder.store.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            with operation("chat"), stage("embed"):
                pass
            recorder.flush()
        holder.close()
        recorder.flush()
    assert [record.getMessage() for record in caplog.records] == ["hotspots cannot be written; requests go on without", "hotspots are written again"]
    assert recorder.store.cells(EVER)["embed"].calls == 1 + 3


def test_a_process_that_is_killed_while_it_writes_leaves_a_file_that_others_go_on_with(store: HotspotStore) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from src.infra.hotspots.recorder import HotspotRecorder\nfrom src.infra.hotspots.store import HotspotStore\n"
        "from src.telemetry.stages import operation, stage\n"
        "recorder = HotspotRecorder(HotspotStore(Path(sys.argv[1]), days=7, megabytes=32), {})\nrecorder.start()\n"
        "while True:\n"
        "    with operation('chat'), stage('embed'):\n        pass\n"
        "    recorder.flush()\n    print(1, flush=True)\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(store.path)], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        for _ in range(15):
            process.stdout.readline()
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    written = store.cells(EVER)["embed"]
    assert written.calls == sum(written.buckets.values()) >= 30
    store.write(batch_of(request()), time.time())
    assert store.cells(EVER)["embed"].calls == written.calls + 1


def test_no_thread_is_started_before_the_first_request(store: HotspotStore) -> None:
    before = threading.active_count()
    recorder = HotspotRecorder(store, {})
    recorder.start()
    assert threading.active_count() == before
    recording.listen(None)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), (" 2D ", 172800)])
def test_a_span_of_time_is_read(text: str, seconds: int) -> None:
    assert parse_span(text, 7 * 86400) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1w", "59s", "8d", "99999999d", "1h; DROP", "١h"])
def test_what_is_no_span_says_what_is(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_span(text, 7 * 86400)
    assert caught.value.hint
