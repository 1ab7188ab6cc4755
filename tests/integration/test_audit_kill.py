"""kill -9 of writers of the audit file at random moments: what was acknowledged stands in one intact chain."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from src.infra.audit.anchors import read_anchors
from src.infra.audit.chain import parse_keys
from src.infra.audit.verify import verify

KEYS = f"k1:{base64.b64encode(b'k' * 32).decode()}"
ROOT = Path(__file__).resolve().parents[2]


class Writer:
    """A process that writes; what it acknowledged is read as it comes."""

    def __init__(self, name: str, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.integration.audit_writer", name, str(folder), KEYS]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.acknowledged: list[str] = []
        self._enough = threading.Event()
        self._wanted = 0
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.acknowledged.append(line.strip())
            if self._wanted and len(self.acknowledged) >= self._wanted:
                self._enough.set()
        self._enough.set()

    def kill_after(self, count: int) -> None:
        self._wanted = count
        assert self._enough.wait(60)
        assert self._process.poll() is None, self._process.communicate()[1]
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._process.stdout.close()
        self._process.stderr.close()


def rounds(folder: Path, count: int, rng: random.Random) -> None:
    (folder / "anchors").mkdir()
    path, known = folder / "audit" / "a.jsonl", set[str]()
    for number in range(count):
        writers = [Writer(f"{number}{side}", folder) for side in ("ab" if number % 2 == 0 else "a")]
        for writer in rng.sample(writers, len(writers)):
            writer.kill_after(rng.randrange(20, 200))
        known |= {one for writer in writers for one in writer.acknowledged}
        rows = path.read_bytes().splitlines(keepends=True)
        found = verify(rows, parse_keys(KEYS), read_anchors(folder / "anchors" / "heads"))
        assert found.intact, found.findings
        written = [json.loads(row).get("object") for row in rows if row.endswith(b"}\n") and b'"action":"search"' in row]
        assert known <= set(written)
        assert len(written) == len(set(written))


def test_two_killed_writers_leave_one_intact_chain_with_all_that_they_acknowledged(tmp_path: Path) -> None:
    rounds(tmp_path, 1, random.Random(7))


@pytest.mark.long
def test_twenty_rounds_of_killed_writers(tmp_path: Path) -> None:
    rounds(tmp_path, 20, random.Random())
