"""The jars of the test servers, brought by Maven once and kept.

Maven uses this machine's own settings (mirrors, proxies, credentials); no address stands in this repository.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
SUMS = Path(__file__).with_name("jars.sha256")
DOWNLOAD_S = 1500


class ServerUnavailableHereError(Exception):
    """This machine cannot run the server; the message says what is missing and how to get it."""


def cache_folder() -> Path:
    """`RAG_TEST_CACHE`, else a folder of the user's cache that CI keeps between runs."""
    return Path(os.environ.get("RAG_TEST_CACHE") or Path.home() / ".cache" / "founders-rag-ci") / "opensearch"


def java() -> str:
    path = shutil.which("java")
    if path is None:
        raise ServerUnavailableHereError("no `java` on the PATH (apt-get install default-jre-headless)")
    return path


def jar_folder() -> Path:
    """Folder with one sub-folder of jars per part; downloaded on the first call.

    A download is made beside its place, compared with `jars.sha256` and renamed into it, so a folder that exists is whole.
    It is named by the hash of that list: another version gets another folder.
    """
    folder = cache_folder() / hashlib.sha256(SUMS.read_bytes()).hexdigest()[:16]
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once: the second waits, then finds the folder
        if not folder.is_dir():
            for left in folder.parent.glob(".download-*"):  # by a run that was killed
                shutil.rmtree(left, ignore_errors=True)
            _download(folder)
    return folder


def _download(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerUnavailableHereError("no `mvn` on the PATH to bring the OpenSearch jars (apt-get install maven)")
    java()
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder.parent) as work:
        # The POM is copied: Maven's plugin keeps notes beside it of what it has unpacked, and would not unpack it again.
        shutil.copy(POM, work)
        jars = Path(work) / "jars"
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            maven,
            "--quiet",
            "--batch-mode",
            "--file",
            str(Path(work) / POM.name),
            "process-resources",
            f"-Djars={jars}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False)
        told = (done.stdout + done.stderr)[-3000:]
        if done.returncode:
            raise ServerUnavailableHereError(f"Maven did not bring the OpenSearch jars:\n{told}")
        wrong = sorted(set(SUMS.read_text().splitlines()) ^ set(sums(jars)))
        if wrong:
            raise ServerUnavailableHereError(f"Maven brought other jars than {SUMS.name} lists, such as {wrong[0]}\n{told}")
        jars.rename(folder)


def sums(folder: Path) -> list[str]:
    """One line per jar in the form of `sha256sum`: not every registry has checksums for Maven to compare."""
    return [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}" for path in sorted(folder.glob("*/*.jar"))]


if __name__ == "__main__":
    print(jar_folder())
