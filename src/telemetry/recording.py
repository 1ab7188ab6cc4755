"""What the stages of a request took, handed on when it ends: for the hotspots, which need neither an SDK nor a collector.

A request is the outermost `operation` of `stages.py`. Of each stage in it are told its duration and its own time: what
no stage within it covers, counted once where several run side by side. Figures and names alone, never content.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ..core.identity import DEFAULT_TENANT, current_identity
from . import otel
from .attributes import MAX_LENGTH
from .redaction import redact_part
from .spans import CANCELLED, error_type

if TYPE_CHECKING:
    from .running import RunningSpan

MOST_CALLS = 512
"""Stages of a request that are held until it ends; of longer ones, such as an ingestion, they are handed on before."""
MOST_SPANS = 64
"""Stretches of a stage that are remembered as covered; older ones become a sum."""
MOST_REASONS = 8
CANCELLED_WORD = "cancelled"
"""What `Finished.failed` says where a caller went away."""

_CODES = re.compile(r"[a-z0-9_.-]+(, [a-z0-9_.-]+){0,4}")

Call = tuple[str, float, float]
"""A stage, its seconds, and those of them that are its own."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A request that ended. ``own`` are the seconds of its stages; ``failed`` a code, empty where it went well."""

    kind: str
    tenant: str
    ended: float
    seconds: float
    own: dict[str, float]
    failed: str = ""
    degraded: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    correlation_id: str = ""
    trace_id: str = ""


class Sink(Protocol):
    """Takes what requests took. Called on the request's own thread: it has to be quick, and must not fail."""

    def calls(self, tenant: str, calls: Sequence[Call]) -> None: ...

    def finished(self, request: Finished) -> None: ...


sink: Sink | None = None
"""Where requests are told to; without one nothing is recorded. Set by `listen`."""
_inside: ContextVar[Frame | None] = ContextVar("rag_frame", default=None)


def listen(listener: Sink | None) -> None:
    """Tell requests to ``listener`` from now on, or to nobody."""
    global sink  # noqa: PLW0603 - one a process, as the SDK of OTel
    sink = listener


def begin(*, root: bool) -> Frame | None:
    """A stage begins; None outside of a request, unless ``root`` begins one."""
    outer = _inside.get()
    if outer is None and not root:
        return None
    frame = Frame(outer)
    _inside.set(frame)
    return frame


def add(name: str, seconds: float, *, own: bool) -> None:
    """A figure of the running request that was measured by other means; with ``own`` a stage that has just ended."""
    if sink is None or (frame := _inside.get()) is None:
        return
    frame.recording.add(name, seconds, seconds if own else 0.0)
    if own:
        now = time.perf_counter()
        frame.cover(now - seconds, now)


def note(*, tenant: str = "", degraded: Sequence[str] = (), counts: dict[str, int] | None = None) -> None:
    """Say something of the request that is running: names, numbers and reasons of ours; not what anybody asked or wrote."""
    if sink is None or (frame := _inside.get()) is None:
        return
    recording = frame.recording
    recording.tenant = tenant or recording.tenant
    recording.degraded.update(dict.fromkeys(degraded))
    recording.counts.update(counts or {})


class Recording:
    """One request."""

    __slots__ = ("counts", "degraded", "held", "own", "tenant")

    def __init__(self) -> None:
        identity = current_identity.get()
        self.tenant = identity.tenant if identity is not None else DEFAULT_TENANT
        self.held: list[Call] = []
        self.own: dict[str, float] = {}
        self.degraded: dict[str, None] = {}
        self.counts: dict[str, int] = {}

    def add(self, name: str, seconds: float, own: float) -> None:
        held = self.held
        held.append((name, seconds, own))
        if len(held) >= MOST_CALLS:
            self.hand_on()

    def hand_on(self) -> None:
        held, self.held = self.held, []
        sums = self.own
        for name, _, own in held:
            sums[name] = sums.get(name, 0.0) + own
        if sink is not None:
            sink.calls(self.tenant, held)

    def finished(self, kind: str, seconds: float, failed: str, trace_id: str) -> Finished:
        """The whole, at its end."""
        degraded = tuple(without_quotes(reason) for reason in list(self.degraded)[:MOST_REASONS])
        # Copies: what outlives the request may still add to these.
        own, counts = dict(self.own), dict(self.counts)
        return Finished(kind, self.tenant, time.time(), seconds, own, failed, degraded, counts, otel.correlation_id(), trace_id)


def without_quotes(reason: str) -> str:
    """A reason for `degraded`, redacted, and without what stands in brackets, unless that is codes or settings: a service may repeat the question there."""
    before, opened, rest = reason.partition("(")
    inside, closed, after = rest.rpartition(")")
    if opened and not (closed and _CODES.fullmatch(inside)):
        reason = f"{before}(…){after if closed else ''}"
    return redact_part(reason, MAX_LENGTH)


class Frame:
    """A stage that runs, and what of it others cover that run within."""

    __slots__ = ("_outer", "_spans", "_sum", "recording")

    def __init__(self, outer: Frame | None) -> None:
        self._outer = outer
        self.recording: Recording = Recording() if outer is None else outer.recording
        self._spans: list[tuple[float, float]] | None = None
        self._sum = 0.0

    def cover(self, begun: float, ended: float) -> None:
        """A stage within ran from one reading of the clock to another. They come in the order in which they end."""
        spans = self._spans
        if spans is None:
            self._spans = [(begun, ended)]
            return
        while spans and spans[-1][1] >= begun:
            first, last = spans.pop()
            begun, ended = min(first, begun), max(last, ended)
        spans.append((begun, ended))
        if len(spans) > MOST_SPANS:
            self._sum += sum(end - start for start, end in spans[: MOST_SPANS // 2])
            del spans[: MOST_SPANS // 2]

    def covered(self) -> float:
        """Seconds that others cover, each once."""
        spans = self._spans
        if spans is None:
            return 0.0
        if len(spans) == 1:
            return self._sum + spans[0][1] - spans[0][0]
        return self._sum + sum(end - start for start, end in spans)

    def end(self, name: str, begun: float, ended: float, raised: type[BaseException] | None, error: BaseException | None, span: RunningSpan | None) -> None:
        """The stage ends. Where it is a request's outermost, the request is told."""
        # Laid over and not reset to: a generator may be closed in another context than it began in.
        outer = self._outer
        _inside.set(outer)
        seconds = ended - begun
        self.recording.add(name, seconds, seconds if self._spans is None else max(0.0, seconds - self.covered()))
        if outer is not None:
            outer.cover(begun, ended)
        elif sink is not None:
            self.recording.hand_on()
            failed = "" if raised is None else CANCELLED_WORD if issubclass(raised, CANCELLED) else error_type(raised, error)
            sink.finished(self.recording.finished(name, seconds, failed, _trace_id(span)))


def _trace_id(span: RunningSpan | None) -> str:
    """Of the trace that a span belongs to; empty where nobody makes traces, though OTel's SDK is loaded."""
    identifier = span.native.get_span_context().trace_id if span is not None else 0
    return format(identifier, "032x") if identifier else ""
