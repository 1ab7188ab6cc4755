"""`rag doctor` at PostgreSQL, an OTLP collector, AWS, and what lies on this machine."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import trustme

from src.core.documents import Document
from src.infra.doctor import diagnose
from src.infra.providers import minilm
from src.infra.search.embedded import EmbeddedSearch
from src.infra.search.protocol import DocumentWrite
from tests.emulators.grpc_collector import GrpcCollector
from tests.emulators.listening import listening
from tests.integration.doctor.checks import checked, settings_of, states
from tests.servers.postgres import _own, server_folder

# -- PostgreSQL


@pytest.fixture
def database(postgres: Any) -> dict[str, Any]:
    name = f"doctor_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return {"persistence.backend": "postgres", "persistence.dsn": postgres.dsn(name)}


async def test_a_fresh_database_is_a_warning_and_is_left_as_it_is(database: dict[str, Any], tmp_path: Path) -> None:
    for _ in range(2):
        hop = await checked(settings_of(tmp_path, database), "postgres")
        assert states(hop) == {"settings": "ok", "name": "ok", "tcp": "ok", "service": "ok", "migrations": "warning"}
        assert hop.setting == "persistence.auto_migrate"


async def test_tables_that_may_not_be_made_are_a_failure(database: dict[str, Any], tmp_path: Path) -> None:
    hop = await checked(settings_of(tmp_path, database | {"persistence.auto_migrate": False}), "postgres")
    assert (hop.status, hop.step, hop.setting) == ("failed", "migrations", "persistence.auto_migrate")


async def test_a_wrong_password_a_closed_port_and_another_service_each_have_their_step(postgres: Any, database: dict[str, Any], tmp_path: Path) -> None:
    expected = [
        ({"persistence.dsn": postgres.dsn(password="wr0ng-passw0rd")}, "service"),
        ({"persistence.dsn": postgres.dsn(port=1)}, "tcp"),
        ({"persistence.dsn": "postgresql://rag@no-such-host.invalid/rag"}, "name"),
        ({"persistence.dsn": postgres.dsn(sslmode="verify-full")}, "tls"),
        ({"persistence.dsn": None}, "settings"),
    ]
    for changed, step in expected:
        values = {key: value for key, value in (database | changed).items() if value is not None}
        report = await diagnose(settings_of(tmp_path, values), hops=["postgres"], timeout_s=10)
        hop = report.hop("postgres")
        assert (hop.status, hop.step) == ("failed", step), hop
        assert hop.setting.startswith("persistence.")
        assert hop.hint
        assert "wr0ng-passw0rd" not in repr(report)


async def test_a_server_s_certificate_is_verified_as_libpq_does_and_its_authority_named(
    postgres_node: Callable[..., Any], authority: trustme.CA, tmp_path: Path
) -> None:
    with server_folder() as folder:
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        trustme.CA().cert_pem.write_to_path(folder / "other.pem")
        _own(folder)
        (folder / "server.pem").chmod(0o600)
        # Debian's: the other build knows no TLS.
        server = postgres_node(15, ssl="on", ssl_cert_file=folder / "server.pem", ssl_key_file=folder / "server.pem")
        values = {"persistence.backend": "postgres", "persistence.dsn": server.dsn(host="localhost", sslmode="verify-full")}
        good = await checked(settings_of(tmp_path, values | {"network.ca_bundle": str(folder / "ca.pem")}), "postgres")
        assert states(good) == {"settings": "ok", "name": "ok", "tcp": "ok", "tls": "ok", "service": "ok", "migrations": "warning"}
        wrong = await checked(settings_of(tmp_path, values | {"network.ca_bundle": str(folder / "other.pem")}), "postgres")
    assert (wrong.step, wrong.setting) == ("tls", "network.ca_bundle")
    assert "missing here is" in wrong.message


# -- OTLP


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def collector(authority: trustme.CA, status: int) -> Iterator[tuple[str, list[bytes]]]:
    """Takes exports over HTTPS, and notes their heads."""
    asked: list[bytes] = []
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)
            await writer.drain()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with listening(serve, writers, context) as ports:
        yield f"https://localhost:{ports[0]}", asked


@pytest.mark.parametrize(
    ("status", "outcome", "code"), [(200, "ok", ""), (401, "failed", "service-credentials"), (404, "failed", "configuration"), (503, "failed", "unavailable")]
)
async def test_a_collector_is_sent_an_export_of_nothing(status: int, outcome: str, code: str, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with collector(authority, status) as (url, asked):
        values = {"telemetry.enabled": True, "telemetry.endpoint": url, "network.ca_bundle": str(tmp_path / "ca.pem")}
        hop = await checked(settings_of(tmp_path, values), "otlp")
    exports = [head for head in asked if head.startswith(b"POST /v1/traces ")]
    assert len(exports) == 1
    assert b"content-length: 0" in exports[0].lower()
    assert (hop.status, hop.step, hop.code) == (outcome, "service", code)
    assert hop.setting == ("telemetry.endpoint" if code else "")


@pytest.mark.parametrize(("unknown", "outcome", "code"), [(set[str](), "ok", ""), ({"TraceService"}, "failed", "configuration")])
async def test_a_collector_of_grpc_is_called_as_exports_are(unknown: set[str], outcome: str, code: str, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with GrpcCollector(authority).running() as there:
        there.unknown = unknown
        values = {"telemetry.enabled": True, "telemetry.endpoint": f"grpc://localhost:{there.port}", "network.ca_bundle": str(tmp_path / "ca.pem")}
        hop = await checked(settings_of(tmp_path, values), "otlp")
    assert (hop.status, hop.step, hop.code) == (outcome, "service", code), hop
    assert len(there.received) == (0 if code else 1)


# -- AWS


async def test_credentials_that_are_not_there_are_told_without_any_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    values = {"search.host": "https://search.eu-west-1.es.amazonaws.com", "search.use_aws_auth": True}
    hop = await checked(settings_of(tmp_path, values), "aws")
    assert (hop.status, hop.step, hop.setting) == ("failed", "credentials", "search.aws_profile")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret-canary")
    report = await diagnose(settings_of(tmp_path, values), hops=["aws"])
    assert (report.hop("aws").status, "eu-west-1" in report.hop("aws").message) == ("ok", True)
    assert "aws-secret-canary" not in repr(report)


# -- this machine


async def test_an_index_of_another_model_in_the_data_folder_is_told_and_the_printed_lines_fit_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, {})
    made = EmbeddedSearch(settings.storage.path / "index", embedder="azure:text-embedding-3-small", dims=8)
    document = Document("a", "local", "A", "a.md", "text/markdown", "1", ("tenant:*",))
    await made.write([DocumentWrite(document, (), np.empty((0, 8), np.float32))])
    await made.aclose()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    hop = await checked(settings, "index")
    assert (hop.status, hop.step, hop.setting) == ("failed", "index", "embed.model")
    lines = {fix.key: fix.value for fix in hop.worst.told.fixes}
    assert (await checked(settings_of(tmp_path, lines), "index")).status == "ok"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


async def test_an_index_that_is_damaged_is_told(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, {})
    (settings.storage.path / "index").mkdir(parents=True)
    (settings.storage.path / "index" / "index.sqlite").write_bytes(b"not a database" * 400)
    hop = await checked(settings, "index")
    assert (hop.status, hop.code, hop.setting) == ("failed", "storage-corrupt", "storage.path")


async def test_a_data_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    hop = await checked(settings_of(tmp_path, {"storage.path": str(tmp_path / "file" / "data")}), "data")
    assert (hop.status, hop.setting) == ("failed", "storage.path")


async def test_a_model_that_is_not_prepared_is_a_warning_and_is_not_made(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, {})
    hop = await checked(settings, "model")
    assert (hop.status, hop.setting) == ("warning", "cache.path")
    assert "rag model prepare" in hop.hint
    assert not (tmp_path / "cache").exists()


async def test_a_prepared_model_whose_file_was_changed_is_not_taken_for_good(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, {})
    place = minilm.prepare_model(tmp_path / "cache")
    assert (await checked(settings, "model")).status == "ok"
    (place / minilm.GRAPH_FILE).write_bytes(b"changed")
    hop = await checked(settings, "model")
    assert (hop.status, "damaged" in hop.message) == ("warning", True)


async def test_looking_at_an_index_changes_no_file_of_it_whether_or_not_a_log_is_left(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, {})
    place = settings.storage.path / "index"
    made = EmbeddedSearch(place, embedder=minilm.MODEL, dims=minilm.DIMS)
    document = Document("a", "local", "A", "a.md", "text/markdown", "1", ("tenant:*",))
    await made.write([DocumentWrite(document, (), np.empty((0, minilm.DIMS), np.float32))])
    await made.aclose()
    for logged in (False, True):
        log = place / "index.sqlite-wal"
        if logged:
            _commit_into_the_log(place)
        before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.rglob("*") if path.is_file()}
        assert bool(log.exists() and log.stat().st_size) == logged
        hop = await checked(settings, "index")
        assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.rglob("*") if path.is_file()} == before
        assert hop.status == "ok", hop
        assert ("not looked into" in hop.steps[0].finding.message) == logged


def _commit_into_the_log(place: Path) -> None:
    """What a process that was killed leaves: a commit that is in the log alone."""
    code = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('PRAGMA wal_autocheckpoint=0');"
        "db.execute('CREATE TABLE scratch (x)'); db.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(place / "index.sqlite")], check=True)
