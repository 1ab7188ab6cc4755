"""The product as it is run: `rag serve` over a data folder into which the sample handbook was ingested."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

RAG = str(Path(sys.executable).parent / "rag")


@dataclass(frozen=True)
class Server:
    """A running `rag serve`."""

    url: str
    folder: Path
    process: subprocess.Popen[str]
    told: dict[str, Any]
    """What it said when it was ready."""

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=60, **options)

    def log(self) -> str:
        return (self.folder / "server.log").read_text(encoding="utf-8")


def write_config(folder: Path, api: dict[str, Any], more: str = "") -> Path:
    """A configuration with a data folder of its own and a free port."""
    keys = "".join(f"{key} = {value}\n" for key, value in {"port": 0, **api}.items())
    path = folder / "config.ini"
    path.write_text(f"[storage]\npath = {folder / 'data'}\n[api]\n{keys}{more}", encoding="utf-8")
    return path


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAG_") and name not in {"CLOUD_PROFILE", "JPMC_USER_SID"}}


def rag(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `rag` to its end."""
    return subprocess.run([RAG, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=180, env=clean_environment())


@contextmanager
def serving(folder: Path, api: dict[str, Any] | None = None, more: str = "") -> Iterator[Server]:
    """`rag serve --json` in a process of its own, stopped by SIGTERM at the end."""
    config = write_config(folder, api or {}, more)
    with (folder / "server.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [RAG, "serve", "--json", "--config", str(config)], cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True, env=clean_environment()
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "server.log").read_text(encoding="utf-8")
            told = json.loads(line)
            yield Server(told["url"], folder, process, told)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    return serving


@pytest.fixture(scope="session")
def handbook_server(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Server]:
    """The handbook, served on loopback without authentication."""
    folder = tmp_path_factory.mktemp("handbook")
    done = rag("ingest", root / "examples" / "handbook", "--config", write_config(folder, {}), cwd=folder)
    assert done.returncode == 0, done.stderr
    with serving(folder) as server:
        yield server
