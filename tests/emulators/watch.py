"""What `enclave.py` does, where no namespace can be made: Python's own audit events show and stop what does not go to the proxy.

It sees what Python's sockets do, not those of native libraries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2


class Watch:
    """``port``: of the proxy, on loopback."""

    serve_port = 0

    def __init__(self, folder: Path, port: int) -> None:
        self._file = folder / "noted"
        place = Path(__file__).with_name("watching")
        self.environment = {"PYTHONPATH": str(place), "WATCH_FILE": str(self._file), "WATCH_ALLOWED": f"127.0.0.1:{port}"}

    @contextmanager
    def running(self) -> Iterator[Watch]:
        self._file.touch()
        yield self

    def command(self, *command: str) -> list[str]:
        return list(command)

    def client(self, url: str) -> httpx2.Client:
        return httpx2.Client(base_url=url, timeout=60, trust_env=False)

    def proxied(self) -> int:
        return self._file.read_text().splitlines().count("proxy")

    def direct(self) -> list[str]:
        return [line for line in self._file.read_text().splitlines() if line != "proxy"]
