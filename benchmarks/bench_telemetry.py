"""What telemetry costs: a stage while it is off and on, spans a second into a bounded queue, and memory while the collector is down.

    python benchmarks/bench_telemetry.py [--spans 200000] [--seconds 20] [--json]

Figures of each part are printed as they come. The collector is a plain HTTP server in a process of its own, which counts what it is sent.
"""

from __future__ import annotations

import argparse
import gzip
import http.server
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

OFF = """
import timeit, sys
from src.telemetry.stages import collect_timings, stage
def bare():
    with stage("embed"): pass
def attributes():
    with stage("search", mode="hybrid"): pass
def empty(): pass
def us(f, n=200_000): return (min(timeit.repeat(f, number=n, repeat=7)) - min(timeit.repeat(empty, number=n, repeat=7))) / n * 1e6
with collect_timings():
    print(us(bare), us(attributes), "opentelemetry" in sys.modules)
"""

SCRAPED = """
import sys, timeit
from src.infra.metrics import scrape, start_metrics
from src.infra.settings import load_settings
from src.telemetry import metrics
from src.telemetry.stages import collect_timings, stage
start_metrics(load_settings(environ={}))
def bare():
    with stage("embed"): pass
def empty(): pass
def us(f, n=50_000): return (min(timeit.repeat(f, number=n, repeat=7)) - min(timeit.repeat(empty, number=n, repeat=7))) / n * 1e6
with collect_timings():
    cost = us(bare)
for route in range(40):
    for status in (200, 400, 500):
        metrics.record("http.server.request.duration", 0.01, {"http.route": f"/v1/{route}", "http.response.status_code": status})
scrape("application/openmetrics-text")
body = scrape("application/openmetrics-text")[0]
print(cost, timeit.timeit(lambda: scrape("application/openmetrics-text"), number=20) / 20 * 1000, len(body) / 1024, "opentelemetry" in sys.modules)
"""


class _Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    spans = 0

    def do_POST(self) -> None:
        data = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/v1/traces":
            from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

            request = ExportTraceServiceRequest.FromString(data)
            _Sink.spans += sum(len(scope.spans) for part in request.resource_spans for scope in part.scope_spans)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        """How many spans have come."""
        body = str(_Sink.spans).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def sink(port: Any) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    port.put(server.server_port)
    server.serve_forever()


def off() -> dict[str, float]:
    """Microseconds a stage, with its timing, while no SDK is loaded."""
    found = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, check=True).stdout.split()
    assert found[2] == "False", "the API was imported"
    return {"stage_off_us": float(found[0]), "stage_off_with_attribute_us": float(found[1])}


def scraped() -> dict[str, float]:
    """A stage that is counted for /metrics alone, in microseconds; one look with 120 series of a histogram, in milliseconds, and its size."""
    found = subprocess.run([sys.executable, "-c", SCRAPED], capture_output=True, text=True, check=True).stdout.split()
    assert found[3] == "False", "the API was imported"
    return {"stage_scraped_us": float(found[0]), "scrape_ms": float(found[1]), "scrape_kib": float(found[2])}


def set_up(endpoint: str) -> None:
    from src.infra.settings import load_settings
    from src.infra.telemetry import setup_telemetry

    settings = load_settings(overrides={"telemetry.enabled": True, "storage.path": tempfile.mkdtemp(), "telemetry.metrics_interval_s": 5})
    setup_telemetry(endpoint=endpoint, settings=settings)


def on(endpoint: str, spans: int) -> dict[str, float]:
    """A stage's cost to the caller; and how many spans a second are made, encoded and taken, at 10,000 a second and as fast as it goes."""
    from src.infra.telemetry import _providers, flush_telemetry
    from src.telemetry.stages import stage

    batch: list[float] = []
    for _ in range(30):
        begun = time.perf_counter()
        for _ in range(100):
            with stage("embed", texts=1):
                pass
        batch.append((time.perf_counter() - begun) / 100 * 1e6)
        time.sleep(0.01)
    flush_telemetry()
    assert _providers is not None
    assert _providers.tracer is not None
    before = arrived(endpoint)
    begun, cpu = time.perf_counter(), time.process_time()
    for number in range(spans // 100):
        for _ in range(100):
            with stage("embed", texts=1):
                pass
        time.sleep(max(0.0, begun + (number + 1) / 100 - time.perf_counter()))
    made = time.perf_counter() - begun
    flush_telemetry()
    taken = time.perf_counter() - begun
    return {
        "stage_on_us_p50": statistics.median(batch),
        "spans_per_s_made": spans / made,
        "spans_per_s_taken": spans / taken,
        "spans_lost": spans - (arrived(endpoint) - before),
        "cpu_share_at_that_rate": (time.process_time() - cpu) / taken,
    }


def arrived(endpoint: str) -> int:
    with urllib.request.urlopen(endpoint) as answer:
        return int(answer.read())


def down(seconds: float) -> dict[str, float]:
    """Memory with a collector that is away, at 50 requests of 15 spans a second: growth between the first quarter and the end, in KiB."""
    from src.telemetry.stages import stage

    begun, early = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds:
        for _ in range(15):
            with stage("embed", texts=1):
                pass
        early = early or (rss() if passed > seconds / 4 else 0)
        time.sleep(0.02)
    return {"rss_growth_down_kib": rss() - early, "rss_kib": rss()}


def rss() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


def apart(function: Any, *args: Any) -> dict[str, float]:
    """In a process of its own: an SDK is set up once a process."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_told, args=(answers, function, *args))
    process.start()
    found: dict[str, float] = answers.get(timeout=600)
    process.join()
    return found


def _told(answers: Any, function: Any, endpoint: str, *args: Any) -> None:
    set_up(endpoint)
    answers.put(function(endpoint, *args) if function is on else function(*args))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = off() | scraped()
    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    server = context.Process(target=sink, args=(port,), daemon=True)
    server.start()
    try:
        found |= apart(on, f"http://127.0.0.1:{port.get(timeout=30)}", options.spans)
    finally:
        server.terminate()
    found |= apart(down, "http://127.0.0.1:9", options.seconds)
    found["max_rss_children_kib"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps(found) if options.json else "\n".join(f"{name:32} {value:12.2f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
