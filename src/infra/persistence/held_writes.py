"""Writes of a step's tasks wait for the checkpoint that follows them, so that both are one transaction and one round trip.

LangGraph saves what a task wrote in the background and the checkpoint after it, a millisecond later, for each step. What it waits
for is on the disk when it goes on, as before: a write that is held is acknowledged with the checkpoint, or after `HOLD_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

T = TypeVar("T")

HOLD_S = 0.003
"""Three times what lies between the two on a busy machine; of a step whose tasks run side by side, the first one's writes wait so long."""

Write = tuple["RunnableConfig", Sequence[tuple[str, Any]], str, str]
"""The arguments of ``put_writes``."""
_Key = tuple[int, str, str]


@dataclass(slots=True, eq=False)
class Held:
    """A write, and who waits for it."""

    write: Write
    done: asyncio.Future[None]


class HeldWrites:
    """Writes by thread and namespace, of each event loop.

    Args:
        save: writes them by themselves, where no checkpoint comes.
    """

    def __init__(self, save: Callable[[Sequence[Write]], Awaitable[None]]) -> None:
        self._save = save
        self._groups: dict[_Key, list[Held]] = {}
        self._saving: set[asyncio.Task[None]] = set()

    async def put(self, write: Write) -> None:
        """Return once it is written; raises as that does. A caller that is cancelled before takes it back."""
        loop = asyncio.get_running_loop()
        held = Held(write, loop.create_future())
        key = _key(loop, write[0])
        group = self._groups.setdefault(key, [])
        if not group:
            loop.call_later(HOLD_S, self._release, key)
        group.append(held)
        try:
            await held.done
        except asyncio.CancelledError:
            if held in self._groups.get(key, ()):
                self._groups[key].remove(held)
            raise

    def take(self, config: RunnableConfig) -> list[Held]:
        """Those that a checkpoint of ``config`` follows; whoever takes them has to `settle` them."""
        return self._groups.pop(_key(asyncio.get_running_loop(), config), [])

    def _release(self, key: _Key) -> None:
        if taken := self._groups.pop(key, []):
            task = asyncio.ensure_future(self._alone(taken))
            self._saving.add(task)
            task.add_done_callback(self._saving.discard)

    async def _alone(self, taken: list[Held]) -> None:
        try:
            await settle(taken, self._save([held.write for held in taken]))
        except Exception:  # noqa: BLE001 - those who wait for the writes are told
            return


async def settle(taken: Sequence[Held], work: Awaitable[T]) -> T:
    """Wait for what writes them, and tell those who wait; raises as ``work``."""
    try:
        result = await work
    except asyncio.CancelledError:
        for held in taken:
            held.done.cancel()
        raise
    except Exception as error:
        for held in taken:
            if not held.done.done():
                held.done.set_exception(error)
        raise
    for held in taken:
        if not held.done.done():
            held.done.set_result(None)
    return result


def _key(loop: asyncio.AbstractEventLoop, config: RunnableConfig) -> _Key:
    where = config["configurable"]
    return id(loop), str(where["thread_id"]), str(where.get("checkpoint_ns", ""))
