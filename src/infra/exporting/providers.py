"""The SDK's providers of traces, metrics and logs, set up once a process, and their end within a deadline.

All that the SDK would read from ``OTEL_…`` variables is given to it, so that those of other programs change nothing.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk._logs import LoggerProvider, LogRecordLimits
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, ConsoleLogRecordExporter, LogRecordExporter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ...errors import MissingExtraError
from ...telemetry import running
from ...telemetry.attributes import MAX_ATTRIBUTES
from ...telemetry.content import MAX_MESSAGES
from ...telemetry.logger import get_logger
from ...telemetry.metrics import SCOPE, defer
from .collector import CollectorSession, Link
from .keeping import HeadSampler, Keeping
from .later import Later
from .light import LightTracer
from .privacy import with_redacted_content, without_content
from .records import MAX_TEXT, ExportingHandler
from .sending import GuardedLogs, GuardedMetrics, GuardedSpans, PrivateSpans

if TYPE_CHECKING:
    from ..config import TelemetryCfg
    from ..network import NetworkPolicy
    from .grpc_session import GrpcSession

log = get_logger(__name__)

BATCH = 256
DELAY_MS = 5000.0
"""Between two exports where there is little to export."""
ATTRIBUTES = 2 * MAX_ATTRIBUTES
"""Of a span at most, also where another library makes it."""
_NOISY = ("opentelemetry.sdk._shared_internal", "opentelemetry.exporter.otlp.proto.http", "opentelemetry.sdk.metrics._internal.export")
"""They log each batch that fails and each span that finds the queue full; `Link` says it once."""


class _Source(Resource):
    """A resource that knows its hash: the encoder asks for it with each span and record, and the SDK's writes it as JSON each time (8 µs)."""

    def __init__(self, attributes: dict[str, str]) -> None:
        super().__init__(attributes)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)


class _Silence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return False


