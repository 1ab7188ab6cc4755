"""What telemetry costs a request: two servers over the same documents, one that exports and one that does not, asked in turn.

    python benchmarks/bench_telemetry_requests.py [--requests 600] [--json]

Latency is told at its 10th percentile and its median: on a shared machine the first says what the work takes, the second what a caller sees.
Processor time is that of the whole server, its exporters included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
from bench_telemetry import sink

ROOT = Path(__file__).resolve().parent.parent
RAG = str(Path(sys.executable).parent / "rag")
QUESTION = "How many days of annual leave do employees get?"
KINDS: dict[str, tuple[str, dict[str, Any], int]] = {
    "search by words": ("/v1/search", {"query": "annual leave days", "mode": "bm25"}, 1),
    "search, hybrid": ("/v1/search", {"query": "annual leave days"}, 1),
    "chat": ("/v1/chat", {"message": QUESTION}, 5),
}
"""Path, body, and how many times fewer are asked."""


def configuration(folder: Path, more: str) -> Path:
    folder.mkdir()
    path = folder / "config.ini"
    path.write_text(f"[storage]\npath = {folder / 'data'}\n[api]\nport = 0\n{more}", encoding="utf-8")
    subprocess.run([RAG, "ingest", str(ROOT / "examples" / "handbook"), "--config", str(path)], check=True, capture_output=True, cwd=folder)
    return path


@contextmanager
def serving(config: Path) -> Iterator[tuple[int, httpx2.Client]]:
    with (config.parent / "log").open("w") as log:
        process = subprocess.Popen([RAG, "serve", "--json", "--config", str(config)], stdout=subprocess.PIPE, stderr=log, text=True, cwd=config.parent)
    try:
        assert process.stdout is not None
        with httpx2.Client(base_url=json.loads(process.stdout.readline())["url"], timeout=60) as client:
            yield process.pid, client
    finally:
        process.terminate()
        process.wait(30)


def processor_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1000


def share(values: list[float], of: float) -> float:
    return sorted(values)[int(len(values) * of)]


def measure(servers: dict[str, tuple[int, httpx2.Client]], path: str, body: dict[str, Any], requests: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in servers}
    for number in range(-30, requests):
        if number == 0:
            before = {name: processor_ms(pid) for name, (pid, _) in servers.items()}
        for name, (_, client) in servers.items():
            begun = time.perf_counter()
            client.post(path, json=body).raise_for_status()
            if number >= 0:
                taken[name].append((time.perf_counter() - begun) * 1000)
    time.sleep(2.0)
    found = {f"{name}_{label}_ms": share(values, of) for name, values in taken.items() for label, of in (("p10", 0.1), ("p50", 0.5))}
    found |= {f"{name}_processor_ms": (processor_ms(pid) - before[name]) / requests for name, (pid, _) in servers.items()}
    for label in ("p10", "p50", "processor"):
        found[f"more_{label}_ms"] = found[f"on_{label}_ms"] - found[f"off_{label}_ms"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    collector = context.Process(target=sink, args=(port,), daemon=True)
    collector.start()
    folder = Path(tempfile.mkdtemp())
    telemetry = f"[telemetry]\nenabled = true\nendpoint = http://127.0.0.1:{port.get(timeout=30)}\n"
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(configuration(folder / name, more))) for name, more in (("off", ""), ("on", telemetry))}
        found = {kind: measure(servers, path, body, options.requests // fewer) for kind, (path, body, fewer) in KINDS.items()}
    collector.terminate()
    if options.json:
        print(json.dumps(found))
        return
    for kind, figures in found.items():
        print(kind, *(f"  {name:20} {value:8.3f}" for name, value in figures.items()), sep="\n")


if __name__ == "__main__":
    main()
