"""What starting costs: `python benchmarks/bench_startup.py [--runs 7]` prints the median wall time of whole processes, in ms.

Budgets: `import src` 150, the names that outside code imports with `load_settings()` 250, `rag --help` 300.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = (
    "from src.infra.settings import load_settings; from src.infra.clients import make_chat_client; "
    "from src.infra.opensearch_client import OpenSearchClient; from src.infra.resource_manager import get_resources; load_settings()"
)
COMMANDS = {
    "bare python": ([sys.executable, "-c", "pass"], None),
    "import src": ([sys.executable, "-c", "import src"], 150),
    "load_settings + names": ([sys.executable, "-c", NAMES], 250),
    "rag --help": ([str(Path(sys.executable).parent / "rag"), "--help"], 300),
}


def median_ms(command: list[str], runs: int) -> float:
    times = []
    with tempfile.TemporaryDirectory() as elsewhere:
        for _ in range(runs + 1):  # the first run warms the file cache
            start = time.perf_counter()
            subprocess.run(command, cwd=elsewhere, check=True, stdout=subprocess.DEVNULL)
            times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    print("| process | median ms | budget ms |\n|---|---|---|")
    for name, (command, budget) in COMMANDS.items():
        print(f"| {name} | {median_ms(command, runs):.0f} | {budget or '-'} |")


if __name__ == "__main__":
    main()
