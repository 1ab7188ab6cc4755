"""Figures for Prometheus: what `metrics` hands over is kept here, and shown in its text formats when somebody asks.

Kept by our own lines rather than by `prometheus_client`'s counters, whose labels are fixed when they are made, and whose way of
sharing them among processes wants a variable of the environment and drops exemplars; its collectors and text formats are used.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..telemetry import metrics, sdk
from ..telemetry.attributes import Value
from ..telemetry.metrics_catalogue import FIGURES, Figure, exposed_label

if TYPE_CHECKING:
    from prometheus_client.core import CollectorRegistry, Metric

    from .config import Settings

MAX_SERIES = 2000
"""Of one figure; what comes beyond is added up in `OVERFLOW`, as OTel's SDK does."""
OVERFLOW: metrics.Key = (("otel.metric.overflow", True),)
Key = metrics.Key
Labelled = tuple[tuple[str, str], ...]
"""Labels of a series as Prometheus has them, in one order."""
_UNITS = frozenset({"seconds", "bytes"})


class Example(NamedTuple):
    """A trace in which a figure was recorded."""

    trace_id: int
    span_id: int
    value: float
    time: float


class Cell:
    """One series: its value, or what a histogram counts; and an example of each bucket."""

    __slots__ = ("buckets", "examples", "value")

    def __init__(self, bounds: int = 0) -> None:
        self.value = 0.0
        self.buckets = [0] * (bounds + 1) if bounds else []
        self.examples: dict[int, Example] = {}


class Store:
    """The figures of this process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: dict[str, Figure] = {}
        self._cells: dict[str, dict[Key, Cell]] = {}
        for figure in FIGURES.values():
            self._figures[figure.name] = figure
            cells = self._cells[figure.name] = {}
            if not (figure.labels or figure.by_tenant or figure.watched or figure.kind == "gauge"):
                cells[()] = _cell(figure)  # a counter that begins at 0 is not taken for one that was not there
            cells.update((tuple(sorted(key)), _cell(figure)) for key in figure.starts)

    def add(self, figure: Figure, value: float, key: Key) -> None:
        """As `metrics.Sink`."""
        try:
            value = float(value)
        except OverflowError:  # a whole number of more than 300 digits
            return
        example = _example(value) if sdk.set_up() and figure.kind != "gauge" else None
        with self._lock:
            if self._figures.setdefault(figure.name, figure).kind != figure.kind:
                return  # somebody's figure of the same name and another kind
            cell = self._cell(figure, key)
            place = 0
            if figure.kind == "histogram":
                place = bisect_left(figure.bounds, value)
                cell.buckets[place] += 1
            cell.value = value if figure.kind == "gauge" else cell.value + value
            if example is not None:
                cell.examples[place] = example

    def series(self) -> Iterator[tuple[Figure, list[tuple[Key, Cell]]]]:
        """Copies of all series, those of one figure as of one moment; figures that are watched are asked now."""
        for name, figure in list(self._figures.items()):
            if figure.watched:
                yield figure, list(_watched(name))
            else:
                with self._lock:
                    found = [(key, _copy(cell)) for key, cell in self._cells.get(name, {}).items()]
                yield figure, found

    def _cell(self, figure: Figure, key: Key) -> Cell:
        cells = self._cells.setdefault(figure.name, {})
        cell = cells.get(key)
        if cell is None:
            if len(cells) >= MAX_SERIES:
                key = OVERFLOW
            cell = cells.setdefault(key, _cell(figure))
        return cell


class Families:
    """Figures in the shape that `prometheus_client` writes.

    Args:
        stores: several are added up; of gauges the first one's value holds, of times the latest.
    """

    def __init__(self, *stores: Any) -> None:
        self._stores = stores

    def collect(self) -> Iterator[Metric]:
        """One family a figure, those without a value too: what there can be is seen from the first look on.

        Of figures whose names are one in Prometheus (``rag.a.b``, ``rag.a_b``) the first is shown: it refuses all where a name stands twice.
        """
        joined: dict[str, tuple[Figure, dict[Labelled, Cell]]] = {}
        for store in self._stores:
            for figure, cells in store.series():
                _, kept = joined.setdefault(figure.name, (figure, {}))
                for key, cell in cells:
                    _join(figure, kept, tuple(sorted({exposed_label(label): _text(value) for label, value in key}.items())), cell)
        taken: set[str] = set()
        for figure, kept in joined.values():
            names = _names(figure)
            if taken.isdisjoint(names):
                taken |= names
                yield _family(figure, kept.items())


@dataclass(frozen=True, slots=True)
class Price:
    """Of a million tokens that a model reads, and writes."""

    input: float
    output: float = 0.0


def prices_of(settings: Settings) -> dict[str, Price]:
    """What models cost: `[telemetry] prices`, and for the answering model what `[agent]` limits costs by."""
    agent, found = settings.agent, {}
    if agent.input_price or agent.output_price:
        found[settings.chat.model] = Price(agent.input_price or 0.0, agent.output_price or 0.0)
    for entry in settings.telemetry.prices:
        model, _, figures = entry.rpartition("=")
        read, _, written = figures.partition("/")
        found[model.strip()] = Price(float(read), float(written or 0))
    return found


_lock = threading.Lock()
_store: Store | None = None
_users = 0


def start_metrics(settings: Settings) -> bool:
    """Keep figures from now on, where `[telemetry] metrics` is on; each good call is ended by one of `stop_metrics`."""
    global _store, _users  # noqa: PLW0603 - a process has one set of figures
    if not settings.telemetry.metrics:
        return False
    with _lock:
        _users += 1
        if _store is None:
            _store = Store()
            metrics.begin(_store, prices_of(settings), settings.telemetry.metrics_tenants)
    return True


def stop_metrics() -> None:
    """Keep none any more, once all who started it have stopped."""
    global _store, _users  # noqa: PLW0603 - as above
    with _lock:
        _users -= 1
        if _users == 0:
            _store = None
            metrics.end()


def current_store() -> Store | None:
    """Where this process keeps its figures; None where it keeps none."""
    return _store


def scrape(accept: str, more: Iterable[Any] = ()) -> tuple[bytes, str]:
    """All figures as text, and its content type: OpenMetrics, with exemplars, for who takes it, else Prometheus' own format.

    Asks no other service; a thread's work all the same, for it takes milliseconds.

    Args:
        accept: header of the request.
        more: further stores, such as what commands left behind.
    """
    from prometheus_client.exposition import choose_encoder

    store = _store
    registry = _registry(*([store] if store is not None else []), *more)
    try:
        encode, content_type = choose_encoder(accept)
    except (ValueError, TypeError):  # a version that is no number
        encode, content_type = choose_encoder("")
    return encode(registry), content_type


def _registry(*stores: Any) -> CollectorRegistry:
    from prometheus_client.core import CollectorRegistry
    from prometheus_client.process_collector import ProcessCollector

    registry = CollectorRegistry()
    registry.register(Families(*stores))
    ProcessCollector(registry=registry)
    return registry


def _cell(figure: Figure) -> Cell:
    return Cell(len(figure.bounds)) if figure.kind == "histogram" else Cell()


def _copy(cell: Cell) -> Cell:
    made = Cell()
    made.value, made.buckets, made.examples = cell.value, list(cell.buckets), dict(cell.examples)
    return made


def _watched(name: str) -> Iterator[tuple[Key, Cell]]:
    for value, key in metrics.watched(name):
        cell = Cell()
        cell.value = value
        yield key, cell


def _names(figure: Figure) -> set[str]:
    """All that its family puts into the text."""
    name = figure.exposed
    if figure.kind == "histogram":
        return {name, *(f"{name}_{part}" for part in ("bucket", "sum", "count"))}
    return {name, name.removesuffix("_total")}


def _join(figure: Figure, kept: dict[Labelled, Cell], key: Labelled, cell: Cell) -> None:
    known = kept.setdefault(key, cell)
    if known is cell:
        return
    if figure.kind == "gauge":
        known.value = max(known.value, cell.value) if figure.name.endswith(".timestamp") else known.value
        return
    known.value += cell.value
    known.buckets = [mine + theirs for mine, theirs in zip(known.buckets, cell.buckets, strict=True)]


def _example(value: float) -> Example | None:
    """The span that is running, where it is one that gets exported."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return Example(context.trace_id, context.span_id, value, time.time()) if context.is_valid and context.trace_flags.sampled else None


