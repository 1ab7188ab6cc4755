"""Threads in memory: gone with the process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from .pruning import Keep, Step, check_strategy, cut_of, delta_refused
from .rows import GraphThread, ThreadRow
from .sealing import strict_serializer
from .user_context import with_namespace

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata


class MemorySaver(InMemorySaver):
    """LangGraph's checkpointer in memory, which can also prune."""

    def put(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions) -> RunnableConfig:
        return super().put(with_namespace(config), checkpoint, metadata, new_versions)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        check_strategy(thread_ids, strategy)
        for thread_id in thread_ids:
            if strategy == "delete":
                self.delete_thread(thread_id)
                continue
            self.prune_steps(thread_id, "latest")

    def prune_steps(self, thread_id: str, keep: Keep) -> None:
        """Keep a thread's latest checkpoint, or those at the ends of its turns.

        Raises:
            NotImplementedError: the thread uses one of LangGraph's delta channels.
        """
        spaces = self.storage.get(thread_id, {})
        steps = [
            Step.of(namespace, checkpoint_id, parent, self.serde.loads_typed(metadata))
            for namespace, saved in spaces.items()
            for checkpoint_id, (_, metadata, parent) in saved.items()
        ]
        if any(step.delta for step in steps):
            raise delta_refused(thread_id)
        cut = cut_of(steps, keep)
        for namespace, checkpoint_id in cut.gone:
            del spaces[namespace][checkpoint_id]
            self.writes.pop((thread_id, namespace, checkpoint_id), None)
        for namespace, checkpoint_id in cut.orphans:
            spaces[namespace][checkpoint_id] = (*spaces[namespace][checkpoint_id][:2], None)
        for namespace in spaces:
            self._forget_blobs(thread_id, namespace)

    async def aprune_steps(self, thread_id: str, keep: Keep) -> None:
        self.prune_steps(thread_id, keep)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        self.prune(thread_ids, strategy=strategy)

    def _forget_blobs(self, thread_id: str, namespace: str) -> None:
        kept: set[tuple[str, Any]] = set()
        for checkpoint, _, _ in self.storage[thread_id][namespace].values():
            kept.update(self.serde.loads_typed(checkpoint)["channel_versions"].items())
        for key in [key for key in self.blobs if key[:2] == (thread_id, namespace) and (key[2], key[3]) not in kept]:
            del self.blobs[key]


def make_saver() -> MemorySaver:
    return MemorySaver(serde=strict_serializer())


def make_store() -> InMemoryStore:
    return InMemoryStore()


class MemoryThreadRows:
    """`ThreadRows` in a dictionary."""

    def __init__(self, saver: MemorySaver | None = None) -> None:
        self._rows: dict[str, ThreadRow] = {}
        self._lock = threading.Lock()
        self._saver = saver
        self._jobs: dict[str, str] = {}

    async def get(self, thread_id: str) -> ThreadRow | None:
        with self._lock:
            return self._rows.get(thread_id)

    async def page(self, tenant: str, user: str, limit: int, before: tuple[str, str] | None) -> list[ThreadRow]:
        with self._lock:
            mine = [row for row in self._rows.values() if (row.tenant, row.user) == (tenant, user) and row.turns > 0]
        mine.sort(key=lambda row: (row.updated_at, row.thread_id), reverse=True)
        return [row for row in mine if before is None or (row.updated_at, row.thread_id) < before][:limit]

    async def add(self, row: ThreadRow) -> None:
        with self._lock:
            self._rows.setdefault(row.thread_id, row)

    async def touch(self, thread_id: str, updated_at: str, turns: int) -> bool:
        with self._lock:
            row = self._rows.get(thread_id)
            if row is not None:
                self._rows[thread_id] = row.touched(updated_at, turns)
            return row is not None

    async def rename(self, thread_id: str, title: str) -> bool:
        with self._lock:
            row = self._rows.get(thread_id)
            if row is not None:
                self._rows[thread_id] = replace(row, title=title)
            return row is not None

    async def delete(self, thread_id: str) -> None:
        with self._lock:
            self._rows.pop(thread_id, None)

    async def of_user(self, tenant: str, user: str) -> list[str]:
        with self._lock:
            return [row.thread_id for row in self._rows.values() if (row.tenant, row.user) == (tenant, user)]

    async def surplus(self, tenant: str | None, before: str | None, keep: int | None) -> list[str]:
        with self._lock:
            rows = [row for row in self._rows.values() if row.turns > 0 and tenant in (None, row.tenant)]
        rows.sort(key=lambda row: (row.updated_at, row.thread_id), reverse=True)
        seen: Counter[str] = Counter()
        found = []
        for row in rows:
            seen[row.tenant] += 1
            if (before is not None and row.updated_at < before) or (keep is not None and seen[row.tenant] > keep):
                found.append(row.thread_id)
        return found

    async def all_ids(self, tenant: str | None) -> list[str]:
        with self._lock:
            return [row.thread_id for row in self._rows.values() if row.turns > 0 and tenant in (None, row.tenant)]

    async def unfinished(self, tenant: str | None) -> list[str]:
        with self._lock:
            return [row.thread_id for row in self._rows.values() if row.turns == 0 and tenant in (None, row.tenant)]

    async def runs_of(self, tenant: str, user: str) -> list[str]:
        found = self._saver.list(None, filter={"user_id": user, "tenant": tenant}) if self._saver is not None else ()
        return list({saved.config["configurable"]["thread_id"] for saved in found})

    async def graph_threads(self, tenant: str | None) -> list[GraphThread]:
        found: dict[str, GraphThread] = {}
        for saved in self._saver.list(None) if self._saver is not None else ():
            thread_id, owner = saved.config["configurable"]["thread_id"], saved.metadata.get("tenant")
            if saved.metadata.get("user_id") is None or not isinstance(owner, str) or tenant not in (None, owner) or thread_id in self._rows:
                continue
            latest = max(saved.checkpoint["id"], found[thread_id].latest if thread_id in found else "")
            found[thread_id] = GraphThread(thread_id, owner, latest)
        return [*found.values()]

    async def next_run(self, job: str) -> str | None:
        return self._jobs.get(job)

    async def set_next_run(self, job: str, at: str) -> None:
        self._jobs[job] = at

    async def used_bytes(self) -> int:
        if self._saver is None:
            return 0
        checkpoints = sum(len(part[1]) for spaces in self._saver.storage.values() for saved in spaces.values() for kept in saved.values() for part in kept[:2])
        return checkpoints + sum(len(value) for _, value in self._saver.blobs.values())
