"""Metrics, and the door to the OpenTelemetry SDK.

Instruments go through the OpenTelemetry API: without an SDK they cost nothing and go nowhere; under
``opentelemetry-instrument``, or any SDK that the process sets up, they are exported. Setting up the SDK and its
exporters here, through the network policy, is an issue of its own.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..errors import UnsupportedFeatureError

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, Meter

_lock = threading.Lock()
_metrics: Metrics | None = None


class Metrics:
    """Latencies and counts by name, as OpenTelemetry instruments made on first use."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._lock = threading.Lock()
        self._histograms: dict[str, Histogram] = {}
        self._counters: dict[str, Counter] = {}

    def record_latency(self, name: str, duration_ms: float, **attributes: str | int | bool) -> None:
        """Record a duration in milliseconds, such as ``search.duration``. Attributes are few and bounded: never ids or content."""
        with self._lock:
            if name not in self._histograms:
                self._histograms[name] = self._meter.create_histogram(f"rag.{name}", unit="ms")
        self._histograms[name].record(duration_ms, attributes)

    def count(self, name: str, amount: int = 1, **attributes: str | int | bool) -> None:
        """Add to a counter, such as ``search.degraded``."""
        with self._lock:
            if name not in self._counters:
                self._counters[name] = self._meter.create_counter(f"rag.{name}")
        self._counters[name].add(amount, attributes)


def get_metrics() -> Metrics:
    """The process's metrics."""
    global _metrics  # noqa: PLW0603 - one a process
    from opentelemetry.metrics import get_meter  # 40 ms: only processes that measure pay for it

    with _lock:
        if _metrics is None:
            _metrics = Metrics(get_meter("founders-rag"))
        return _metrics


def setup_telemetry(service_name: str = "founders-rag", endpoint: str | None = None) -> None:
    """Set up the SDK and its exporters.

    Raises:
        UnsupportedFeatureError: always: exporters are not part of this release.
    """
    raise UnsupportedFeatureError(
        f"Exporting telemetry of {service_name!r} is not part of this release.",
        setting="telemetry.endpoint" if endpoint else "telemetry.enabled",
        hint="Set up an SDK in the process, or run under opentelemetry-instrument: stages and metrics use the OpenTelemetry API.",
    )
