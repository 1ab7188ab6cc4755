"""What goes, and when: threads by age and by number, steps that no turn needs, and all that is kept of a user."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ...errors import InputError
from ...telemetry.audit import AuditEvent, changing
from ...telemetry.logger import get_logger
from .pruning import Keep
from .rows import GraphThread
from .threads import ThreadService
from .user_context import user_namespace

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

    from ..config import PersistenceCfg

log = get_logger(__name__)

PAGE = 1000
_GREGORIAN = datetime(1582, 10, 15, tzinfo=UTC)
"""Where the time of a UUID begins."""


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What was done, or (``dry_run``) would be: numbers of threads, and what rows and checkpoints take in bytes.

    ``deleted`` and ``pruned`` count the agent's conversations, the ``graph_`` ones threads of graphs of one's own.
    """

    deleted: int
    pruned: int
    bytes_before: int
    bytes_after: int
    dry_run: bool = False
    graph_deleted: int = 0
    graph_pruned: int = 0


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What was kept of a user and is gone: threads, runs of other graphs, entries of the store."""

    threads: int
    runs: int
    entries: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """Ids of threads that go and that stay, and the moment at which this was found out."""

    gone: list[str]
    staying: set[str]
    graphs_gone: set[str]
    graphs_staying: set[str]
    at: str
    unfinished: list[str]
    before: str | None


class Retention:
    """Acts for whoever runs the deployment, not for a user: nothing here asks whose a thread is."""

    def __init__(self, threads: ThreadService, store: BaseStore, cfg: PersistenceCfg) -> None:
        self._threads = threads
        self._store = store
        self._cfg = cfg

    async def apply(
        self, *, tenant: str | None = None, days: float | None = None, keep: int | None = None, dry_run: bool = False, now: datetime | None = None
    ) -> RetentionReport:
        """Delete threads that nobody used for ``days``, and of each tenant all but the ``keep`` latest; prune the steps of those that stay.

        What processes that were killed left of threads whose first answer never came goes too, and is no thread in the report.
        Both follow from `[persistence]` where they are left out. Turns are never pruned. A thread that is being answered is waited for, and stays.
        Threads of graphs of one's own, which ran with a config of `create_langgraph_config`, are counted by themselves; of each
        that stays ``[persistence] retention_graphs`` says what is kept.

        Raises:
            InputError: a limit is negative.
            StorageError, ServiceUnavailableError: kinds of it; what was done until then stays done.
        """
        days = self._cfg.retention_days if days is None else days
        keep = self._cfg.retention_threads if keep is None else keep
        if (days is not None and days < 0) or (keep is not None and keep < 0):
            raise InputError("Retention takes no negative number of days or threads.")
        plan = await self._plan(tenant, days, keep, now or datetime.now(UTC))
        if not dry_run:
            await self._threads.prepare()
        used = await self._threads.rows.used_bytes()
        if dry_run:
            return RetentionReport(len(plan.gone), len(plan.staying), used, used, True, len(plan.graphs_gone), len(plan.graphs_staying))
        async with changing(self._threads.audit, AuditEvent("thread.retain", tenant=tenant or "", facts={"threads": len(plan.gone)})):
            return await self._applied(plan, used)

    async def _applied(self, plan: _Plan, used: int) -> RetentionReport:
        deleted = sum([await self._threads.remove(thread_id, unused_since=plan.at) for thread_id in plan.gone])
        swept = sum([await self._threads.sweep(thread_id, plan.before) for thread_id in plan.unfinished])
        graph_deleted = sum([await self._threads.remove(thread_id) for thread_id in plan.graphs_gone])
        pruned = sum([await self._prune(thread_id, "latest") for thread_id in plan.staying])
        graph_pruned = sum([await self._prune(thread_id, self._graphs_keep) for thread_id in plan.graphs_staying])
        report = RetentionReport(deleted, pruned, used, await self._threads.rows.used_bytes(), False, graph_deleted, graph_pruned)
        log.info(
            "retention was applied", deleted=deleted, swept=swept, graph_deleted=graph_deleted, pruned=pruned, bytes_before=used, bytes_after=report.bytes_after
        )
        return report

    async def _plan(self, tenant: str | None, days: float | None, keep: int | None, now: datetime) -> _Plan:
        rows = self._threads.rows
        before = None if days is None else now - timedelta(days=days)
        oldest = None if before is None else iso(before)
        gone = await rows.surplus(tenant, oldest, keep) if before is not None or keep is not None else []
        graphs = await rows.graph_threads(tenant)
        graphs_gone = surplus_graphs(graphs, before, keep)
        staying = set(await rows.all_ids(tenant)) - set(gone)
        graphs_staying = {graph.thread_id for graph in graphs} - graphs_gone if self._cfg.retention_graphs != "off" else set[str]()
        return _Plan(gone, staying, graphs_gone, graphs_staying, iso(datetime.now(UTC)), await rows.unfinished(tenant), oldest)

    @property
    def _graphs_keep(self) -> Keep:
        return "latest" if self._cfg.retention_graphs == "latest" else "turns"

    async def _prune(self, thread_id: str, keep: Keep) -> bool:
        try:
            await self._threads.prune(thread_id, keep)
        except NotImplementedError as error:
            log.info("a thread cannot be pruned and stays whole", thread_id=thread_id, detail=str(error))
            return False
        return True

    async def erase(self, tenant: str, user: str) -> ErasureReport:
        """Delete a user's threads, the checkpoints of all graphs that ran for them, the journal of their answers, and their namespace of the store.

        Checkpoints are found by their metadata: by ``user_id`` and ``tenant`` of `create_langgraph_config`.

        Raises:
            StorageError, ServiceUnavailableError: kinds of it; erasing again goes on.
        """
        async with changing(self._threads.audit, AuditEvent("user.erase", tenant=tenant, facts={"subject": user})) as noted:
            report = await self._erased(tenant, user)
            noted.facts |= {"threads": report.threads, "runs": report.runs, "entries": report.entries}
        return report

    async def _erased(self, tenant: str, user: str) -> ErasureReport:
        threads = await self._threads.rows.of_user(tenant, user)
        for thread_id in threads:
            await self._threads.remove(thread_id)
        runs = await self._threads.rows.runs_of(tenant, user)
        for thread_id in runs:
            await self._threads.remove(thread_id)
        entries = 0
        while found := await self._store.asearch(user_namespace(tenant, user), limit=PAGE):
            for item in found:
                await self._store.adelete(item.namespace, item.key)
            entries += len(found)
        await self._threads.journal.forget_user(tenant, user)
        log.info("a user was erased", threads=len(threads), runs=len(runs), entries=entries)
        return ErasureReport(len(threads), len(runs), entries)


def surplus_graphs(graphs: Iterable[GraphThread], before: datetime | None, keep: int | None) -> set[str]:
    """Ids of the threads last used before a date, and of those beyond each tenant's ``keep`` latest. One whose date cannot be read is new."""
    seen: Counter[str] = Counter()
    gone = set()
    for graph in sorted(graphs, key=lambda graph: (graph.latest, graph.thread_id), reverse=True):
        seen[graph.tenant] += 1
        used = time_of(graph.latest)
        if (before is not None and used is not None and used < before) or (keep is not None and seen[graph.tenant] > keep):
            gone.add(graph.thread_id)
    return gone


def time_of(checkpoint_id: str) -> datetime | None:
    """When a checkpoint was made, by its id: a version 6 UUID (RFC 9562). None for any other id."""
    try:
        value = uuid.UUID(checkpoint_id)
    except ValueError:
        return None
    if value.version != 6:
        return None
    ticks = value.int >> 80 << 12 | value.int >> 64 & 0x0FFF  # of 100 ns
    return _GREGORIAN + timedelta(microseconds=ticks // 10)


def iso(moment: datetime) -> str:
    """As dates are stored: ISO 8601 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