def _family(figure: Figure, cells: Iterable[tuple[Labelled, Cell]]) -> Metric:
    from prometheus_client.core import Metric

    name = figure.exposed
    unit = name.removesuffix("_total").rpartition("_")[2]
    family = Metric(name.removesuffix("_total") if figure.kind == "counter" else name, figure.help, figure.kind, unit if unit in _UNITS else "")
    for key, cell in cells:
        labels = dict(key)
        if figure.kind == "histogram":
            _histogram(family, name, labels, figure, cell)
        else:
            family.add_sample(name, labels, cell.value, None, _exemplar(cell.examples.get(0)))
    return family


def _histogram(family: Metric, name: str, labels: Mapping[str, str], figure: Figure, cell: Cell) -> None:
    counted = 0
    for place, bound in enumerate((*figure.bounds, float("inf"))):
        counted += cell.buckets[place]
        family.add_sample(f"{name}_bucket", {**labels, "le": _bound(bound)}, counted, None, _exemplar(cell.examples.get(place)))
    family.add_sample(f"{name}_count", dict(labels), counted)
    family.add_sample(f"{name}_sum", dict(labels), cell.value)


def _exemplar(example: Example | None) -> Any:
    if example is None:
        return None
    from prometheus_client.core import Exemplar

    return Exemplar({"trace_id": f"{example.trace_id:032x}", "span_id": f"{example.span_id:016x}"}, example.value, round(example.time, 3))


def _bound(bound: float) -> str:
    """As Prometheus writes it, so that a series keeps its name whoever exposes it."""
    from prometheus_client.utils import floatToGoString

    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]  # the library gives it no types


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
