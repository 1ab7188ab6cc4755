"""Requests that hold many items: what was refused for a moment is asked for again, and only that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from ..wire.failures import Failure

if TYPE_CHECKING:
    from ..wire.transport import Transport

T = TypeVar("T")


async def until_whole(transport: Transport, items: Sequence[T], ask: Callable[[Sequence[T]], Awaitable[list[tuple[T, Failure]]]], within_s: float) -> None:
    """Ask for the items until none of them fails.

    Args:
        ask: one request; returns the items that failed, and why. Those that went well it keeps by itself.
        within_s: no wait ends later than so many seconds from now.

    Raises:
        RagError: what no repeat can heal, first; or no repeat is left.
    """
    retries = transport.retries.start(transport.budget)
    ends = asyncio.get_running_loop().time() + within_s
    while failed := await ask(items):
        failures = sorted((failure for _, failure in failed), key=lambda failure: failure.transient)
        if not failures[0].transient or not await retries.again(within_s=ends - asyncio.get_running_loop().time()):
            raise failures[0].error
        items = [item for item, _ in failed]
