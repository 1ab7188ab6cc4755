"""What is kept of a thread beside its checkpoints: whose it is, its title, its dates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ThreadRow:
    """One thread. Dates are ISO 8601 in UTC; ``turns`` counts finished ones, a thread without any is not listed."""

    thread_id: str
    tenant: str
    user: str
    title: str
    created_at: str
    updated_at: str
    turns: int = 0

    def touched(self, updated_at: str, turns: int) -> ThreadRow:
        return replace(self, updated_at=updated_at, turns=turns)


@dataclass(frozen=True, slots=True)
class GraphThread:
    """A thread of somebody's own graph, as its checkpoints tell: it ran with a config of `create_langgraph_config`."""

    thread_id: str
    tenant: str
    latest: str
    """The id of its latest checkpoint, a version 6 UUID, which tells the time."""


def storable(text: str) -> bool:
    """Whether databases can hold such a text, or have a thread of such an id: they take neither NUL nor lone surrogates."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


class ThreadRows(Protocol):
    """Where thread rows are kept. Raises ``StorageError`` kinds."""

    async def get(self, thread_id: str) -> ThreadRow | None: ...

    async def page(self, tenant: str, user: str, limit: int, before: tuple[str, str] | None) -> list[ThreadRow]:
        """Threads of one user with at least one turn, the latest first; ``before`` is (updated_at, thread_id) of the last one seen."""
        ...

    async def add(self, row: ThreadRow) -> None:
        """Keep a new thread; one that is there stays as it is."""
        ...

    async def touch(self, thread_id: str, updated_at: str, turns: int) -> bool:
        """Record a finished turn; False where the thread is gone."""
        ...

    async def rename(self, thread_id: str, title: str) -> bool:
        """Another title; False where the thread is gone."""
        ...

    async def delete(self, thread_id: str) -> None: ...

    async def of_user(self, tenant: str, user: str) -> list[str]:
        """Ids of all threads of one user, those without a turn too."""
        ...

    async def surplus(self, tenant: str | None, before: str | None, keep: int | None) -> list[str]:
        """Ids of the threads with a turn that were last used before a date, and of those beyond each tenant's ``keep`` latest; one tenant's, or all's."""
        ...

    async def all_ids(self, tenant: str | None) -> list[str]:
        """Ids of one tenant's threads with a turn, or of all's."""
        ...

    async def unfinished(self, tenant: str | None) -> list[str]:
        """Ids of one tenant's threads without a turn, or of all's: their first answer is under way, waits for a decision, or was never finished."""
        ...

    async def runs_of(self, tenant: str, user: str) -> list[str]:
        """Ids under which checkpoints of a user lie, also those of graphs that are not ours: their metadata names the user."""
        ...

    async def graph_threads(self, tenant: str | None) -> list[GraphThread]:
        """Threads that have checkpoints of a user, and no row here: of graphs that are not ours; one tenant's, or all's."""
        ...

    async def next_run(self, job: str) -> str | None:
        """When a job of all replicas is due; None where it never ran."""
        ...

    async def set_next_run(self, job: str, at: str) -> None: ...

    async def used_bytes(self) -> int:
        """What checkpoints and thread rows take, without what the database keeps free for later."""
        ...
