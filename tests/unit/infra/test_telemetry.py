from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import ConfigurationError
from src.infra.config import TelemetryCfg
from src.infra.exporting.plan import base_of, headers_of, hop_of, over_grpc, plain_address, refusal
from src.infra.telemetry import get_metrics
from src.telemetry.attributes import MAX_ATTRIBUTES, MAX_LENGTH, OTHER, Labels, bounded


def test_metrics_work_without_an_sdk() -> None:
    metrics = get_metrics()
    metrics.record_latency("search.duration", 12.5, mode="hybrid")
    metrics.count("search.degraded")
    metrics.gauge("index.chunks", 3)
    assert get_metrics() is metrics


def test_without_an_sdk_the_api_is_not_even_imported() -> None:
    code = (
        "import sys; from src.infra.telemetry import get_metrics, trace_function; from src.telemetry.stages import stage, record_stage\n"
        "with stage('embed', texts=1): get_metrics().record_latency('x', 1.0)\n"
        "record_stage('persist', 1.0); trace_function(print)('done')\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("path", ["", "/", "/v1/traces", "/v1/logs", "/v1/metrics/"])
def test_an_endpoint_that_names_a_signal_s_path_is_understood(path: str) -> None:
    assert base_of(f"https://otel.bank.test:4318{path}") == "https://otel.bank.test:4318"
    assert base_of(f"https://otel.bank.test/otel{path}") == "https://otel.bank.test/otel"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("grpc://otel.bank.test", "https://otel.bank.test:4317"),
        ("grpcs://otel.bank.test:443/", "https://otel.bank.test:443"),
        ("grpc+insecure://[::1]:4317", "http://[::1]:4317"),
        ("https://otel.bank.test/otel", "https://otel.bank.test/otel"),
    ],
)
def test_an_address_of_grpc_is_over_tls_unless_it_says_otherwise(written: str, expected: str) -> None:
    assert plain_address(written) == expected
    assert over_grpc(TelemetryCfg(), written) == written.startswith("grpc")


def test_headers_are_read_as_they_are_written_elsewhere() -> None:
    assert headers_of("Authorization=Bearer%20a%3Db, x-bt-parent=project_id:7,") == {"authorization": "Bearer a=b", "x-bt-parent": "project_id:7"}


@given(st.text())
def test_headers_that_cannot_be_read_are_an_error_that_repeats_none_of_them(text: str) -> None:
    found: dict[str, str] = {}
    error = None
    try:
        found = headers_of(text)
    except ConfigurationError as caught:
        error = caught
    assert error is None or (error.setting == "telemetry.headers" and (len(text) < 40 or text not in str(error)))
    assert all("\n" not in value and "\r" not in value for value in found.values())


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.booleans(), st.binary()), max_size=60))
def test_attributes_are_few_short_and_utf_8(attributes: dict[str, object]) -> None:
    found = bounded(attributes)
    assert len(found) <= MAX_ATTRIBUTES
    for name, value in found.items():
        assert len(name.encode()) <= 4 * MAX_LENGTH
        assert not isinstance(value, str) or len(value) <= MAX_LENGTH


def test_ten_thousand_tenants_are_two_hundred_and_one_series() -> None:
    labels = Labels()
    series = {tuple(labels.of("rag.queries", {"tenant": f"t{number}"}).items()) for number in range(10_000)}
    assert len(series) == 201
    assert (("tenant", OTHER),) in series
    assert labels.of("rag.queries", {"tenant": "t1"}) == {"tenant": "t1"}


def test_a_collector_that_refuses_our_key_is_told_with_the_key_to_look_at() -> None:
    error = refusal(401, hop_of("https://otel.bank.test:4318/v1/traces"), 4318)
    assert error.hop == "https://otel.bank.test:4318"
    assert "telemetry.headers" in error.hint


def test_without_the_extra_it_is_told_how_to_install_it() -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from src.errors import MissingExtraError; from src.infra.settings import load_settings; from src.infra.telemetry import setup_telemetry\n"
        "try: setup_telemetry(endpoint='http://localhost:9', settings=load_settings(environ={}))\n"
        "except MissingExtraError as error: sys.exit(0 if 'founders-rag[otel]' in error.hint else 1)\n"
        "sys.exit(2)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
