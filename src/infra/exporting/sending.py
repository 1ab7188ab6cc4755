"""The SDK's exporters, each guarded by what is known of the collector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter, ObservableGauge, ObservableUpDownCounter, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ...errors import RagError
from ...telemetry.logger import get_logger
from .collector import CollectorSession, Link, NotTakenError
from .plan import PATHS

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.trace import ReadableSpan

    from .grpc_session import GrpcSession

log = get_logger(__name__)

_CUMULATIVE: dict[type, AggregationTemporality] = dict.fromkeys(
    (Counter, UpDownCounter, Histogram, ObservableCounter, ObservableUpDownCounter, ObservableGauge), AggregationTemporality.CUMULATIVE
)
_BUCKETS: dict[type, Any] = {Histogram: ExplicitBucketHistogramAggregation()}


class _Guard:
    """Passes a batch on to an exporter while the collector is there, and takes the signal."""

    def __init__(self, signal: str, link: Link, session: CollectorSession | GrpcSession) -> None:
        self._signal = signal
        self._link = link
        self._session = session
        self._taken = True

    def sent(self, export: Callable[[], Any], success: object, count: int) -> bool:
        if not self._taken:
            return False

        def send() -> None:
            self._session.failure = None
            if export() is not success:
                failure: Exception | None = self._session.failure
                raise failure or RagError("Telemetry cannot be encoded.", setting="telemetry.signals")

        try:
            return self._link.attempt(send, count)
        except NotTakenError as found:
            self._taken = False
            log.warning("the collector does not take this signal; it is no longer sent", signal=self._signal, detail=str(found))
            return False


def common(endpoint: str, signal: str, session: CollectorSession | GrpcSession, timeout_s: float) -> dict[str, Any]:
    """What all exporters are told, so that they look for none of it in the environment."""
    return {
        "endpoint": endpoint + PATHS[signal],
        "session": session,
        "timeout": timeout_s,
        "compression": Compression.NoCompression,  # the session compresses, at a tenth of the cost
        "headers": {},
        "meter_provider": NoOpMeterProvider(),
    }


class PrivateSpans(SpanExporter):
    """Spans without what may be content, or with it redacted, to what exports them: on its thread, not while a request waits."""

    def __init__(self, then: SpanExporter, private: Callable[[ReadableSpan], ReadableSpan]) -> None:
        self._then = then
        self._private = private

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._then.export([self._private(span) for span in spans])

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._then.force_flush(timeout_millis)

    def shutdown(self) -> None:
        self._then.shutdown()


class GuardedSpans(SpanExporter):
    """Spans to the collector."""

    def __init__(self, endpoint: str, link: Link, session: CollectorSession | GrpcSession, timeout_s: float) -> None:
        self._guard = _Guard("traces", link, session)
        self._exporter = OTLPSpanExporter(**common(endpoint, "traces", session, timeout_s))

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        done = self._guard.sent(lambda: self._exporter.export(spans), SpanExportResult.SUCCESS, len(spans))
        return SpanExportResult.SUCCESS if done else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        return True

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the exporter gives it no types


class GuardedLogs(LogRecordExporter):
    """Log records to the collector."""

    def __init__(self, endpoint: str, link: Link, session: CollectorSession | GrpcSession, timeout_s: float) -> None:
        self._guard = _Guard("logs", link, session)
        self._exporter = OTLPLogExporter(**common(endpoint, "logs", session, timeout_s))

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        done = self._guard.sent(lambda: self._exporter.export(batch), LogRecordExportResult.SUCCESS, len(batch))
        return LogRecordExportResult.SUCCESS if done else LogRecordExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        return True

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the exporter gives it no types


class GuardedMetrics(MetricExporter):
    """Metrics to the collector, cumulative."""

    def __init__(self, endpoint: str, link: Link, session: CollectorSession | GrpcSession, timeout_s: float) -> None:
        super().__init__(preferred_temporality=dict(_CUMULATIVE), preferred_aggregation=dict(_BUCKETS))
        self._guard = _Guard("metrics", link, session)
        self._exporter = OTLPMetricExporter(
            **common(endpoint, "metrics", session, timeout_s), preferred_temporality=dict(_CUMULATIVE), preferred_aggregation=dict(_BUCKETS)
        )

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        count = 1
        done = self._guard.sent(lambda: self._exporter.export(metrics_data, timeout_millis), MetricExportResult.SUCCESS, count)
        return MetricExportResult.SUCCESS if done else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown()
