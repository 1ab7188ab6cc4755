"""OTLP over gRPC to a server of gRPC's own: under the outbound policy like every other hop, whatever the environment says."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from pydantic import SecretStr

from src.errors import RagError, UnsupportedFeatureError
from src.infra.config import NetworkCfg
from src.infra.exporting.collector import Link, NotTakenError
from src.infra.exporting.grpc_session import GrpcSession
from src.infra.network import NetworkPolicy
from src.infra.telemetry import get_metrics, setup_telemetry, shutdown_telemetry
from src.telemetry.logger import get_logger
from src.telemetry.stages import stage
from tests.emulators.grpc_collector import GrpcCollector
from tests.emulators.proxy import Proxy
from tests.emulators.service import client_certificate
from tests.integration.telemetry_parts import authority, fresh_sdk, settings_for

__all__ = ["authority", "fresh_sdk"]
SECRET = "CANARY-collector-key"


def send(url: str, network: NetworkCfg, timeout_s: float = 10.0) -> None:
    session = GrpcSession(Link(url), NetworkPolicy(network), timeout_s, SecretStr(f"authorization=Bearer%20{SECRET}"))
    try:
        session.request("POST", f"{url}/v1/traces", data=b"")
    finally:
        session.close()


def failure(url: str, network: NetworkCfg, timeout_s: float = 10.0) -> RagError:
    with pytest.raises((RagError, NotTakenError)) as caught:
        send(url, network, timeout_s)
    error = caught.value.error if isinstance(caught.value, NotTakenError) else caught.value
    assert isinstance(error, RagError)
    assert "CANARY" not in f"{error}{error!r}{vars(error)}"
    assert error.hint
    return error


@pytest.fixture
def trusting(authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return {"ca_bundle": tmp_path / "ca.pem", "ca_mode": "replace"}


@pytest.mark.usefixtures("fresh_sdk")
@pytest.mark.parametrize("written", ["grpc://localhost:{port}", "https://localhost:{port}"])
def test_all_signals_arrive_over_grpc_with_their_headers(written: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-other=program")
    with GrpcCollector(authority).running() as collector:
        protocol = {} if written.startswith("grpc") else {"telemetry__protocol": "grpc"}
        settings = settings_for(authority, tmp_path, telemetry__headers="authorization=Bearer%20K", **protocol)
        assert setup_telemetry(endpoint=written.format(port=collector.port), settings=settings)
        with stage("embed"):
            get_metrics().count("x")
            get_logger("src.tests").warning("hello")
        shutdown_telemetry()
    assert [span.name for span in collector.spans] == ["rag.embed"]
    assert {name for name, _, _ in collector.received} == {"TraceService", "MetricsService", "LogsService"}
    assert all(metadata["authorization"] == "Bearer K" and "x-other" not in metadata for _, metadata, _ in collector.received)


def test_grpc_goes_through_our_proxy_and_round_it_as_the_policy_says(authority: trustme.CA, trusting: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "otel.company.test")
    monkeypatch.setenv("no_grpc_proxy", "otel.company.test")
    with (
        GrpcCollector(authority, "otel.company.test", "localhost").running() as collector,
        Proxy("u", "p:w", {"otel.company.test:4317": collector.port}).running() as proxy,
    ):
        through = NetworkCfg(proxy=SecretStr(f"http://127.0.0.1:{proxy.port}"), proxy_username="u", proxy_password=SecretStr("p:w"), **trusting)
        send("https://otel.company.test:4317", through)
        assert proxy.opened == ["otel.company.test:4317"]
        send(f"https://localhost:{collector.port}", through.model_copy(update={"no_proxy": ("localhost",)}))
        assert len(proxy.opened) == 1
        assert len(collector.received) == 2
        refused = failure("https://otel.company.test:4317", through.model_copy(update={"proxy_password": SecretStr("wrong")}))
        assert (refused.code, refused.setting) == ("unreachable", "network.proxy_username")
        proxy.forbidden.add("otel.company.test:4317")
        assert failure("https://otel.company.test:4317", through).setting == "network.proxy"


def test_our_certificate_is_shown_over_grpc(authority: trustme.CA, trusting: dict[str, Any], tmp_path: Path) -> None:
    shown = client_certificate(authority, tmp_path / "client.pem", "secret")
    with GrpcCollector(authority, demands_certificate=True).running() as collector:
        url = f"https://localhost:{collector.port}"
        send(url, NetworkCfg(client_certificate=shown, client_key_password=SecretStr("secret"), **trusting))
        assert len(collector.received) == 1
        assert failure(url, NetworkCfg(**trusting)).code in ("tls", "unreachable")


@pytest.mark.parametrize(
    ("code", "expected", "setting"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "service-credentials", "telemetry.endpoint"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded", "telemetry.endpoint"),
        (grpc.StatusCode.INTERNAL, "unavailable", "telemetry.endpoint"),
        (grpc.StatusCode.INVALID_ARGUMENT, "configuration", "telemetry.endpoint"),
    ],
)
def test_what_a_collector_answers_is_one_error(code: grpc.StatusCode, expected: str, setting: str, authority: trustme.CA, trusting: dict[str, Any]) -> None:
    with GrpcCollector(authority).running() as collector:
        collector.refused = code
        error = failure(f"https://localhost:{collector.port}", NetworkCfg(**trusting))
        assert (error.code, error.setting or setting) == (expected, setting)


def test_what_is_wrong_on_the_way_is_told_by_its_setting(authority: trustme.CA, trusting: dict[str, Any]) -> None:
    with GrpcCollector(trustme.CA(key_type=trustme.KeyType.ECDSA)).running() as stranger:
        assert failure(f"https://localhost:{stranger.port}", NetworkCfg(**trusting)).setting == "network.ca_bundle"
    with GrpcCollector(authority, "elsewhere.test").running() as other:
        error = failure(f"https://localhost:{other.port}", NetworkCfg(**trusting))
        assert (error.code, error.setting) == ("tls", "telemetry.endpoint")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://localhost:{silent.getsockname()[1]}"
        assert failure(url, NetworkCfg(**trusting), 0.5).code in ("deadline", "unreachable")
    assert failure(url, NetworkCfg(**trusting)).code == "unreachable"
    assert failure("https://no-such-host.invalid:4317", NetworkCfg(**trusting)).code == "unreachable"


def test_what_grpc_cannot_do_is_said_and_not_left_out(trusting: dict[str, Any]) -> None:
    tls_proxy = NetworkCfg(proxy=SecretStr("https://proxy.company.test:8443"), **trusting)
    for network, setting in ((tls_proxy, "network.proxy"), (NetworkCfg(tls_min_version="1.3", **trusting), "network.tls_min_version")):
        error = failure("https://otel.company.test:4317", network)
        assert isinstance(error, UnsupportedFeatureError)
        assert error.setting == setting


@pytest.mark.usefixtures("fresh_sdk")
def test_a_collector_without_logs_gets_none_over_grpc_either(tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), GrpcCollector(None).running() as collector:
        collector.unknown = {"LogsService", "MetricsService"}
        setup_telemetry(endpoint=f"grpc+insecure://localhost:{collector.port}", settings=settings_for(authority, tmp_path))
        with stage("embed"):
            get_logger("src.tests").warning("hello")
        shutdown_telemetry()
    assert [span.name for span in collector.spans] == ["rag.embed"]
    assert [record.__dict__["rag_fields"]["signal"] for record in caplog.records if "does not take this signal" in record.getMessage()] == ["logs", "metrics"]
