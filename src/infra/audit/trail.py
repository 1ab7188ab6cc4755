"""`AuditLog`: the audit trail of `[audit]`. Events wait in a queue, one thread writes them in groups.

While one group waits for the disk the next one gathers, so that many callers share one wait; the event loop never does.
"""

from __future__ import annotations

import asyncio
import copy
import os
import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import AuditError, ConfigurationError, ResourceClosedError
from ...telemetry import metrics
from ...telemetry.audit import NO_AUDIT, AuditEvent, AuditTrail, turn_id
from ...telemetry.logger import get_logger
from ...telemetry.otel import correlation_id
from ...telemetry.redaction import redact
from ...util.clock import iso_now
from ...util.threads import start_daemon
from .chain import Head, Keyring, parse_keys
from .chainfile import ChainFile

if TYPE_CHECKING:
    from ..config import AuditCfg, Settings

log = get_logger(__name__)

FOLDER, FILE_NAME = "audit", "audit.jsonl"
GAP = "audit.gap"
"""Action of the record that says how many events are missing, with ``on_failure = warn``."""
RESUMED = "audit.resumed"
"""Action of the record with which health finds that recording works again."""
MAX_GIVEN_CHARS = 300
MAX_WAITING = 10_000
"""Events that wait for the disk; further ones fail at once."""
GROUP = 1_000
"""Events of one write at most."""
CLOSE_S = 5.0
_PERSONAL: Mapping[str, str] = {"client": "address", "subject": "user", "account": "user"}
"""Facts that are kept as pseudonyms, too, and what they name."""

_Item = tuple[Mapping[str, Any], "Future[None]"]


def audit_file(settings: Settings) -> Path:
    """The file of `[audit]`."""
    return settings.audit.path or settings.storage.path / FOLDER / FILE_NAME


def make_audit(settings: Settings) -> AuditTrail:
    """The trail of `[audit]`, or one that keeps nothing. The key is read, no file is.

    Raises:
        ConfigurationError: the key cannot be used, or the anchor lies beside the file.
    """
    cfg = settings.audit
    if not cfg.enabled or cfg.keys is None:
        return NO_AUDIT
    path = audit_file(settings)
    if cfg.anchor is not None and cfg.anchor.absolute().parent == path.absolute().parent:
        hint = "Name a file on another disk or machine, which those who can write the audit file cannot change."
        raise ConfigurationError("The anchor lies in the folder of the audit file, where it protects nothing.", setting="audit.anchor", hint=hint)
    return AuditLog(cfg, path, parse_keys(cfg.keys.get_secret_value()))


