"""Stages of RAG, timed: one line at the call site, ``with stage("embed"):``.

Each stage is a span ``rag.NAME``, a value in the histogram ``rag.stage.duration`` (attribute ``rag.stage``), and a figure
in the timings of the request that runs it. Without an SDK in the process no call of OpenTelemetry's API is made, and
where nobody takes figures either, a stage costs what two readings of the clock do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from . import metrics, otel, recording, sdk
from .spans import begin, failure

if TYPE_CHECKING:
    from .running import RunningSpan

F = TypeVar("F", bound=Callable[..., Any])

HISTOGRAM = "rag.stage.duration"
_timings: ContextVar[dict[str, float] | None] = ContextVar("rag_timings", default=None)


@contextmanager
def collect_timings() -> Iterator[dict[str, float]]:
    """Collect the stages that run inside: ``{stage: milliseconds}``, repeats added up."""
    timings: dict[str, float] = {}
    token = _timings.set(timings)
    try:
        yield timings
    finally:
        _timings.reset(token)


def record_timing(name: str, milliseconds: float) -> None:
    """Add a figure to the timings of the request that is running, if one is, and to the histogram."""
    recording.add(name, milliseconds / 1000, own=False)
    _record(name, milliseconds)


def _record(name: str, milliseconds: float) -> None:
    timings = _timings.get()
    if timings is not None:
        timings[name] = timings.get(name, 0.0) + milliseconds
    metrics.record(HISTOGRAM, milliseconds / 1000, {"rag.stage": name})


def record_stage(name: str, milliseconds: float) -> None:
    """A stage that has just ended and was timed by other means: as `stage`, its span made in retrospect."""
    recording.add(name, milliseconds / 1000, own=True)
    _record(name, milliseconds)
    if otel.on():
        ended = time.time_ns()
        begin(f"rag.{name}", {}, current=False, start_ns=ended - int(milliseconds * 1e6)).end(end_ns=ended)


class stage:  # noqa: N801 - reads as a statement at the call site
    """Time a stage and make it a span; attributes are kept to numbers and short words, never content."""

    __slots__ = ("_attributes", "_frame", "_name", "_span", "_start")
    _timed = True

    def __init__(self, name: str, **attributes: str | int | float | bool) -> None:
        self._name = name
        self._attributes = attributes
        self._span: RunningSpan | None = None

    def __enter__(self) -> stage:
        if sdk.set_up():
            self._span = _begun(self._name, self._attributes)
        self._frame = recording.begin(root=not self._timed) if recording.sink is not None else None
        self._start = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        ended = time.perf_counter()
        seconds = ended - self._start
        if self._frame is not None:
            self._frame.end(self._name, self._start, ended, kind, error, self._span)
        timings = _timings.get()
        if timings is not None and self._timed:
            timings[self._name] = timings.get(self._name, 0.0) + seconds * 1000
        if self._span is not None or metrics.recording():
            self._recorded(seconds, kind, error)

    def _recorded(self, seconds: float, kind: type[BaseException] | None, error: BaseException | None) -> None:
        """The figure first: while the span runs, the figure can name it as an example."""
        failed = failure(kind, error) if kind is not None else ""
        metrics.record(HISTOGRAM, seconds, {"rag.stage": self._name, "error.type": failed} if failed else {"rag.stage": self._name})
        if self._span is not None:
            self._span.end(kind, error)


class operation(stage):  # noqa: N801 - as `stage`
    """What a caller asks for, around its stages: a span and a value of the histogram, and no figure among the stages'.

    Also a decorator of coroutine functions: ``@operation("retrieve")``.
    """

    __slots__ = ()
    _timed = False

    def __call__(self, function: F) -> F:
        name, attributes = self._name, self._attributes

        @wraps(function)
        async def within(*args: Any, **kwargs: Any) -> Any:
            with operation(name, **attributes):
                return await function(*args, **kwargs)

        return cast("F", within)


def _begun(name: str, attributes: Mapping[str, object]) -> RunningSpan:
    """Its name says which stage it is: an attribute that said so again would cost a tenth of it."""
    return begin(f"rag.{name}", {f"rag.{key}": value for key, value in attributes.items()})
