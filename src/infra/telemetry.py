"""Telemetry of the process: `setup_telemetry` sets up OTel's SDK and its exporters, `get_metrics` and `trace_function` are for users' own code.

Nothing is loaded before it is needed: without `setup_telemetry` (or ``opentelemetry-instrument``, or another SDK in the
process) neither SDK nor API is imported, and metrics go nowhere at no cost.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from ..errors import MissingExtraError
from ..telemetry import metrics, otel, sdk
from ..telemetry.logger import get_logger
from ..telemetry.metrics_catalogue import SECONDS

if TYPE_CHECKING:
    from .config import Settings
    from .exporting.providers import Providers
    from .network import NetworkPolicy

P = ParamSpec("P")
R = TypeVar("R")

log = get_logger(__name__)

_lock = threading.Lock()
_providers: Providers | None = None
_foreign = False
MODES = frozenset({"bm25", "knn", "hybrid"})
MILLISECONDS = tuple(1000 * bound for bound in SECONDS)


def setup_telemetry(
    service_name: str | None = None, endpoint: str | None = None, *, settings: Settings | None = None, network: NetworkPolicy | None = None
) -> bool:
    """Set up traces, metrics and logs, and send them where `[telemetry]` says. Again does nothing.

    Where the process has an SDK already (``opentelemetry-instrument``, or code of its own), that one is used as it is.

    Args:
        service_name: instead of `[telemetry] service_name`.
        endpoint: of an OTLP receiver, as https://host:4318 or grpc://host:4317, instead of `[telemetry] endpoint`.
        settings: loaded when left out.
        network: the outbound policy; made from ``settings`` when left out.

    Returns:
        Whether this process now exports through what was set up here.

    Raises:
        ConfigurationError: no collector is named, or what is configured for it cannot be used.
        MissingExtraError: the extra `otel`, or `otel-grpc`, is not installed.
    """
    global _providers, _foreign  # noqa: PLW0603 - one SDK a process is OTel's own rule
    with _lock:
        if _providers is not None:
            if endpoint not in (None, _providers.endpoint):
                log.warning("telemetry is set up already, for another collector", collector=_providers.endpoint)
            return True
        if sdk.MODULE in sys.modules and sdk.look():
            if not _foreign:
                log.info("this process has an OpenTelemetry SDK already; nothing is set up beside it")
            _foreign = True
            return False
        _providers = _set_up(service_name, endpoint, settings, network)
        sdk.look()
        return True


def shutdown_telemetry(timeout_s: float | None = None) -> None:
    """Export what waits and end, within so many seconds (by default `[telemetry] flush_timeout_s`). The end of the process does it by itself."""
    found = _providers
    if found is not None:
        found.shutdown(timeout_s)


def flush_telemetry() -> None:
    """Export now what waits; of use in tests, and before a process is frozen."""
    found = _providers
    if found is not None:
        found.flush()


def _set_up(service_name: str | None, endpoint: str | None, settings: Settings | None, network: NetworkPolicy | None) -> Providers:
    from .capturing import set_up_privacy
    from .exporting.plan import attributes_of, base_of, endpoint_of, headers_of, over_grpc

    if settings is None:
        from .settings import load_settings

        settings = load_settings()
    cfg = settings.telemetry
    set_up_privacy(settings)
    attributes = attributes_of(settings, service_name or cfg.service_name)
    base = base_of(endpoint_of(cfg, endpoint)) if endpoint or cfg.exporter == "otlp" else ""
    if cfg.headers is not None:
        headers_of(cfg.headers.get_secret_value())
    if network is None:
        from .network import NetworkPolicy

        network = NetworkPolicy(settings.network)
    try:
        from .exporting.providers import set_up
    except ImportError:
        text, hint = "Exporting telemetry needs the extra `otel`, which is not installed.", "Install it with: pip install 'founders-rag[otel]'"
        raise MissingExtraError(text, setting="telemetry.enabled", hint=hint) from None
    from .metrics import prices_of

    metrics.configure(prices_of(settings), cfg.metrics_tenants)
    return set_up(cfg, network, attributes, base, grpc=bool(base) and over_grpc(cfg, endpoint))


class Metrics:
    """Latencies, counts and gauges by name, as OpenTelemetry instruments under the prefix ``rag.``.

    Names are OpenTelemetry's (a letter, then letters, digits and ``_ . - /``), values finite numbers; others are left out and said once in the log.
    Attributes are few and bounded, never ids or content, and redacted: after 200 values of one, further ones count as ``_other``.
    """

    def record_latency(self, name: str, duration_ms: float, **attributes: str | int | bool) -> None:
        """Record a duration in milliseconds, such as ``search.duration``."""
        metrics.record(f"rag.{name}", duration_ms, attributes, unit="ms", bounds=MILLISECONDS)

    def count(self, name: str, amount: float = 1, **attributes: str | int | bool) -> None:
        """Add to a counter, such as ``search.degraded``."""
        metrics.count(f"rag.{name}", amount, attributes)

    def gauge(self, name: str, value: float, **attributes: str | int | bool) -> None:
        """Say what a figure is now, such as ``index.chunks``."""
        metrics.gauge(f"rag.{name}", value, attributes)


_METRICS = Metrics()


def get_metrics() -> Metrics:
    """The process's metrics."""
    return _METRICS


