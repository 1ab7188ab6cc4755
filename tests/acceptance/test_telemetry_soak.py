"""Ten minutes of requests while the collector is away: what cannot be exported costs no memory."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.conftest import Server, rag, serving, write_config

SOAK_S = 600.0
WARM_S = 120.0
"""Until then caches fill, threads start and the allocator settles."""
REQUESTS_A_SECOND = 50
MOST_KIB_A_MINUTE = 512.0
"""Spans alone, were they kept, would be 50 requests x 6 spans x 60 s x 1.5 KB = 27 MB a minute."""
QUESTIONS = ("annual leave", "sick note", "parental leave", "working hours", "travel expenses")


def resident_kib(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


def slope(points: list[tuple[float, int]]) -> float:
    """By least squares, in KiB a minute."""
    seconds, sizes = [point[0] for point in points], [point[1] for point in points]
    middle, mean = sum(seconds) / len(points), sum(sizes) / len(points)
    over = sum((second - middle) ** 2 for second in seconds)
    return 60 * sum((second - middle) * (size - mean) for second, size in points) / over


def asked(client: httpx2.Client, server: Server) -> list[tuple[float, int]]:
    """Ask at a steady rate; resident memory each few seconds, from when it is warm."""
    points: list[tuple[float, int]] = []
    begun = time.monotonic()
    for number in range(int(SOAK_S * REQUESTS_A_SECOND)):
        if number % 2:
            assert client.get("/health/live").status_code == 200
        else:
            found = client.post("/v1/search", json={"query": QUESTIONS[number % len(QUESTIONS)], "mode": "bm25", "top_k": 3})
            assert found.status_code == 200, found.text
        passed = time.monotonic() - begun
        if passed >= WARM_S and number % (5 * REQUESTS_A_SECOND) == 0:
            points.append((passed, resident_kib(server)))
        time.sleep(max(0.0, (number + 1) / REQUESTS_A_SECOND - passed))
    return points


@pytest.mark.long
@pytest.mark.timeout(SOAK_S + 300)
def test_memory_stays_flat_for_ten_minutes_while_the_collector_is_away(tmp_path: Path, root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    config = write_config(tmp_path, {})
    done = rag("ingest", root / "examples" / "handbook" / "hr", "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    telemetry = f"[telemetry]\nenabled = true\nendpoint = http://127.0.0.1:{closed}\nmetrics_interval_s = 5\n"
    with serving(tmp_path, more=telemetry) as server, server.client() as client:
        points = asked(client, server)
        log = server.log()
    assert log.count("telemetry is not exported") == 1, "said once, not each second"
    assert len(points) > 60
    assert slope(points) <= MOST_KIB_A_MINUTE, points
