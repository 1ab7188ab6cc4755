"""Spans around something that runs. OTel's API is imported with the first one, and not before there is an SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from .running import RunningSpan

CANCELLED = (asyncio.CancelledError, GeneratorExit)
"""Ends that are nobody's failure: a caller who goes away, a reader who has enough."""


def error_type(kind: type[BaseException], error: BaseException | None) -> str:
    """The code of an error of ours, the name of any other's class. Its text may hold content, or what a foreign library repeats of a request."""
    code = getattr(error, "code", None)
    return code if isinstance(code, str) and kind.__module__.startswith("src.") else kind.__qualname__


def failure(kind: type[BaseException] | None, error: BaseException | None) -> str:
    """What ended something, as `error_type` names it; empty for a good end, and for one that is nobody's failure."""
    return "" if kind is None or issubclass(kind, CANCELLED) else error_type(kind, error)


class NoSpan:
    """In place of a span where there is nobody to take one, while figures are recorded."""

    __slots__ = ()
    native: Any = None

    def enter(self) -> None: ...
    def leave(self) -> None: ...
    def set(self, **attributes: object) -> None: ...
    def add(self, attributes: Mapping[str, object]) -> None: ...
    def rename(self, name: str) -> None: ...
    def fail(self, kind: str) -> None: ...
    def end(self, kind: type[BaseException] | None = None, error: BaseException | None = None, *, end_ns: int | None = None) -> str:
        return failure(kind, error)


NO_SPAN = NoSpan()


def begin(
    name: str,
    attributes: Mapping[str, object],
    *,
    kind: str = "INTERNAL",
    parent: Context | None = None,
    current: bool = True,
    start_ns: int | None = None,
) -> RunningSpan:
    """A `RunningSpan` that begins now. Only where `otel.on`."""
    from .running import RunningSpan

    return RunningSpan(name, attributes, kind=kind, parent=parent, current=current, start_ns=start_ns)
