"""Runs the matrix and prints `docs/faults.md`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.faults.page import page, postgres_page
from tests.faults.postgres_running import run_postgres
from tests.faults.rows import ROWS
from tests.faults.running import run_all
from tests.servers.postgres import PostgresServer, server_folder

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(page(run_all(ROWS, Path(folder), doctor=False)), end="\n")
    with tempfile.TemporaryDirectory() as folder, server_folder() as place, PostgresServer(place / "server").running() as server:
        print(postgres_page(run_postgres(server, Path(folder), doctor=False)), end="")
