"""The way to the collector, failing in each way that a network knows: one class of error, the setting responsible, and the proxy where there is one."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from src.errors import RagError
from src.infra.config import NetworkCfg
from src.infra.exporting.collector import CollectorSession, Link, NotTakenError
from src.infra.network import NetworkPolicy
from tests.emulators.collector import Collector
from tests.emulators.proxy import Proxy
from tests.integration.telemetry_parts import authority

__all__ = ["authority"]

SECRET = "CANARY-collector-key"


def failure(url: str, network: NetworkCfg, timeout_s: float = 20.0) -> RagError:
    """What an export fails with, the error told once more by the session for the exporter that drops it."""
    session = CollectorSession(Link(url), NetworkPolicy(network), timeout_s, SecretStr(f"authorization=Bearer%20{SECRET}"))
    try:
        with pytest.raises((RagError, NotTakenError)) as caught:
            session.request("POST", f"{url}/v1/traces", data=b"\x0a\x00")
    finally:
        session.close()
    error = session.failure.error if isinstance(session.failure, NotTakenError) else session.failure
    assert error is not None
    assert caught.value is session.failure
    assert SECRET not in f"{error}{error!r}{vars(error)}"
    assert error.hint
    return error


@pytest.mark.parametrize(
    ("way", "code", "setting", "timeout_s"),
    [
        ("close", "unreachable", "telemetry.endpoint", 20),
        ("cut", "unreachable", "telemetry.endpoint", 20),
        ("garbage", "foreign-service", "telemetry.endpoint", 20),
        ("plain", "tls", "telemetry.endpoint", 20),
        (401, "service-credentials", "telemetry.endpoint", 20),
        (403, "service-credentials", "telemetry.endpoint", 20),
        (302, "foreign-service", "telemetry.endpoint", 20),
        (400, "configuration", "telemetry.endpoint", 20),
        (404, "configuration", "telemetry.endpoint", 20),
        (407, "unreachable", "network.proxy_username", 20),
        (429, "overloaded", "telemetry.endpoint", 20),
        (500, "unavailable", "telemetry.endpoint", 20),
        (503, "unavailable", "telemetry.endpoint", 20),
        (504, "deadline", "telemetry.endpoint", 20),
    ],
)
def test_each_fault_is_one_error_with_its_setting(way: Any, code: str, setting: str, timeout_s: float, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Collector(authority).running() as collector:
        if isinstance(way, int):
            collector.status = way
        else:
            collector.way = way
        error = failure(collector.url, NetworkCfg(ca_bundle=tmp_path / "ca.pem", ca_mode="replace"), timeout_s)
        assert (error.code, error.setting) == (code, setting)
        assert collector.url in error.hop


def test_a_silent_collector_is_told_by_its_time_limit(authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Collector(authority, way="silent").running() as collector:
        error = failure(collector.url, NetworkCfg(ca_bundle=tmp_path / "ca.pem", connect_timeout_s=0.3))
        assert error.setting == "telemetry.endpoint"
        assert error.code == "unreachable"


@pytest.mark.parametrize(
    ("made", "trusted", "setting"),
    [
        (lambda own: Collector(trustme.CA()), True, "network.ca_bundle"),
        (lambda own: Collector(own, expired=True), True, "telemetry.endpoint"),
        (lambda own: Collector(own, "elsewhere.test"), True, "telemetry.endpoint"),
    ],
    ids=["authority", "expired", "name"],
)
def test_a_certificate_that_is_not_good_is_told_by_what_is_wrong_with_it(
    made: Callable[[trustme.CA], Collector], trusted: bool, setting: str, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with made(authority).running() as collector:
        error = failure(collector.url, NetworkCfg(ca_bundle=tmp_path / "ca.pem", ca_mode="replace"))
        assert (error.code, error.setting) == ("tls", setting)
        assert collector.requests == 0


@pytest.mark.parametrize("url", ["https://localhost:{closed}", "https://no-such-host.invalid"])
def test_nobody_there_is_told_by_the_endpoint(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(url.format(closed=port), NetworkCfg())
    assert (error.code, error.setting) == ("unreachable", "telemetry.endpoint")


@pytest.mark.parametrize(("password", "forbidden", "setting"), [("wrong", False, "network.proxy_username"), ("right", True, "network.proxy")])
def test_a_proxy_that_refuses_is_told_as_the_proxy(password: str, forbidden: bool, setting: str, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Collector(authority, "otel.company.test").running() as collector, Proxy("u", "right", {"otel.company.test:4318": collector.port}).running() as proxy:
        if forbidden:
            proxy.forbidden.add("otel.company.test:4318")
        network = NetworkCfg(
            ca_bundle=tmp_path / "ca.pem", proxy=SecretStr(f"http://127.0.0.1:{proxy.port}"), proxy_username="u", proxy_password=SecretStr(password)
        )
        error = failure("https://otel.company.test:4318", network)
        assert (error.code, error.setting, error.proxy) == ("unreachable", setting, f"http://127.0.0.1:{proxy.port}")
        assert collector.requests == 0


def test_a_certificate_of_ours_is_shown_where_the_collector_asks_for_one(authority: trustme.CA, tmp_path: Path) -> None:
    from tests.emulators.service import client_certificate

    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    shown = client_certificate(authority, tmp_path / "client.pem", name="rag")
    with Collector(authority, demands_certificate=True).running() as collector:
        policy = NetworkPolicy(NetworkCfg(ca_bundle=tmp_path / "ca.pem", client_certificate=shown))
        session = CollectorSession(Link(collector.url), policy, 20.0, None)
        assert session.request("POST", f"{collector.url}/v1/traces", data=b"").status_code == 200
        session.close()
        assert collector.clients == ["rag"]
        error = failure(collector.url, NetworkCfg(ca_bundle=tmp_path / "ca.pem"))
        assert error.setting in ("network.client_certificate", "telemetry.endpoint")
