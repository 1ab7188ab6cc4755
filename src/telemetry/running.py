"""A span that runs. Imports OTel's API: loaded only once an SDK is there, through `spans.begin`."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider, get_current_span, get_tracer_provider, set_span_in_context

from .attributes import bounded
from .metrics import SCOPE
from .spans import failure

_KINDS = {kind.name: kind for kind in SpanKind}


class _Tracer:
    """A provider's tracer, made once: making one takes the SDK longer than a span."""

    __slots__ = ("_made", "_made_by", "own")

    def __init__(self) -> None:
        self.own: Tracer | None = None
        self._made_by: TracerProvider | None = None
        self._made: Tracer | None = None

    def get(self) -> Tracer:
        """`own`, else of the process's provider."""
        if self.own is not None:
            return self.own
        provider = get_tracer_provider()
        if self._made is None or provider is not self._made_by:
            self._made, self._made_by = provider.get_tracer(SCOPE), provider
        return self._made


_tracer = _Tracer()


def use(tracer: Tracer | None) -> None:
    """Have this package's spans made by ``tracer``; None: by the process's provider."""
    _tracer.own = tracer


class RunningSpan:
    """A span that has begun: current within it, ended with the kind of its failure and never its text.

    Args:
        kind: name of OTel's kind, such as ``CLIENT``.
        parent: context of the caller; left out, the running one.
        current: whether what runs in this context belongs to it from now on; off for generators, which `enter` and `leave` around each step.
        start_ns: when it began, where that is not now.
    """

    __slots__ = ("_before", "_span")

    def __init__(
        self,
        name: str,
        attributes: Mapping[str, object],
        *,
        kind: str = "INTERNAL",
        parent: Context | None = None,
        current: bool = True,
        start_ns: int | None = None,
    ) -> None:
        before = get_current()
        self._span: Span = _tracer.get().start_span(
            name,
            before if parent is None else parent,
            _KINDS[kind],
            bounded(attributes) if attributes else None,
            start_time=start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        self._before: Context | None = None
        if current:
            self._before = before
            attach(set_span_in_context(self._span, before))

    def enter(self) -> None:
        """What runs in this context belongs to the span from now on."""
        self._before = get_current()
        attach(set_span_in_context(self._span, self._before))

    def leave(self) -> None:
        """What runs in this context belongs to what it belonged to before.

        The context of before is laid over and not reset to: a generator may be closed in another context than it began in.
        """
        if self._before is not None:
            if get_current_span() is self._span:
                attach(self._before)
            self._before = None

    def set(self, **attributes: object) -> None:
        """Add attributes; in their names ``__`` is a dot."""
        self.add({name.replace("__", "."): value for name, value in attributes.items()})

    def add(self, attributes: Mapping[str, object]) -> None:
        self._span.set_attributes(bounded(attributes))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def end(self, kind: type[BaseException] | None = None, error: BaseException | None = None, *, end_ns: int | None = None) -> str:
        """End it; what it failed with, empty where it did not."""
        self.leave()
        failed = ""
        if kind is not None:
            failed = failure(kind, error)
            if failed:
                self.fail(failed)
            else:
                self._span.set_attribute("rag.cancelled", True)
        self._span.end(end_ns)
        return failed

    def fail(self, kind: str) -> None:
        """Mark it as failed."""
        self._span.set_status(Status(StatusCode.ERROR, kind))
        self._span.set_attribute("error.type", kind)

    @property
    def native(self) -> Span:
        """OTel's own."""
        return self._span
