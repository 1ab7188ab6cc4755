"""Which threads of a user wait for a decision: ids alone, to find them by. Whether one still waits its checkpoint says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .user_context import user_namespace

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

    from .rows import ThreadRow

ROOM = "approvals"
MOST_LISTED = 200


class WaitingList:
    """In the user's part of the store, so that it is erased with them; an entry goes with its thread."""

    def __init__(self, store: BaseStore) -> None:
        self._store = store

    async def add(self, tenant: str, user: str, thread_id: str, approval_id: str) -> None:
        await self._store.aput(_place(tenant, user), thread_id, {"approval_id": approval_id}, index=False)

    async def of_user(self, tenant: str, user: str) -> list[str]:
        """Ids of threads."""
        return [item.key for item in await self._store.asearch(_place(tenant, user), limit=MOST_LISTED)]

    async def remove(self, tenant: str, user: str, thread_id: str) -> None:
        await self._store.adelete(_place(tenant, user), thread_id)

    async def forget_thread(self, row: ThreadRow) -> None:
        """A thread is deleted (`threads.Beside`)."""
        await self.remove(row.tenant, row.user, row.thread_id)


def _place(tenant: str, user: str) -> tuple[str, ...]:
    return (*user_namespace(tenant, user), ROOM)
