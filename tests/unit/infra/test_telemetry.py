from __future__ import annotations

import pytest

from src.errors import UnsupportedFeatureError
from src.infra.telemetry import get_metrics, setup_telemetry


def test_metrics_work_without_an_sdk() -> None:
    metrics = get_metrics()
    metrics.record_latency("search.duration", 12.5, mode="hybrid")
    metrics.count("search.degraded")
    assert get_metrics() is metrics


def test_asking_for_exporters_says_that_they_are_not_there() -> None:
    with pytest.raises(UnsupportedFeatureError, match=r"telemetry\.endpoint"):
        setup_telemetry(service_name="utilities-assistant", endpoint="https://jaeger.company.com")
