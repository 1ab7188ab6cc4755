"""Bringing the version that is being built up to the one that is in use: one round of a diff."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from ...protocol import DocumentWrite
from .. import fields
from ..records import chunk_from, chunk_key, document_from, pending_entry, vectors_from
from ..writing.bulk import Action, Bulk
from ..writing.writer import Writer
from .diffing import Held, Line, Pair, batches, differences, lines, read_held
from .indices import Indices
from .lifecycle import Building
from .state import Version

Phase = Literal["copying", "catching up", "switching", "checking"]

_PAGE = 500
"""Differing documents that are gathered before they are read and written."""


@dataclass(frozen=True, slots=True)
class Progress:
    phase: Phase
    done: int
    """Differing documents that were dealt with in this phase."""
    total: int
    """Documents of the index; 0 where it does not matter."""


OnProgress = Callable[[Progress], None]


class Filling:
    """
    Args:
        indices: those of the production alias.
        source: the version in use.
        building: the one to fill; written through its own alias only.
    """

    def __init__(self, indices: Indices, source: Version, building: Building, tell: OnProgress) -> None:
        self.source = source
        self.building = building
        self.copied = 0
        """Documents written, repeats included."""
        self._transport = indices.transport
        self._dims = indices.dims
        self._timeout_s = indices.cfg.bulk_timeout_s
        self._tell = tell
        cfg = indices.cfg.model_copy(update={"index_alias": building.alias})
        aside = Indices(indices.transport, cfg, indices.embedder, indices.dims, may_create=False)
        self._writer = Writer(indices.transport, aside, cfg)
        self._bulk = Bulk(indices.transport, cfg, building.alias)

    async def round(self, phase: Phase, *, last: bool = False) -> int:
        """Look at all records once and copy or delete what differs; how many documents did.

        Args:
            last: nobody writes to the source any more, so what is unfinished there will not be finished there.
        """
        for name in (self.source.name, self.building.name):
            await self._transport.perform("POST", f"/{name}/_refresh", timeout_s=self._timeout_s, index=name)
        total = await self._documents()
        differing = 0
        async with (
            aclosing(lines(self._transport, self.source.name, self._timeout_s)) as ours,
            aclosing(lines(self._transport, self.building.name, self._timeout_s)) as theirs,
            aclosing(differences(ours, theirs)) as pairs,
        ):
            page: list[Pair] = []
            async for pair in pairs:
                page.append(pair)
                if len(page) >= _PAGE:
                    await self._apply(page, last=last)
                    differing, page = differing + len(page), []
                    self._tell(Progress(phase, differing, total))
            await self._apply(page, last=last)
            differing += len(page)
        self._tell(Progress(phase, differing, total))
        return differing

    async def _documents(self) -> int:
        name = self.source.name
        answer = await self._transport.perform("POST", f"/{name}/_count", body={"query": {"term": {fields.KIND: fields.DOCUMENT}}}, index=name)
        return int(answer["count"])

    async def _apply(self, page: Sequence[Pair], *, last: bool) -> None:
        gone = [theirs for ours, theirs in page if ours is None and theirs is not None]
        async with aclosing(self._read_ahead([ours for ours, _ in page if ours is not None])) as read:
            async for held in read:
                whole = [one for one in held if one.whole]
                await self._writer.write([self._as_write(one) for one in whole])
                self.copied += len(whole)
                if last:
                    await self._copy_unfinished([one for one in held if not one.whole])
        if gone:
            await self._bulk_all(_chunk_deletes(gone))
            await self._bulk_all(Action(line.key, None, "delete") for line in gone)

    async def _read_ahead(self, wanted: Sequence[Line]) -> AsyncGenerator[list[Held], None]:
        """Documents batch by batch; the next is read while one is written."""
        ahead: asyncio.Task[list[Held]] | None = None
        try:
            for batch in [*batches(wanted), None]:
                held = None if ahead is None else await ahead
                reading = None if batch is None else read_held(self._transport, self.source.name, batch, self._timeout_s)
                ahead = None if reading is None else asyncio.create_task(reading)
                if held is not None:
                    yield held
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.wait({ahead})

    def _as_write(self, held: Held) -> DocumentWrite:
        found = {(chunk := chunk_from(entry[fields.PAYLOAD])).id: (chunk, entry) for _, entry in sorted(held.chunks.items())}
        chunks = tuple(chunk for chunk, _ in found.values())
        return DocumentWrite(document_from(held.record[fields.PAYLOAD]), chunks, vectors_from([entry for _, entry in found.values()], self._dims))

    async def _copy_unfinished(self, held: Sequence[Held]) -> None:
        """Documents in the middle of a write, as they are: the writer, who waits, or the next one makes them good."""
        if not held:
            return
        await self._writer.write([self._as_write(one) for one in held])
        self.copied += len(held)
        await self._bulk_all(Action(one.line.key, _unfinished(one)) for one in held)

    async def _bulk_all(self, actions: Iterator[Action]) -> None:
        report = await self._bulk.run(actions)
        if report.failed:
            raise report.failed[0]


def _unfinished(held: Held) -> dict[str, object]:
    said = held.record[fields.PAYLOAD]
    places = max(held.line.places, int(said.get("pending") or 0), len(held.chunks))
    return pending_entry(held.record, pending=places, writer=said.get("writer", ""))


def _chunk_deletes(gone: Sequence[Line]) -> Iterator[Action]:
    for line in gone:
        for at in range(line.places):
            yield Action(chunk_key(line.key, at), None, "delete")
