"""Runs the matrix and prints `docs/faults.md`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.faults.page import page
from tests.faults.rows import ROWS
from tests.faults.running import run_all

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(page(run_all(ROWS, Path(folder), doctor=False)), end="")