class AuditLog:
    """Records events in the chain of one file. Its thread starts with the first one.

    Raises (`record`):
        AuditError: with ``on_failure = refuse``, the event could not be kept within ``timeout_s``.
    """

    def __init__(self, cfg: AuditCfg, path: Path, keys: Keyring) -> None:
        self.path = path
        self.keys = keys
        self._cfg = cfg
        self._file = ChainFile(path, keys, cfg.anchor, lock_timeout_s=cfg.timeout_s)
        self._queue: queue.Queue[_Item | None] = queue.Queue(MAX_WAITING)
        self._lock = threading.Lock()
        self._started = False
        self._closed = False
        self._ended = threading.Event()
        self._lost = 0
        self._lost_since = ""
        self._failing: AuditError | None = None
        self._complaint = ""
        self._anchor_logged = self._first = 0.0
        self._logged = 0
        self._head: Head | None = None

    @property
    def failing(self) -> AuditError | None:
        """Why events cannot be recorded at present; None where they can, or nobody tried yet."""
        return self._failing

    async def record(self, event: AuditEvent) -> None:
        """Keep an event; see `AuditTrail`. Who gives up waiting does not take it back."""
        try:
            await self._kept(event)
        except AuditError as error:
            self._complain(error)
            refuses = self._cfg.on_failure == "refuse"
            metrics.count("rag.audit.failed", 1, {"rag.outcome": "refused" if refuses else "missing"})
            if refuses:
                raise
            self._miss()

    async def _kept(self, event: AuditEvent) -> None:
        future: Future[None] = Future()
        self._start()
        try:
            self._queue.put_nowait((self._body(event), future))
        except queue.Full:
            raise AuditError(f"{MAX_WAITING} events wait to be recorded.", setting="audit.path", hint="The disk is too slow, or hangs.") from None
        waiting = asyncio.wrap_future(future)
        waiting.add_done_callback(_seen)
        try:
            await asyncio.wait_for(asyncio.shield(waiting), self._cfg.timeout_s)
        except TimeoutError:
            text = f"An event was not recorded in {self.path} within {self._cfg.timeout_s:g} s."
            raise AuditError(text, setting="audit.timeout_s", hint="The disk is too slow, or hangs.") from None

    def _body(self, event: AuditEvent) -> dict[str, Any]:
        hidden = self._hidden if self._cfg.pseudonymous else _shown
        # What was refused need not be an id of ours: callers write into paths what they like.
        known = _shown if event.outcome in ("allowed", "begun") else _as_given
        # Outside of a request the user is what the command line was told, so the account that ran it is recorded as well.
        in_request = bool(correlation_id()) and (event.user or "client" in event.facts)
        facts = event.facts if in_request else {**event.facts, "account": _account()}
        body = {
            "time": iso_now(),
            "action": event.action,
            "outcome": event.outcome,
            "user": hidden("user", event.user),
            "tenant": hidden("tenant", event.tenant),
            "documents": [hidden("document", known("", one)) for one in dict.fromkeys(event.documents)],
            "object": known("", event.object),
            "reason": event.reason,
            "facts": {name: hidden(_PERSONAL[name], str(value)) if name in _PERSONAL else value for name, value in facts.items()},
            "turn": turn_id.get(),
            "correlation_id": correlation_id(),
        }
        return {name: value for name, value in body.items() if value not in ("", [], {})}

    def _hidden(self, kind: str, value: str) -> str:
        return self.keys.pseudonym(kind, value) if value else ""

    # -- the thread

    def _start(self) -> None:
        with self._lock:
            if self._closed:
                raise ResourceClosedError("The audit trail was used after it was closed.")
            if not self._started:
                self._started = True
                start_daemon("rag-audit", self._work)

    def _work(self) -> None:
        while True:
            group, last = self._gathered()
            if group:
                self._write(group)
            if last:
                break
        if self._lost:
            self._write([])
        if self._head is not None and self._cfg.anchor is None and self._head.n != self._logged:
            self._log_head(self._head)
        self._file.close()
        self._ended.set()

    def _gathered(self) -> tuple[list[_Item], bool]:
        """All that waits, one event at least; and whether the end has come."""
        group: list[_Item] = []
        while len(group) < GROUP:
            try:
                item = self._queue.get(block=not group)
            except queue.Empty:
                break
            if item is None:
                return group, True
            group.append(item)
        return group, False

    def _write(self, group: list[_Item]) -> None:
        with self._lock:
            lost, since, self._lost, self._lost_since = self._lost, self._lost_since, 0, ""
        gap = [{"action": GAP, "outcome": "failed", "time": iso_now(), "facts": {"events": lost, "since": since}}] if lost else []
        try:
            head = self._file.append([*gap, *(body for body, _ in group)])
        except Exception as error:  # noqa: BLE001 - the thread must live on, and whoever waits must hear of it
            failure = error if isinstance(error, AuditError) else AuditError(f"The audit trail failed: {type(error).__name__}.", setting="audit.path")
            self._failing = failure
            with self._lock:
                self._lost, self._lost_since = self._lost + lost, since or self._lost_since
            for _, future in group:
                future.set_exception(copy.copy(failure))
            return
        if self._failing is not None:
            self._failing, self._complaint = None, ""
            log.info("the audit trail is written again", path=str(self.path))
        for _, future in group:
            future.set_result(None)
        self._head = head
        self._first = self._first or time.monotonic()
        if self._cfg.anchor_log_s and time.monotonic() - (self._anchor_logged or self._first) >= self._cfg.anchor_log_s:
            self._log_head(head)

    def _log_head(self, head: Head) -> None:
        """The head goes the way of the logs, out of reach of who can write the file."""
        if self._cfg.anchor_log_s:
            self._anchor_logged, self._logged = time.monotonic(), head.n
            log.info("audit head", chain=head.chain, n=head.n, mac=head.mac)

    def _complain(self, error: AuditError) -> None:
        with self._lock:
            new = str(error) != self._complaint
            self._complaint = str(error)
        if new:
            log.error("an event could not be recorded", detail=str(error), on_failure=self._cfg.on_failure)

    def _miss(self) -> None:
        with self._lock:
            self._lost += 1
            self._lost_since = self._lost_since or iso_now()

    # -- life

    async def ping(self) -> None:
        """Return if events can be recorded: looks at the file and its anchor. After a failure it writes a record, for nobody else may try.

        Raises:
            AuditError: they cannot.
        """
        await asyncio.to_thread(ChainFile(self.path, self.keys, self._cfg.anchor, self._cfg.timeout_s).check)
        if self._failing is not None:
            await self._kept(AuditEvent(RESUMED))

    async def aclose(self) -> None:
        """Write what waits, and close. Again is harmless."""
        with self._lock:
            closed, self._closed = self._closed, True
        if closed or not self._started:
            return
        await asyncio.to_thread(self._queue.put, None)
        if not await asyncio.to_thread(self._ended.wait, CLOSE_S):
            log.error("the audit trail did not close in time", path=str(self.path))


@lru_cache(maxsize=1)
def _account() -> str:
    """The account that this process runs under."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's number without a name
        return str(os.getuid())


def _shown(kind: str, value: str) -> str:
    return value


def _as_given(kind: str, value: str) -> str:
    return redact(value[:MAX_GIVEN_CHARS])


def _seen(future: asyncio.Future[None]) -> None:
    """Take note of the error, so that asyncio does not report one for which nobody waits any more."""
    if not future.cancelled():
        future.exception()
