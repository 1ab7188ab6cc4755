"""What a command announces in an index's `_meta` while it works, and putting right what a killed one left behind.

An announcement carries a lease (`versions.Lease`). Only the write block of a reindex touches an index that is in use; its
announcement stands before the block does, and whoever finds it with a lease that nobody holds lifts the block. Loading
settings (no refresh, no replicas) are only ever those of a version that is still being built aside.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from .....errors import RagError
from .....telemetry.logger import get_logger
from .state import LEASE_S, STATE, Lease, Version, read_lease

if TYPE_CHECKING:
    from ..wire.transport import Transport

log = get_logger(__name__)

TIMEOUT_S = 60.0
"""What changes the cluster's state waits for every node to hear of it."""


async def save_state(transport: Transport, target: str, changes: Mapping[str, Any]) -> None:
    """Change some of what changes in the `_meta` of a version; None takes an entry away. ``target`` is its name, or its builder's alias.

    The rest stays as it stands now, not as it was read once: who lifts a block after an hour must not take back the epoch that
    a rollback has given the version meanwhile.
    """
    answer = await transport.perform("GET", f"/{target}", timeout_s=TIMEOUT_S, index=target)
    ((_, found),) = answer.items()
    meta = found.get("mappings", {}).get("_meta", {})
    state = {key: value for key, value in {**meta.get(STATE, {}), **changes}.items() if value is not None}
    await transport.perform("PUT", f"/{target}/_mapping", body={"_meta": {**meta, STATE: state}}, timeout_s=TIMEOUT_S, index=target)


async def save_settings(transport: Transport, target: str, settings: Mapping[str, Any]) -> None:
    """Change settings of an index; None is the cluster's default."""
    await transport.perform("PUT", f"/{target}/_settings", body={"index": dict(settings)}, timeout_s=TIMEOUT_S, index=target)


async def block_writes(transport: Transport, version: Version) -> None:
    """Refuse writes from now on; returns when every write that had begun has ended."""
    await save_state(transport, version.name, {"blocked": {"by": Lease.mine().as_json()}})
    await transport.perform("PUT", f"/{version.name}/_block/write", timeout_s=TIMEOUT_S, index=version.name)


async def lift_block(transport: Transport, version: Version) -> None:
    """Take writes again, and the announcement away."""
    await save_settings(transport, version.name, {"blocks.write": None})
    await save_state(transport, version.name, {"blocked": None})


async def heal(transport: Transport, version: Version) -> bool:
    """Lift the block of a reindex that is no more; True where there was one.

    A failure is logged: reading goes on all the same, and a write meets the block itself.
    """
    blocked = version.state.get("blocked")
    if not isinstance(blocked, Mapping):
        return False
    lease = read_lease(blocked.get("by"))
    if lease is not None and not lease.given_up():
        return False
    try:
        await lift_block(transport, version)
    except RagError as error:
        log.warning("the write block of a reindex that was killed could not be lifted", index=version.name, reason=str(error))
        return False
    log.warning("the write block of a reindex that was killed was lifted", index=version.name, by=str(lease))
    return True


@asynccontextmanager
async def renewing(renew: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Call ``renew`` often enough, while the block runs, that a lease is not given up. A failed renewal is tried again."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(LEASE_S / 4)
            try:
                await renew()
            except RagError as error:
                log.warning("a lease could not be renewed", reason=str(error))

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
