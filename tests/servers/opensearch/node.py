"""One OpenSearch node in one Java process, without Docker and without root's help.

The process is the "runner" that the OpenSearch community uses in its own tests: the real server and its modules on one class
path. Its plugins are the published ones. Only engine ``lucene`` works for vectors: the published zips lack the native libraries of
faiss and nmslib, and the default engine is faiss, so mappings must name ``lucene``.
"""

from __future__ import annotations

import itertools
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from tests.servers.opensearch.cluster import Cluster
from tests.servers.opensearch.jars import jar_folder, java
from tests.servers.opensearch.security import Security

Flavour = Literal["full", "knn", "plain", "secured"]
PARTS: dict[Flavour, tuple[str, ...]] = {"full": ("knn", "neural"), "knn": ("knn",), "plain": (), "secured": ("knn", "neural", "security")}
PLUGINS = {
    "knn": "org.opensearch.knn.plugin.KNNPlugin",
    "neural": "org.opensearch.neuralsearch.plugin.NeuralSearch",
    "security": "org.opensearch.security.OpenSearchSecurityPlugin",
}
READY_S = 180.0
"""A start takes 7 to 20 s on two idle cores; tests share them with other work."""
LAST_PORT = 9299
"""The runner takes no HTTP port above this one."""

# A node dies with the thread that started it (PR_SET_PDEATHSIG). This one lives as long as Python: a node survives the short-lived
# threads that tests start nodes from, and is gone when the test process is, also when that one is killed.
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="opensearch-starter")
_taken: set[int] = set()


def free_port() -> int:
    """A port that nothing listens on and that no other node of this process was given; below those that systems hand out to clients."""
    for port in itertools.islice(iter(lambda: random.randint(4000, 8900), None), 1000):
        if port in _taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _taken.add(port)
        return port
    raise RuntimeError("no free port between 4000 and 8900")


class NodeDidNotStartError(Exception):
    """The process ended, or did not answer in time; the message ends with its log."""


@dataclass
class OpenSearchNode:
    """A single-node cluster whose data outlives the process: `kill9` then `restart` finds what was acknowledged.

    ``settings`` go into opensearch.yml, such as ``{"thread_pool.write.queue_size": 1}``; `restart` reads them anew.
    ``lasting``: Java may spend time on making it fast; of the first minute's processor time that is the greater part.
    """

    flavour: Flavour
    data_dir: Path
    heap: str = "512m"
    port: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    lasting: bool = False
    security: Security | None = field(default=None, init=False, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def url(self) -> str:
        return f"{'https' if self.flavour == 'secured' else 'http'}://127.0.0.1:{self.port}"

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.url, self.security)

    @property
    def log_file(self) -> Path:
        return self.data_dir / "node.log"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the node is not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; `wait_ready` says when it serves."""
        if self.running:
            raise RuntimeError(f"the node at {self.url} runs already")
        self.port = self.port or free_port()
        if not 1 < self.port <= LAST_PORT:
            raise ValueError(f"port {self.port}: the runner takes none above {LAST_PORT}")
        command = self._command(jar_folder())
        with self.log_file.open("wb") as log:
            self._process = _STARTER.submit(
                subprocess.Popen, command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.data_dir, start_new_session=True
            ).result()

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Return once every primary shard serves.

        Raises:
            NodeDidNotStartError: with the end of the node's log.
        """
        deadline, last = time.monotonic() + timeout_s, "no answer yet"
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                code = self._process.returncode if self._process else None
                # The runner keeps the exception for itself; a setting that the node does not know is the likeliest.
                raise NodeDidNotStartError(f"the node ({self.flavour}, settings {dict(self.settings)}) ended with code {code}.\n{self.log_tail()}")
            self._check_port()
            try:
                # By password where there is security: the administrator's certificate is let in before the plugin is ready.
                user = self.security.user("admin") if self.security else None
                answer = self.cluster.request("GET", "_cluster/health?wait_for_status=yellow&timeout=5s", user=user, timeout_s=15)
            except OSError as error:
                last = repr(error)
            else:
                if answer.status == 200:
                    return
                last = f"{answer.status} {answer.text[:300]}"
            time.sleep(0.2)
        raise NodeDidNotStartError(f"the node ({self.flavour}) at {self.url} did not serve within {timeout_s:.0f} s: {last}.\n{self.log_tail()}")

    def kill9(self) -> None:
        """End the process as a power cut would: nothing is flushed or closed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self, timeout_s: float = READY_S) -> None:
        """Start again on the same data and port, and wait."""
        self.stop()
        self.start()
        self.wait_ready(timeout_s)

    def pause(self) -> None:
        """The process stands still: connections are accepted by the system and never answered (`resume` ends it)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Close in order; killed when that takes longer than 20 s."""
        if self._process is None:
            return
        if self.running:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill9()

    def log_tail(self, lines: int = 40) -> str:
        if not self.log_file.exists():
            return "(no log)"
        told = [line for line in self.log_file.read_text(errors="replace").splitlines() if "Not yet initialized" not in line]
        return "\n".join(told[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def _check_port(self) -> None:
        """Where the port was taken in the meantime the runner silently takes a higher one; better to say so."""
        found = re.search(r"^HTTP Port:\s+(\d+)", self.log_file.read_text(errors="replace"), re.MULTILINE)
        if found and int(found[1]) != self.port:
            self.kill9()
            raise NodeDidNotStartError(f"port {self.port} was in use (the runner went on to {found[1]})")

    def _command(self, jars: Path) -> list[str]:
        parts = PARTS[self.flavour]
        self._configure()
        java_options = [
            f"-Xms{self.heap}",
            f"-Xmx{self.heap}",
            "-XX:+UseSerialGC",  # one thread instead of several beside each other on two cores
            # To start takes 3.7 s of processor time instead of 10.0, ten small indices 1.2 instead of 2.0.
            *(() if self.lasting else ("-XX:TieredStopAtLevel=1",)),
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={self.data_dir / 'tmp'}",
            "-cp",
            # Folder by folder: where two plugins bring versions of one library, the server's own is found first.
            ":".join(f"{jars / part}/*" for part in ("base", *parts)),
        ]
        runner = ["-basePath", str(self.data_dir / "node"), "-confPath", str(self.data_dir / "config"), "-numOfNode", "1"]
        # The runner's first node listens one above its base port.
        runner += ["-baseHttpPort", str(self.port - 1), "-clusterName", f"test-{self.port}"]
        if parts:
            runner += ["-pluginTypes", ",".join(PLUGINS[part] for part in parts)]
        watchdog = [shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL"]
        return [*watchdog, java(), *java_options, "org.codelibs.opensearch.runner.OpenSearchRunner", *runner]

    def _configure(self) -> None:
        config = self.data_dir / "config"
        config.mkdir(parents=True, exist_ok=True)
        (self.data_dir / "tmp").mkdir(exist_ok=True)
        # A full disk of the machine is not these tests' business; those that need the flood stage set it.
        settings: dict[str, Any] = {"discovery.type": "single-node", "network.host": "127.0.0.1", "cluster.routing.allocation.disk.threshold_enabled": False}
        if self.flavour == "secured":
            self.security = self.security or Security.create(config)
            settings |= self.security.node_settings
        (config / "opensearch.yml").write_text(yaml.safe_dump(settings | dict(self.settings)))


@contextmanager
def running(node: OpenSearchNode) -> Iterator[OpenSearchNode]:
    """Start and wait; at the end stop, and delete the data."""
    try:
        node.start()
        node.wait_ready()
        yield node
    finally:
        node.kill9()
        shutil.rmtree(node.data_dir, ignore_errors=True)
