"""LlamaIndex's events in our telemetry: what took how long, and what failed; never what was asked or answered."""

from __future__ import annotations

import threading
import time
from typing import Any

from cachetools import LRUCache
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.callbacks.schema import CBEventType, EventPayload

from ...telemetry.logger import get_logger
from ...telemetry.stages import record_stage

log = get_logger(__name__)

_OPEN = 10_000
"""Events that may have begun and not ended; the library ends none whose caller was cancelled."""


class RagCallbackHandler(BaseCallbackHandler):
    """Each event is a stage ``llama_index.KIND``: a span, a value in the histogram of stages, a figure in the running
    request's timings. Give it to a `CallbackManager`; one handler serves any number of threads.

    Args:
        ignore: kinds of events to leave out.
    """

    def __init__(self, ignore: tuple[CBEventType, ...] = ()) -> None:
        super().__init__(event_starts_to_ignore=list(ignore), event_ends_to_ignore=list(ignore))
        self._lock = threading.Lock()
        self._begun: LRUCache[str, float] = LRUCache(_OPEN)

    def on_event_start(self, event_type: CBEventType, payload: dict[str, Any] | None = None, event_id: str = "", parent_id: str = "", **kwargs: Any) -> str:
        with self._lock:
            self._begun[event_id] = time.perf_counter()
        return event_id

    def on_event_end(self, event_type: CBEventType, payload: dict[str, Any] | None = None, event_id: str = "", **kwargs: Any) -> None:
        ended = time.perf_counter()
        with self._lock:
            begun = self._begun.pop(event_id, None)
        if begun is not None:
            record_stage(f"llama_index.{event_type.value}", (ended - begun) * 1000)
        failure = (payload or {}).get(EventPayload.EXCEPTION)
        if failure is not None:
            log.warning("an event of LlamaIndex failed", kind=event_type.value, error=type(failure).__name__)

    def start_trace(self, trace_id: str | None = None) -> None:
        """Nothing: events know their time themselves."""

    def end_trace(self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None) -> None:
        """Nothing, as above."""
