"""The one door for figures: a call here reaches OTel's SDK where one is set up, and `/metrics` where it is served. Otherwise it costs a look at two names.

What happens is recorded (`record`, `count`, `gauge`); what is so at any time is watched (`watch`) and read when somebody looks.
"""

from __future__ import annotations

import math
import re
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from ..core.identity import current_identity
from . import sdk
from .attributes import Labels, Value
from .logger import get_logger
from .metrics_catalogue import FIGURES, SECONDS, TENANT, Figure, Kind

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

T = TypeVar("T")
Point = tuple[float, Mapping[str, object]]
Key = tuple[tuple[str, Value], ...]
"""Attributes of a series, in one order."""

log = get_logger(__name__)

SCOPE = "founders-rag"
MILLION = 1_000_000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}")
"""What OTel's SDK takes as an instrument's name; it raises at others."""
MAX_OWN = 500
"""Figures that other code may make up; further ones are `OTHERS`."""
OTHERS = "rag.other"
MEMO = 5000
"""Sets of attributes whose bounded form is remembered."""


class Sink(Protocol):
    """Takes each figure as it is recorded; attributes are bounded already."""

    def add(self, figure: Figure, value: float, key: Key) -> None: ...


class Price(Protocol):
    """What a million tokens of a model cost, read and written."""

    @property
    def input(self) -> float: ...
    @property
    def output(self) -> float: ...


class _Door:
    """Where figures go, and what bounds their attributes."""

    def __init__(self) -> None:
        self.sink: Sink | None = None
        self.later: Callable[..., None] | None = None
        self.prices: Mapping[str, Price] = {}
        self.tenants = 0
        self._labels = Labels()
        self._memo: dict[object, Key] = {}
        self._own: dict[tuple[str, str], Figure] = {}
        self._metered_by: Any = None
        self._instruments: dict[tuple[str, Kind], Any] = {}
        self._observed: set[str] = set()
        self._refused: set[str] = set()

    def begin(self, sink: Sink | None, prices: Mapping[str, Price], tenants: int) -> None:
        self.sink, self.prices, self.tenants = sink, prices, tenants
        self._labels = Labels(own={TENANT: tenants})
        self._memo = {}

    def figure(self, name: str, kind: Kind, unit: str, bounds: tuple[float, ...]) -> Figure:
        """The catalogue's, or one that somebody else's code has made up."""
        found = FIGURES.get(name) or self._own.get((name, kind))
        if (found is None or found.kind != kind) and len(self._own) >= MAX_OWN:
            name = OTHERS
            found = self._own.get((name, kind))
        if found is None or found.kind != kind:
            found = self._own[name, kind] = Figure(name, kind, unit, "Recorded by code beside this package.", bounds=bounds)
        return found

    def key(self, figure: Figure, attributes: Mapping[str, object]) -> Key:
        """Attributes as they are kept: few, short, of bounded values."""
        tenant = _tenant() if figure.by_tenant and self.tenants else None
        try:
            given = (figure.name, *attributes.items(), *map(type, attributes.values()), tenant)
            found = self._memo.get(given)
        except TypeError:  # a value that cannot be a key
            return self._made(figure, attributes, tenant)
        if found is None:
            found = self._made(figure, attributes, tenant)
            if len(self._memo) >= MEMO:
                self._memo.clear()
            self._memo[given] = found
        return found

    def _made(self, figure: Figure, attributes: Mapping[str, object], tenant: str | None) -> Key:
        named = attributes if tenant is None else {**attributes, TENANT: tenant}
        if figure.name not in FIGURES:
            # Nobody has looked at what code beside this package says here. Loaded late: its expressions take 11 ms.
            from .redaction import redact, redact_value

            named = {redact(str(name)): redact_value(value, str(name)) for name, value in named.items()}
        return tuple(sorted(self._labels.of(figure.name, named).items()))

    def take(self, figure: Figure, value: float, attributes: Mapping[str, object]) -> None:
        key = self.key(figure, attributes)
        if self.sink is not None:
            self.sink.add(figure, value, key)
        if sdk.set_up():
            self._record(figure, value, key)

    def takes(self, name: str, value: object) -> bool:
        """Whether the figure has a name and a finite number; another would spoil its sum for good. If not, that is said once a name."""
        if isinstance(value, float | int | Real) and _is_finite(value) and (name in FIGURES or _NAME.fullmatch(name)):
            return True
        if name not in self._refused and len(self._refused) < MAX_OWN:
            self._refused.add(name)
            log.warning(
                "a figure is not taken: its name is not one of OpenTelemetry's, or its value no finite number", figure=name, value_type=type(value).__name__
            )
        return False

    def _record(self, figure: Figure, value: float, key: Key) -> None:
        if self.later is None:
            self._instrument(figure)(value, dict(key))
        else:
            self.later(_hand_on, self._instrument(figure), value, key)

    def _instrument(self, figure: Figure) -> Any:
        """What takes its values, of a provider's instrument that is made once; and those of figures that are watched."""
        from opentelemetry import metrics

        provider = metrics.get_meter_provider()
        if provider is not self._metered_by:
            self._instruments, self._observed, self._metered_by = {}, set(), provider
        if len(self._observed) != len(_watched):
            with _watching:
                for name in set(_watched) - self._observed:
                    self._observed.add(name)
                    _observe(provider.get_meter(SCOPE), FIGURES[name])
        made = self._instruments.get((figure.name, figure.kind))
        if made is None:
            more = {"explicit_bucket_boundaries_advisory": list(figure.bounds)} if figure.kind == "histogram" else {}
            create = getattr(provider.get_meter(SCOPE), f"create_{figure.kind}")
            taking = {"histogram": "record", "counter": "add", "gauge": "set"}[figure.kind]
            made = self._instruments[figure.name, figure.kind] = getattr(create(figure.name, unit=figure.unit, description=figure.help, **more), taking)
        return made


