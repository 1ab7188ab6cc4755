"""From the requests of this process to the store: summed up and written by a thread of its own, every two seconds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

from ...errors import OverloadedError, RagError
from ...telemetry import recording
from ...telemetry.logger import get_logger
from ...telemetry.recording import Call, Finished
from ...util.threads import start_daemon
from .batch import Batch, Summing
from .store import HotspotStore

log = get_logger(__name__)

FLUSH_S = 2.0
"""Seconds between two writes; as many are lost when the process is killed."""
MOST_WAITING = 20_000
"""Parts of requests that wait to be summed up at most: of two seconds at 5,000 requests a second."""


class HotspotRecorder:
    """Takes what requests took, while it is started. A file that cannot be written is said once, and stops no answer.

    Args:
        budgets: seconds that a call of a stage may take.
    """

    def __init__(self, store: HotspotStore, budgets: Mapping[str, float]) -> None:
        self.store = store
        self._summing = Summing(budgets)
        self._waiting: deque[Finished | tuple[float, str, Sequence[Call]]] = deque(maxlen=MOST_WAITING)
        self._batch = Batch()
        self._writing = threading.Lock()
        self._starting = threading.Lock()
        self._started = False
        self._work, self._stop = threading.Event(), threading.Event()
        self._failing = False

    def start(self) -> None:
        """Listen to the requests of this process."""
        recording.listen(self)

    async def aclose(self) -> None:
        """Stop listening, and write what is left."""
        if recording.sink is self:
            recording.listen(None)
        self._stop.set()
        self._work.set()
        await asyncio.to_thread(self.flush)

    def calls(self, tenant: str, calls: Sequence[Call]) -> None:
        self._take((time.time(), tenant, calls))

    def finished(self, request: Finished) -> None:
        self._take(request)

    def flush(self) -> None:
        """Write what has come. A failure is logged, and what could not be written waits for the next time."""
        with self._writing:
            try:
                self._sum_up()
                if self._batch:
                    self.store.write(self._batch, time.time())
                    self._batch = Batch()
            except Exception as error:  # noqa: BLE001 - figures about requests never stop requests, whatever happens to them
                self._failed(error)
            else:
                if self._failing:
                    self._failing = False
                    log.info("hotspots are written again")

    def _take(self, part: Finished | tuple[float, str, Sequence[Call]]) -> None:
        self._waiting.append(part)
        if not self._work.is_set():
            self._work.set()
            self._begin()

    def _sum_up(self) -> None:
        while self._waiting:
            part = self._waiting.popleft()
            if isinstance(part, Finished):
                self._summing.finished(self._batch, part)
            else:
                self._summing.calls(self._batch, *part)

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            detail = str(error) if isinstance(error, RagError) else type(error).__name__
            log.warning("hotspots cannot be written; requests go on without", detail=detail)

    def _begin(self) -> None:
        with self._starting:
            if self._started:
                return
            try:
                start_daemon("rag-hotspots", self._run)
            except OverloadedError:  # `aclose` writes what is held until then
                return
            self._started = True

    def _run(self) -> None:
        while self._work.wait() and not self._stop.wait(FLUSH_S):
            self._work.clear()
            self.flush()
