"""Log records as OTel's: what this package logs, and others' from WARNING on, each with what a line of the log would say of it and no more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING

from opentelemetry._logs import LogRecord, SeverityNumber

from ...telemetry.attributes import bounded, short
from ...telemetry.log_context import running
from ...telemetry.log_text import fields_of, is_own, said

if TYPE_CHECKING:
    from opentelemetry._logs import Logger as OTelLogger
    from opentelemetry._logs import LoggerProvider

_SEVERITY = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}
_QUIET = ("opentelemetry", "urllib3", "requests")
"""What exporting itself logs, which would be exported in turn."""
MAX_TEXT = 1024


class ExportingHandler(logging.Handler):
    """Hands each record to OTel's log pipeline. It has the trace that is running, and its fields as attributes."""

    def __init__(self, provider: LoggerProvider, later: Callable[..., None]) -> None:
        super().__init__()
        self._later = later
        self._provider = provider
        self._loggers: dict[str, OTelLogger] = {}
        self.set_name("rag-otel")

    def filter(self, record: logging.LogRecord) -> bool:
        name = record.name
        if name.startswith("src.infra.exporting") or name.partition(".")[0] in _QUIET or not (is_own(record) or record.levelno >= logging.WARNING):
            return False
        return bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Later, in the context of now: trace, correlation id and caller are those of whoever logged it.

        What a foreign record may say is found at once: it shows in the code that logs it, which runs now.
        """
        text = None if is_own(record) else said(record)
        self._later(copy_context().run, self._hand_on, record, text)

    def _hand_on(self, record: logging.LogRecord, text: str | None) -> None:
        found = self._loggers.get(record.name)
        if found is None:
            found = self._loggers[record.name] = self._provider.get_logger(record.name)
        found.emit(_as_otel(record, said(record) if text is None else text))


def _as_otel(record: logging.LogRecord, text: str) -> LogRecord:
    # The trace is OTel's own to tell.
    context = {name: value for name, value in running().items() if name not in ("trace_id", "span_id")}
    fields = {**context, **fields_of(record)}
    attributes = bounded({f"rag.{name}": value for name, value in fields.items()})
    attributes |= {"code.function.name": record.funcName, "code.line.number": record.lineno}
    if record.exc_info and record.exc_info[0] is not None:
        attributes["exception.type"] = record.exc_info[0].__qualname__
    return LogRecord(
        timestamp=int(record.created * 1e9),
        severity_text=record.levelname,
        severity_number=_SEVERITY.get(record.levelno) or _SEVERITY[max((number for number in _SEVERITY if number <= record.levelno), default=logging.DEBUG)],
        body=short(text, MAX_TEXT),
        attributes=attributes,
    )
