"""What the audit trail costs: waiting for the disk, alone and with many at once, and what checking a file takes.

    python -m benchmarks.bench_audit [--folder DIR] [--anchors DIR] [--events 2000] [--json]

`--folder` should lie on the disk that will hold the file: the time is the disk's, two waits for each group (file and anchor).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from src.infra.audit.anchors import read_anchors
from src.infra.audit.chain import parse_keys
from src.infra.audit.trail import AuditLog
from src.infra.audit.verify import verify
from src.infra.config import AuditCfg
from src.telemetry.audit import NO_AUDIT, AuditEvent, AuditTrail

EVENT = AuditEvent("search", user="ann", tenant="acme", documents=tuple(f"handbook/chapter-{n}.md" for n in range(10)), facts={"mode": "hybrid"})


async def timed(trail: AuditTrail, events: int, together: int) -> dict[str, float]:
    """Events recorded by so many callers, each one after the other."""
    taken: list[float] = []
    longest = 0.0

    async def caller() -> None:
        for _ in range(events // together):
            start = time.perf_counter()
            await trail.record(EVENT)
            taken.append((time.perf_counter() - start) * 1000)

    async def beat() -> None:  # how long the event loop was away at most
        nonlocal longest
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - start - 0.001)

    pulse = asyncio.create_task(beat())
    start, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(together)))
    seconds, busy = time.perf_counter() - start, time.process_time() - cpu
    pulse.cancel()
    cuts = statistics.quantiles(taken, n=100)
    return {
        "events_s": len(taken) / seconds,
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
        "cpu_us": busy / len(taken) * 1e6,
        "loop_ms": longest * 1000,
    }


async def measured(folder: Path, anchors: Path, events: int) -> dict[str, Any]:
    keys = f"k1:{base64.b64encode(os.urandom(32)).decode()}"
    found: dict[str, Any] = {}
    for name, anchored in (("file alone", False), ("file and anchor", True)):
        for together in (1, 32, 200):
            home = Path(tempfile.mkdtemp(dir=folder))
            heads = Path(tempfile.mkdtemp(dir=anchors)) / "heads"
            cfg = AuditCfg(enabled=True, keys=SecretStr(keys), anchor=heads if anchored else None, anchor_log_s=0)
            trail = AuditLog(cfg, home / "audit.jsonl", parse_keys(keys))
            found[f"{name}, {together} at once"] = await timed(trail, events if together > 1 else max(100, events // 10), together)
            await trail.aclose()
    start = time.perf_counter()
    checked = verify((home / "audit.jsonl").read_bytes().splitlines(keepends=True), parse_keys(keys), read_anchors(heads))
    assert checked.intact
    found["verify_us_a_record"] = (time.perf_counter() - start) / checked.records * 1e6
    found["bytes_a_record"] = (home / "audit.jsonl").stat().st_size / checked.records
    start = time.perf_counter()
    for _ in range(100_000):
        await NO_AUDIT.record(EVENT)
    found["off_us"] = (time.perf_counter() - start) * 10
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--anchors", type=Path)
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = asyncio.run(measured(given.folder, given.anchors or given.folder, given.events))
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        text = "  ".join(f"{key} {number:,.1f}" for key, number in value.items()) if isinstance(value, dict) else f"{value:,.2f}"
        print(f"{name:<32} {text}")


if __name__ == "__main__":
    main()
