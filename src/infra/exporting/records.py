"""Log records as OTel's: what this package logs, with its fields; of others' records their unfilled text, from WARNING on.

The filled text of a foreign library may repeat a request or an answer, and so may an exception's; neither is exported.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from opentelemetry._logs import LogRecord, SeverityNumber

from ...telemetry.attributes import bounded, short
from ...telemetry.otel import correlation_id

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider

OWN = "src"
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

    def __init__(self, provider: LoggerProvider) -> None:
        super().__init__()
        self._provider = provider
        self.set_name("rag-otel")

    def filter(self, record: logging.LogRecord) -> bool:
        name = record.name
        own = name == OWN or name.startswith(f"{OWN}.")
        if name.startswith("src.infra.exporting") or name.partition(".")[0] in _QUIET or not (own or record.levelno >= logging.WARNING):
            return False
        return bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._provider.get_logger(record.name).emit(_as_otel(record))
        except Exception:  # noqa: BLE001 - a record that cannot be exported never stops what logged it
            self.handleError(record)


def _as_otel(record: logging.LogRecord) -> LogRecord:
    own = record.name == OWN or record.name.startswith(f"{OWN}.")
    text = record.getMessage() if own else str(record.msg)
    fields = getattr(record, "rag_fields", {}) if own else {}
    attributes = bounded({f"rag.{name}": value for name, value in fields.items()})
    attributes |= {"code.function.name": record.funcName, "code.line.number": record.lineno}
    if record.exc_info and record.exc_info[0] is not None:
        attributes["exception.type"] = record.exc_info[0].__qualname__
    if identifier := correlation_id():
        attributes["rag.correlation_id"] = identifier
    level = max((number for number in _SEVERITY if number <= record.levelno), default=logging.DEBUG)
    return LogRecord(
        timestamp=int(record.created * 1e9),
        severity_text=record.levelname,
        severity_number=_SEVERITY[level],
        body=short(text, MAX_TEXT),
        attributes=attributes,
    )