@dataclass(slots=True)
class Providers:
    """What was set up, to be shut down at the end of the process."""

    service_name: str
    endpoint: str
    link: Link | None
    flush_timeout_s: float
    tracer: TracerProvider | None = None
    meter: MeterProvider | None = None
    logger: LoggerProvider | None = None
    handler: ExportingHandler | None = None
    later: Later = field(kw_only=True)
    _silence: _Silence = field(default_factory=_Silence)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def quieten(self) -> None:
        for name in _noisy_loggers():
            logging.getLogger(name).addFilter(self._silence)

    def flush(self) -> None:
        """Export now what waits. Takes as long as that takes."""
        self.later.flush()
        for provider in (self.tracer, self.logger, self.meter):
            if provider is not None:
                provider.force_flush()

    def shutdown(self, timeout_s: float | None = None) -> None:
        """Export what waits, within a time (by default `[telemetry] flush_timeout_s`), and end. Again is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        seconds = self.flush_timeout_s if timeout_s is None else timeout_s
        if self.link is not None:
            self.link.close(seconds)
        if self.handler is not None:
            logging.getLogger().removeHandler(self.handler)
        running.use(None)
        defer(None)
        ends = time.monotonic() + seconds
        _ended(self.later.close, ends)
        for provider in (self.tracer, self.logger, self.meter):
            if provider is not None:
                _ended(provider.shutdown, ends)
        atexit.unregister(self.shutdown)
        for name in _noisy_loggers():
            logging.getLogger(name).removeFilter(self._silence)


def _ended(shutdown: Callable[[], Any], ends: float) -> None:
    """Run a provider's end, and wait no longer than there is time; the exporters themselves stop at it, too."""
    thread = threading.Thread(target=shutdown, name="rag-otel-end", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # since Python 3.12 none is started once the interpreter ends
        shutdown()
        return
    thread.join(max(0.05, ends - time.monotonic()))


def set_up(cfg: TelemetryCfg, network: NetworkPolicy, attributes: dict[str, str], endpoint: str, *, grpc: bool = False) -> Providers:
    """Make the providers and hand them to the OpenTelemetry API.

    Args:
        attributes: of the resource; ``service.name`` is among them.
        endpoint: of the collector; empty where it is none.
        grpc: the collector is spoken with over gRPC.

    Raises:
        MissingExtraError: the extra `otel-grpc` is not installed.
    """
    speaking: type[CollectorSession] | type[GrpcSession] = _grpc_session() if grpc else CollectorSession
    link = Link(endpoint) if endpoint else None
    made = Providers(attributes["service.name"], endpoint, link, cfg.flush_timeout_s, later=Later(cfg.queue_size))
    resource = _Source(_with_process(attributes))

    def session() -> CollectorSession | GrpcSession:
        assert link is not None
        return speaking(link, network, cfg.timeout_s, cfg.headers)

    if "traces" in cfg.signals:
        _trace(made, cfg, resource, session)
    if "metrics" in cfg.signals:
        _meter(made, cfg, resource, session)
    if "logs" in cfg.signals:
        _log(made, cfg, resource, session)
    made.quieten()
    atexit.register(made.shutdown)
    return made


def _grpc_session() -> type[GrpcSession]:
    try:
        from .grpc_session import GrpcSession
    except ImportError:
        text, hint = "OTLP over gRPC needs the extra `otel-grpc`, which is not installed.", "Install it with: pip install 'founders-rag[otel-grpc]'"
        raise MissingExtraError(text, setting="telemetry.protocol", hint=f"{hint}; or use protocol = http.") from None
    return GrpcSession


def _trace(made: Providers, cfg: TelemetryCfg, resource: Resource, session: Callable[[], CollectorSession | GrpcSession]) -> None:
    to_traces = cfg.capture_content and cfg.content_to == "traces"
    limits = SpanLimits(
        max_attributes=ATTRIBUTES,
        max_events=32,
        max_links=8,
        max_event_attributes=ATTRIBUTES,
        max_link_attributes=ATTRIBUTES,
        max_attribute_length=MAX_TEXT,
        max_span_attributes=ATTRIBUTES,
        max_span_attribute_length=MAX_MESSAGES if to_traces else MAX_TEXT,
    )
    sampler = HeadSampler(cfg.sample_ratio)
    made.tracer = TracerProvider(sampler, resource, shutdown_on_exit=False, span_limits=limits, meter_provider=NoOpMeterProvider())
    exporter: SpanExporter | None = None
    if made.link is not None:
        exporter = GuardedSpans(made.endpoint, made.link, session(), cfg.timeout_s)
    elif cfg.exporter == "console":
        exporter = ConsoleSpanExporter(out=sys.stderr)
    if exporter is not None:
        exporter = PrivateSpans(exporter, with_redacted_content if to_traces else without_content)
        batch = BatchSpanProcessor(exporter, cfg.queue_size, DELAY_MS, BATCH, cfg.timeout_s * 1000, meter_provider=NoOpMeterProvider())
        keeping = Keeping(batch, cfg.slow_ms)
        made.tracer.add_span_processor(keeping)
        longest = MAX_MESSAGES if to_traces else MAX_TEXT
        if not isinstance(made.tracer.get_tracer(SCOPE), trace.NoOpTracer):  # OTEL_SDK_DISABLED
            scope = InstrumentationScope(SCOPE, "", "")
            running.use(LightTracer(sampler, keeping, made.later.put, resource, scope, most=ATTRIBUTES, longest=longest))
    trace.set_tracer_provider(made.tracer)


def _meter(made: Providers, cfg: TelemetryCfg, resource: Resource, session: Callable[[], CollectorSession | GrpcSession]) -> None:
    exporter: MetricExporter | None = None
    if made.link is not None:
        exporter = GuardedMetrics(made.endpoint, made.link, session(), cfg.timeout_s)
    elif cfg.exporter == "console":
        exporter = ConsoleMetricExporter(out=sys.stderr)
    readers = [PeriodicExportingMetricReader(exporter, cfg.metrics_interval_s * 1000, cfg.timeout_s * 1000)] if exporter is not None else []
    made.meter = MeterProvider(readers, resource, AlwaysOffExemplarFilter(), shutdown_on_exit=False)
    metrics.set_meter_provider(made.meter)
    defer(made.later.put)


def _log(made: Providers, cfg: TelemetryCfg, resource: Resource, session: Callable[[], CollectorSession | GrpcSession]) -> None:
    limits = LogRecordLimits(
        max_attributes=ATTRIBUTES, max_attribute_length=MAX_TEXT, max_log_record_attributes=ATTRIBUTES, max_log_record_attribute_length=MAX_TEXT
    )
    made.logger = LoggerProvider(resource, shutdown_on_exit=False, meter_provider=NoOpMeterProvider(), log_record_limits=limits)
    exporter: LogRecordExporter | None = None
    if made.link is not None:
        exporter = GuardedLogs(made.endpoint, made.link, session(), cfg.timeout_s)
    elif cfg.exporter == "console":
        exporter = ConsoleLogRecordExporter(out=sys.stderr)
    if exporter is not None:
        batch = BatchLogRecordProcessor(exporter, DELAY_MS, BATCH, cfg.timeout_s * 1000, cfg.queue_size, meter_provider=NoOpMeterProvider())
        made.logger.add_log_record_processor(batch)
        made.handler = ExportingHandler(made.logger, made.later.put)
        logging.getLogger().addHandler(made.handler)


def _with_process(attributes: dict[str, str]) -> dict[str, str]:
    """What the SDK would add, and this package's version; a resource that is made in full asks no variable."""
    found = {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": _version("opentelemetry-sdk"),
        "service.version": _version("founders-rag"),
        "service.instance.id": uuid.uuid4().hex,
    }
    return {**found, **attributes}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"


def _noisy_loggers() -> list[str]:
    """Loggers do not hand filters down: each one that lies below is named."""
    return [name for name in list(logging.root.manager.loggerDict) if name.startswith(_NOISY)]
