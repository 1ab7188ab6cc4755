"""Reindexing without a pause: a new version is filled aside while the old one is read and written, then the alias moves.

Rounds of a diff by the documents' revisions bring the new version up to the old one, each with less to do. For the last
one the old index takes no writes: writers wait, they lose nothing. Then both are compared, one alias call switches, and
the old index stays. The rounds keep no state beside the two indices: a killed reindex goes on by being run again, and the
write block that it may leave behind is lifted by the next writer (`healing.py`).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from .....errors import ConflictError, RagError, WriteBlockedError
from .....telemetry.logger import get_logger
from .checking import Checks, compare
from .filling import Filling, OnProgress, Progress
from .healing import block_writes, lift_block, renewing
from .indices import SETTING, Indices
from .lifecycle import Lifecycle
from .state import LEASE_S, Version, read_lease

log = get_logger(__name__)

_FEW = 20
"""Documents left to copy at which writers are asked to wait: some tenths of a second of work."""
_ROUNDS = 50
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What a reindex did."""

    source: str
    target: str
    resumed: bool
    rounds: int
    copied: int
    """Documents written into the new index, repeats included."""
    blocked_s: float
    """Seconds for which writers had to wait."""
    seconds: float
    checks: Checks


class Reindexer:
    """Reindexes what the alias points to.

    Args:
        indices: those of the production alias; their configuration says what the new version is made of.
        on_progress: told now and then how far it is.
        force: switch although sample questions are answered otherwise; numbers of entries must agree all the same.
    """

    def __init__(self, indices: Indices, on_progress: OnProgress | None = None, *, force: bool = False) -> None:
        self._force = force
        self._indices = indices
        self._lifecycle = Lifecycle(indices)
        self._tell = on_progress or (lambda _: None)
        self._began = time.monotonic()
        self._rounds = 0

    async def run(self) -> Reindexed:
        """Fill a new version, check it, and let the alias point to it.

        Raises:
            IndexMissingError, IndexMismatchError: there is nothing to reindex, or it does not fit the configured embedder.
            WriteBlockedError: others than a reindex block writes to the index.
            ConflictError: another command builds a version, or moved the alias meanwhile.
            RagError: the checks found a difference; the alias stays, and the new version too.
        """
        source = self._indices.the_current(await self._indices.family())
        self._indices.check_made_for(source)  # how its fields are mapped may differ: that is what a reindex puts right
        _refuse_block_of_others(source)
        building = await self._lifecycle.begin("reindex", resume=True)
        if building.source != source.name:
            await self._lifecycle.release(building)
            raise ConflictError(f"The alias {self._indices.alias} moved meanwhile.", hint="Run the command again.")
        filling = Filling(self._indices, source, building, self._tell)
        try:
            async with renewing(lambda: self._lifecycle.renew(building)):
                await self._fill(filling)
                await self._lifecycle.restore(building)
                checks, blocked_s = await self._finish(filling)
        except BaseException:
            await self._lifecycle.release(building)
            raise
        seconds = time.monotonic() - self._began
        return Reindexed(source.name, building.name, building.resumed, self._rounds, filling.copied, blocked_s, seconds, checks)

    async def _fill(self, filling: Filling) -> None:
        """Rounds, until few documents differ."""
        before = None
        for at in range(_ROUNDS):
            self._rounds += 1
            differing = await filling.round("copying" if at == 0 else "catching up")
            log.info("reindex round", index=filling.building.name, differing=differing)
            if differing <= _FEW or (before is not None and differing > before * 0.8):
                return  # writers are as fast as we are: from here on only a block ends it
            before = differing

    async def _finish(self, filling: Filling) -> tuple[Checks, float]:
        for _ in range(_ATTEMPTS):
            began = time.monotonic()
            async with self._blocked(filling.source) as held:
                checks = await self._last_round(filling, held)
                if checks is not None and await held():
                    await self._lifecycle.publish(filling.building)
                    return checks, time.monotonic() - began
            log.warning("the write block was lost before the switch; another round", index=filling.source.name)
        raise ConflictError(f"The write block on {filling.source.name} is lifted by others again and again.", hint="Run the command again later.")

    async def _last_round(self, filling: Filling, held: Callable[[], Awaitable[bool]]) -> Checks | None:
        """Copy what is left and compare; None where the two differ because the block was lifted meanwhile.

        That happens to the block that follows a killed reindex's: a writer that found the old announcement lifts the new block.
        """
        self._rounds += 1
        await filling.round("switching", last=True)
        self._tell(Progress("checking", 0, 0))
        try:
            checks = await self._compare(filling)
        except RagError:
            if await held():
                raise
            return None
        return checks

    async def _compare(self, filling: Filling) -> Checks:
        target = (await self._indices.family()).find(filling.building.name)
        if target is None:
            raise ConflictError(f"{filling.building.name} was deleted meanwhile.", hint="Run the command again.")
        checks = await compare(self._indices.transport, filling.source, target, self._indices.cfg.bulk_timeout_s)
        if checks.problem and not self._force:
            raise RagError(
                f"{target.name} answers otherwise than {filling.source.name}: {checks.problem}; the alias stays.",
                hint="`rag index reindex --force` switches all the same.",
            )
        return checks

    @asynccontextmanager
    async def _blocked(self, source: Version) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
        """Writers wait inside. Yields the question whether the block held all the time: who thinks us dead lifts it."""
        now = (await self._indices.family()).find(source.name)
        if now is not None:
            _refuse_block_of_others(now)
        await block_writes(self._indices.transport, source)
        renewed = time.monotonic()

        async def renew() -> None:
            nonlocal renewed
            if await self._still_blocked(source):
                await block_writes(self._indices.transport, source)
                renewed = time.monotonic()

        async def held() -> bool:
            return time.monotonic() - renewed < LEASE_S / 2 and await self._still_blocked(source)

        try:
            async with renewing(renew):
                yield held
        finally:
            await lift_block(self._indices.transport, source)

    async def _still_blocked(self, source: Version) -> bool:
        version = (await self._indices.family()).find(source.name)
        if version is None or not version.write_blocked:
            return False
        blocked = version.state.get("blocked")
        lease = read_lease(blocked.get("by")) if isinstance(blocked, Mapping) else None
        return lease is not None and (lease.host, lease.pid) == (socket.gethostname(), os.getpid())


def _refuse_block_of_others(source: Version) -> None:
    """A reindex blocks writes for its last round and lifts that block: who blocked them before would find theirs gone."""
    if source.blocked_by_others:
        raise WriteBlockedError(
            f"{source.name} takes no writes, and it was no reindex that blocked them.",
            setting=SETTING,
            hint=f'Free disk space if it is full; an operator\'s block is lifted by PUT /{source.name}/_settings {{"index.blocks.write": null}}.',
        )
