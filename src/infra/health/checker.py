"""Runs registered checks side by side, each within its time, and says how the parts stand."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, get_args

from ...errors import RagError
from ...telemetry.log_text import cut, one_line
from ...telemetry.logger import get_logger
from ...telemetry.redaction import redact_part
from ...util.threads import start_daemon
from ..resilience.health_cache import HealthCache
from .hysteresis import SEVERITY, Rules, Standing, Status, observe

log = get_logger(__name__)

MAX_MESSAGE_CHARS = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, where it is more than "good" or an error."""

    status: Status
    message: str = ""


Check = Callable[[], Awaitable[Finding | bool | None] | Finding | bool | None]
"""Returns nothing (or True) where all is well, or what it found; or raises what is wrong. One that is no coroutine function runs in a thread."""


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """One component; ``message`` says what is wrong and holds no secret.

    Attributes:
        checked_at: when it was looked at last, ISO 8601 in UTC.
        since: since when it has been in this status.
    """

    name: str
    status: Status
    latency_ms: float
    message: str = ""
    required: bool = True
    checked_at: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    components: tuple[ComponentHealth, ...]

    @property
    def ready(self) -> bool:
        """Nothing that answers need is unhealthy, or was never seen at work."""
        return all(c.status in ("healthy", "degraded") for c in self.components if c.required)

    @property
    def status(self) -> Status:
        """Of all together: ``unhealthy`` where it is not ready, ``degraded`` where something is not well, or not known to be."""
        if not self.ready:
            return "unhealthy"
        return "healthy" if all(c.status == "healthy" for c in self.components) else "degraded"

    def shape(self, *, messages: bool) -> dict[str, Any]:
        """What `GET /health` answers and `rag health --json` prints; messages are for operators."""
        return {"status": self.status, "components": {one.name: _shape(one, messages=messages) for one in self.components}}


def _shape(one: ComponentHealth, *, messages: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"status": one.status, "latency_ms": one.latency_ms, "required": one.required}
    more = {"checked_at": one.checked_at, "since": one.since, "message": one.message if messages else ""}
    return found | {name: value for name, value in more.items() if value}


class HealthChecker:
    """Checks by name. Whoever asks while one runs shares its outcome.

    Args:
        timeout_s: seconds that one check may take before it counts as failed.
        ttl_s: seconds that an outcome is kept, so that many probes (each replica's, each monitor's) cost a service one question.
        rules: how often in a row something has to be seen before a status changes.
        clock: seconds since 1970; for tests.
    """

    def __init__(self, timeout_s: float = 5.0, ttl_s: float = 1.0, rules: Rules | None = None, clock: Callable[[], float] = time.time) -> None:
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._rules = rules or Rules()
        self._clock = clock
        self._checks: dict[str, HealthCache[ComponentHealth]] = {}
        self._required: dict[str, bool] = {}
        self._standings: dict[str, Standing] = {}

    def register_component(self, name: str, check: Check, *, required: bool = True) -> None:
        """Add a check, or put one in another's place; ``required`` ones decide readiness."""
        run = partial(_called, check) if inspect.iscoroutinefunction(check) else _InThread(name, check)
        self._required[name] = required
        self._standings[name] = Standing()
        self._checks[name] = HealthCache(partial(self._check, name, run, required), self._ttl_s)

    async def check_all(self, *, required_only: bool = False) -> Health:
        """All components, or those that decide readiness, in order of registration."""
        names = [name for name in self._checks if self._required[name] or not required_only]
        return Health(tuple(await asyncio.gather(*(self._checks[name].get() for name in names))))

    async def _check(self, name: str, run: Callable[[], Awaitable[object]], required: bool) -> ComponentHealth:
        start = time.perf_counter()
        seen = await self._finding(run)
        latency = round((time.perf_counter() - start) * 1000, 3)
        now = self._clock()
        before = self._standings[name]
        standing = self._standings[name] = observe(before, seen.status, now, self._rules)
        told = _told(seen, standing, self._rules)
        if standing.status != before.status and (before.status, standing.status) != ("unknown", "healthy"):
            log.info("the health of a component changed", component=name, status=standing.status, before=before.status, detail=told)
        return ComponentHealth(name, standing.status, latency, told, required, _iso(now), _iso(standing.since))

    async def _finding(self, run: Callable[[], Awaitable[object]]) -> Finding:
        task = asyncio.ensure_future(_guarded(run))
        try:
            # Not `asyncio.timeout`: a check that does not heed being cancelled must not hold everybody up.
            done, _ = await asyncio.wait({task}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            task.cancel()
            task.add_done_callback(_noted)
            return Finding("unhealthy", f"no answer within {self._timeout_s:g} s")
        try:
            return _judged(task.result())
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a broken check is an unhealthy component
            return _broken(error)


async def _guarded(run: Callable[[], Awaitable[object]]) -> object:
    """A check that exits ends itself: asyncio would end the whole process."""
    try:
        return await run()
    except SystemExit as error:
        return _broken(error)


def _broken(error: BaseException) -> Finding:
    """What a check that raised says. Foreign texts may hold secrets, so only their type is told."""
    return Finding("unhealthy", str(error) if isinstance(error, RagError) else f"the check failed with {type(error).__name__}")


def _judged(found: object) -> Finding:
    """What a check gave back, which is somebody's own code; its value is not repeated, for it may hold anything."""
    if found is None or found is True:
        return Finding("healthy")
    if found is False:
        return Finding("unhealthy", "the check returned False")
    if not isinstance(found, Finding):
        return Finding("unhealthy", f"the check returned {type(found).__name__}: it returns nothing, True, False or a Finding")
    if found.status not in get_args(Status):
        return Finding("unhealthy", f"the check found a status that is none of {', '.join(get_args(Status))}")
    said: object = found.message
    if not isinstance(said, str):
        return Finding(found.status, f"the message of the check is {type(said).__name__}, no text")
    return found


def _told(seen: Finding, standing: Standing, rules: Rules) -> str:
    """The message, with what a status that stands against it waits for. Every message goes through here: redacted, on one line, bounded."""
    said = cut(one_line(redact_part(seen.message, MAX_MESSAGE_CHARS)), MAX_MESSAGE_CHARS)
    if standing.pending is None:
        return said
    needed = rules.failures if SEVERITY[standing.pending] > SEVERITY[standing.status] else rules.recoveries
    return f"seen {standing.pending} {standing.count} of {needed} times{': ' if said else ''}{said}"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _noted(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


async def _called(check: Check) -> object:
    found = check()
    return await found if inspect.isawaitable(found) else found


class _InThread:
    """A check that may block, in a thread of its own. One that hangs is waited for, never started beside itself."""

    def __init__(self, name: str, check: Check) -> None:
        self._name = name
        self._check = check
        self._running: Future[object] | None = None

    async def __call__(self) -> object:
        running = self._running
        if running is None or running.done():
            running = self._running = Future()
            start_daemon(f"rag-health-{self._name}", self._run, running)
        found = await asyncio.shield(asyncio.wrap_future(running))
        return await found if inspect.isawaitable(found) else found

    def _run(self, outcome: Future[object]) -> None:
        try:
            outcome.set_result(self._check())
        except BaseException as error:  # noqa: BLE001 - it is the answer, whatever it is; some kinds no future takes
            outcome.set_result(_broken(error))


def get_health_checker() -> HealthChecker:
    """The checker of the process's resources (`get_resources().health`); what is registered there is in `/health` as well."""
    from ..resource_manager import get_resources

    return get_resources().health
