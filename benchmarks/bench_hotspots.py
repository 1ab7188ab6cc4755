"""What hotspots cost: a request of fifteen stages with recording and without, the thread that writes, and the file after a day.

    python benchmarks/bench_hotspots.py [--json]

The request's own cost is the least of several rounds, so that other work on the machine counts little; the thread's is processor time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import timeit
from pathlib import Path

from src.infra.hotspots.batch import Batch, Summing
from src.infra.hotspots.recorder import HotspotRecorder
from src.infra.hotspots.store import HotspotStore
from src.telemetry import recording
from src.telemetry.recording import Finished
from src.telemetry.stages import collect_timings, operation, stage

STAGES = ("recall", "condense", "embed", "search.bm25", "search.knn", "search.fusion", "search.fetch", "search", "context")
STAGES += ("assess", "fit", "generate", "verify", "respond", "persist")
REQUESTS, ROUNDS = 100, 60


def request() -> None:
    with operation("chat"), collect_timings():
        for name in STAGES:
            with stage(name):
                pass


class Heap:
    """Takes what is told and throws it away, as the writing thread does with what it has summed up."""

    def calls(self, tenant: str, calls: object) -> None:
        self.last = (tenant, calls)

    def finished(self, found: Finished) -> None:
        self.request = found


def least_us() -> float:
    """Microseconds of a request."""
    return min(timeit.repeat(request, number=REQUESTS, repeat=ROUNDS)) / REQUESTS * 1e6


def costs(folder: Path) -> dict[str, float]:
    recorder = HotspotRecorder(HotspotStore(folder / "hotspots.sqlite", days=7, megabytes=32), {"embed": 0.1})
    without = least_us()
    recording.listen(Heap())
    recorded = least_us()
    recorder.start()
    for _ in range(1000):
        request()
    begun = time.process_time()
    recorder.flush()
    thread = (time.process_time() - begun) / 1000 * 1e6
    for _ in range(20):
        request()
    begun = time.process_time()
    recorder.flush()
    write = (time.process_time() - begun) * 1000
    asyncio.run(recorder.aclose())
    return {"request_us": without, "request_recorded_us": recorded, "overhead_us": recorded - without, "thread_us_a_request": thread, "write_ms": write}


def day(folder: Path) -> dict[str, float]:
    """Megabytes of a day with thirty requests each minute, and what a report over it takes."""
    from src.infra.hotspots.report import read_report

    store, now = HotspotStore(folder / "day.sqlite", days=7, megabytes=1000), 1_800_000_000.0
    for hour in range(24):
        batch, summing = Batch(), Summing({})
        for number in range(60 * 30):
            at = now - (24 - hour) * 3600 + number * 2
            own = {name: 0.001 * 1.3 ** ((number * 7 + place * 3) % 16) for place, name in enumerate(STAGES)}
            summing.calls(batch, at, "default", [(name, seconds, seconds) for name, seconds in own.items()])
            summing.finished(batch, Finished("chat", "default", at, sum(own.values()), own, correlation_id=f"{number:032x}"))
        store.write(batch, now)
    begun = time.perf_counter()
    read_report(store, 6 * 3600, now=now)
    return {"day_mb": store.path.stat().st_size / 1e6, "report_of_6h_ms": (time.perf_counter() - begun) * 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = costs(Path(folder)) | day(Path(folder))
    assert recording.sink is None
    print(json.dumps(found) if options.json else "\n".join(f"{name:24} {value:10.2f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