def _is_finite(value: float | Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def _hand_on(take: Callable[..., None], value: float, key: Key) -> None:
    take(value, dict(key))


_door = _Door()
_watched: dict[str, list[tuple[weakref.ref[Any], Callable[[Any], Iterable[Point]]]]] = {}
_watching = threading.RLock()  # reentrant: what the garbage collector ends under it may begin something


def recording() -> bool:
    """Whether a figure would go anywhere."""
    return _door.sink is not None or sdk.set_up()


def begin(sink: Sink | None, prices: Mapping[str, Price] | None = None, tenants: int = 0) -> None:
    """Say where figures go beside OTel (None: nowhere else), what models cost, and how many tenants are told apart (0: none).

    One a process; a later call replaces it.
    """
    _door.begin(sink, prices or {}, tenants)


def defer(later: Callable[..., None] | None) -> None:
    """Have OTel's instruments take figures by ``later(function, *arguments)``, and not while a request waits; None: at once."""
    _door.later = later


def configure(prices: Mapping[str, Price], tenants: int) -> None:
    """As `begin`, whoever takes figures at present."""
    _door.begin(_door.sink, prices, tenants)


def end() -> None:
    """Figures go to OTel alone from now on."""
    _door.sink = None


def record(name: str, value: float, attributes: Mapping[str, object], *, unit: str = "s", bounds: tuple[float, ...] = SECONDS) -> None:
    """Add a value to a histogram; one below 0, which no sum of these may hold, is left out. Unit and bounds are the catalogue's where it has the name."""
    if (_door.sink is not None or sdk.set_up()) and _door.takes(name, value) and value >= 0:
        _door.take(_door.figure(name, "histogram", unit, bounds), value, attributes)


def count(name: str, amount: float, attributes: Mapping[str, object], *, unit: str = "1") -> None:
    """Add to a counter; never less than nothing."""
    if (_door.sink is not None or sdk.set_up()) and _door.takes(name, amount):
        _door.take(_door.figure(name, "counter", unit, SECONDS), max(0.0, amount), attributes)


def gauge(name: str, value: float, attributes: Mapping[str, object], *, unit: str = "1") -> None:
    """Say what a figure is now."""
    if (_door.sink is not None or sdk.set_up()) and _door.takes(name, value):
        _door.take(_door.figure(name, "gauge", unit, SECONDS), value, attributes)


def count_cost(model: str, kind: str, tokens: int) -> None:
    """Add what tokens cost to `rag.cost`, where the model has a price.

    Args:
        kind: ``input`` or ``output``.
    """
    price = _door.prices.get(model)
    rate = 0.0 if price is None else price.input if kind == "input" else price.output
    if rate:
        count("rag.cost", tokens * rate / MILLION, {"gen_ai.request.model": model, "gen_ai.token.type": kind})


def watch(name: str, owner: T, read: Callable[[T], Iterable[Point]]) -> None:
    """Have a figure of the catalogue read whenever somebody looks, for as long as its owner lives.

    Args:
        read: gives the owner's values and their attributes at once: it asks nobody and waits for nothing. Called from any thread.
    """
    with _watching:
        found = _watched.setdefault(name, [])
        found[:] = [entry for entry in found if entry[0]() is not None]
        found.append((weakref.ref(owner), cast("Callable[[Any], Iterable[Point]]", read)))


def watch_pool(name: str, owner: T, used: Callable[[T], tuple[int, int]], limit: int) -> None:
    """`watch` a pool: its connections in use and idle ones, and how many it may have."""

    def connections(owner: T) -> Iterable[Point]:
        in_use, idle = used(owner)
        return [(in_use, {"rag.pool": name, "rag.state": "used"}), (idle, {"rag.pool": name, "rag.state": "idle"})]

    watch("rag.pool.connections", owner, connections)
    watch("rag.pool.limit", owner, lambda _: [(limit, {"rag.pool": name})])


def watched(name: str) -> Iterator[tuple[float, Key]]:
    """What the owners of a watched figure say now; values of the same attributes are added up."""
    sums: dict[Key, float] = {}
    with _watching:
        entries = list(_watched.get(name, ()))
    for reference, read in entries:
        owner = reference()
        if owner is None:
            continue
        try:
            points = list(read(owner))
        except (RuntimeError, AttributeError, KeyError):  # it changed while it was read, or is being closed
            continue
        for value, attributes in points:
            key = _door.key(FIGURES[name], attributes)
            sums[key] = sums.get(key, 0.0) + value
    yield from ((value, key) for key, value in sums.items())


def watched_names() -> list[str]:
    """Figures that somebody owns."""
    with _watching:
        return sorted(_watched)


def _observe(meter: Meter, figure: Figure) -> None:
    from opentelemetry.metrics import Observation

    def observe(_: Any) -> Iterator[Any]:
        return (Observation(value, dict(key)) for value, key in watched(figure.name))

    create = meter.create_observable_counter if figure.kind == "counter" else meter.create_observable_gauge
    create(figure.name, [observe], unit=figure.unit, description=figure.help)


def _tenant() -> str:
    identity = current_identity.get()
    return identity.tenant if identity is not None else ""
