"""Health of what surrounds the parts: disk, memory, processor, certificates, pools, the index's views."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from src.core.documents import Chunk, Document
from src.errors import ConfigurationError
from src.infra.config import HealthCfg, NetworkCfg
from src.infra.health import machine
from src.infra.health.certificates import authorities, client_certificate, told_of_all
from src.infra.health.index import index
from src.infra.health.pools import pools
from src.infra.network.tls import SYSTEM_BUNDLES
from src.infra.search.embedded import EmbeddedSearch
from src.infra.search.protocol import DocumentWrite
from src.telemetry.metrics import watch_pool

CFG = HealthCfg()
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_the_disk_of_a_folder_that_is_not_there_yet_is_looked_at(tmp_path: Path) -> None:
    assert machine.disk(tmp_path / "not" / "there", HealthCfg(disk_free_mb=0, disk_percent=100)).status == "healthy"
    full = machine.disk(tmp_path, HealthCfg(disk_free_mb=10**9))
    assert full.status == "unhealthy"
    assert "health.disk_free_mb" in full.message
    assert machine.disk(tmp_path, HealthCfg(disk_percent=0.0001, disk_free_mb=0)).status == "degraded"


def test_in_a_container_its_limit_counts_and_pages_that_can_be_given_back_do_not(tmp_path: Path) -> None:
    for name, text in {"memory.max": "1000", "memory.current": "990", "memory.stat": "anon 5\ninactive_file 500\n"}.items():
        (tmp_path / name).write_text(text)
    assert machine.memory(CFG, tmp_path).status == "healthy"
    (tmp_path / "memory.stat").write_text("inactive_file 0\n")
    assert machine.memory(CFG, tmp_path).status == "degraded"
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable: 3 kB\n")
    assert machine.memory(CFG, tmp_path, tmp_path / "meminfo").status == "degraded"
    assert machine.memory(CFG, tmp_path, tmp_path / "nothing").status == "unknown"


def test_the_processor_is_told_by_its_load() -> None:
    assert machine.processor(HealthCfg(load_per_core=1e9)).status == "healthy"
    assert machine.processor(HealthCfg(load_per_core=1e-9)).status in ("degraded", "healthy")  # an idle machine has no load at all


class Owner:
    """Of a pool."""


def test_a_pool_that_is_nearly_used_up_is_named() -> None:
    owner = Owner()
    watch_pool("of-the-test", owner, lambda _: (9, 1), 10)
    assert pools(95).status == "healthy"
    found = pools(90)
    assert (found.status, "of-the-test: 9 of 10" in found.message) == ("degraded", True)


class TestCertificates:
    def test_of_authorities_those_count_that_have_not_ended(self) -> None:
        def of(*days: int) -> str:
            return told_of_all([NOW + timedelta(days=day) for day in days], Path("ca.pem"), 30, NOW).status

        assert [of(-5, 400), of(-5, 29, 400), of(-5, -1), of()] == ["healthy", "degraded", "unhealthy", "unknown"]

    def test_a_bundle_is_read_and_one_that_is_none_says_so(self, tmp_path: Path) -> None:
        bundle = next((Path(path) for path in SYSTEM_BUNDLES if Path(path).is_file()), None)
        if bundle is None:
            pytest.skip("this system has no list of authorities")
        assert authorities(bundle, 0, NOW).status == "healthy"
        assert authorities(bundle, 0, NOW + timedelta(days=365 * 60)).status == "unhealthy"
        (tmp_path / "bad.pem").write_text("nothing")
        with pytest.raises(ConfigurationError, match=r"network\.ca_bundle"):
            authorities(tmp_path / "bad.pem", 30, NOW)

    def test_the_client_certificate_is_told_before_it_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "client.pem"
        path.write_bytes(pem_until(NOW + timedelta(days=10)))
        cfg = NetworkCfg(client_certificate=path)
        assert client_certificate(cfg, 5, NOW).status == "healthy"
        found = client_certificate(cfg, 30, NOW)
        assert (found.status, "expires in 10 days" in found.message) == ("degraded", True)
        assert client_certificate(cfg, 30, NOW + timedelta(days=11)).status == "unhealthy"
        path.write_bytes(b"nothing")
        with pytest.raises(ConfigurationError, match=r"network\.client_certificate"):
            client_certificate(cfg, 30, NOW)


def pem_until(end: datetime) -> bytes:
    """A certificate of its own making, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(end - timedelta(days=100)).not_valid_after(end)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def test_a_view_that_lags_behind_and_an_index_that_nobody_writes_are_degraded(tmp_path: Path) -> None:
    assert index(tmp_path, CFG).status == "healthy"
    engine = EmbeddedSearch(tmp_path, embedder="test", dims=2)
    chunk = Chunk(id="c", document_id="d", tenant="t", text="word", position=0)
    document = Document(id="d", tenant="t", title="t", source="s", content_type="text/plain", content_hash="h", acl=("tenant:*",), metadata={})
    await engine.write([DocumentWrite(document, (chunk,), np.ones((1, 2), np.float32))])
    await engine.refresh()
    await engine.aclose()
    assert index(tmp_path, HealthCfg(index_lag=0)).status == "healthy"
    os.utime(tmp_path / "index.sqlite", (0, 0))
    assert "last written" in index(tmp_path, HealthCfg(index_age_h=1)).message
    (tmp_path / "views" / "lexical" / "position.json").unlink()
    found = index(tmp_path, HealthCfg(index_lag=0))
    assert (found.status, "lexical" in found.message, "vector" in found.message) == ("degraded", True, False)