def record_query(mode: str = "hybrid", **attributes: str | int | bool) -> None:
    """Count a question, by the mode of its search; never the question itself. A mode that there is not counts as ``other``."""
    metrics.count("rag.queries", 1, {"mode": _known(mode), **attributes})


def record_query_duration(duration_ms: float, mode: str = "hybrid", **attributes: str | int | bool) -> None:
    """Record how long a question took, in milliseconds."""
    metrics.record("rag.query.duration", duration_ms, {"mode": _known(mode), **attributes}, unit="ms", bounds=MILLISECONDS)


def _known(mode: object) -> str:
    """Whoever takes ``record_query`` for something that wants the question shall not find it in the figures."""
    return mode if isinstance(mode, str) and mode in MODES else "other"


def record_embedding(texts: int, duration_ms: float, model: str = "", **attributes: str | int | bool) -> None:
    """Record that texts were embedded: how many, and how long it took, in milliseconds."""
    labels = {"model": model or None, **attributes}
    metrics.count("rag.embedded_texts", texts, labels)
    metrics.record("rag.embedding.duration", duration_ms, labels, unit="ms", bounds=MILLISECONDS)


@overload
def trace_function(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def trace_function(name: str | None = None, /, **attributes: str | int | bool) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def trace_function(given: Callable[..., Any] | str | None = None, /, **attributes: str | int | bool) -> Callable[..., Any]:
    """Make each call of a function a span: ``@trace_function``, or ``@trace_function("prices.look_up", kind="batch")``.

    For functions, and for coroutine functions; arguments and results are not recorded, of an exception only its kind.

    Raises:
        TypeError: the function is a generator, whose call does not do its work.
    """
    if callable(given):
        return _traced(given, given.__qualname__, attributes)
    return lambda function: _traced(function, given or function.__qualname__, attributes)


def _traced(function: Callable[P, R], name: str, attributes: dict[str, str | int | bool]) -> Callable[P, R]:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{name} is a generator: calling it does none of its work. Trace what it calls, or who reads it.")
    from ..telemetry.spans import begin

    labels = {f"rag.{key}": value for key, value in attributes.items()}

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def waiting(*args: P.args, **kwargs: P.kwargs) -> Any:
            span = begin(name, labels) if otel.on() else None
            try:
                found = await function(*args, **kwargs)
            except BaseException as error:
                if span is not None:
                    span.end(type(error), error)
                raise
            if span is not None:
                span.end()
            return found

        return cast("Callable[P, R]", waiting)

    @wraps(function)
    def running(*args: P.args, **kwargs: P.kwargs) -> R:
        if not otel.on():
            return function(*args, **kwargs)
        span = begin(name, labels)
        try:
            found = function(*args, **kwargs)
        except BaseException as error:
            span.end(type(error), error)
            raise
        span.end()
        return found

    return running
