"""What goes, and when: threads by age and by number, steps that no turn needs, and all that is kept of a user."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ...errors import InputError
from ...telemetry.logger import get_logger
from .threads import ThreadService
from .user_context import user_namespace

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

    from ..config import PersistenceCfg

log = get_logger(__name__)

PAGE = 1000


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What was done, or (``dry_run``) would be: numbers of threads, and what rows and checkpoints take in bytes."""

    deleted: int
    pruned: int
    bytes_before: int
    bytes_after: int
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What was kept of a user and is gone: threads, runs of other graphs, entries of the store."""

    threads: int
    runs: int
    entries: int


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

        Both follow from `[persistence]` where they are left out. Turns are never pruned. A thread that is being answered is waited for.

        Raises:
            InputError: a limit is negative.
            StorageError, ServiceUnavailableError: kinds of it; what was done until then stays done.
        """
        days = self._cfg.retention_days if days is None else days
        keep = self._cfg.retention_threads if keep is None else keep
        if (days is not None and days < 0) or (keep is not None and keep < 0):
            raise InputError("Retention takes no negative number of days or threads.")
        rows = self._threads.rows
        before = None if days is None else _iso((now or datetime.now(UTC)) - timedelta(days=days))
        gone = await rows.surplus(tenant, before, keep) if before is not None or keep is not None else []
        staying = set(await rows.all_ids(tenant)) - set(gone)
        used = await rows.used_bytes()
        if dry_run:
            return RetentionReport(len(gone), len(staying), used, used, dry_run=True)
        for thread_id in gone:
            await self._threads.remove(thread_id)
        for thread_id in staying:
            await self._threads.prune(thread_id)
        report = RetentionReport(len(gone), len(staying), used, await rows.used_bytes())
        log.info("retention was applied", deleted=report.deleted, pruned=report.pruned, bytes_before=used, bytes_after=report.bytes_after)
        return report

    async def erase(self, tenant: str, user: str) -> ErasureReport:
        """Delete all threads of a user, the checkpoints of all graphs that ran for them, and what the store holds in their namespace.

        Checkpoints are found by their metadata: by ``user_id`` and ``tenant`` of `create_langgraph_config`.

        Raises:
            StorageError, ServiceUnavailableError: kinds of it; erasing again goes on.
        """
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
        log.info("a user was erased", threads=len(threads), runs=len(runs), entries=entries)
        return ErasureReport(len(threads), len(runs), entries)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
