"""Bringing the version that is being built up to the one that is in use: one round of a diff."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from ...protocol import DocumentWrite
from .. import fields
from ..reading.stored import Held, batches, read_held
from ..records import chunk_copies, chunk_from, chunk_key, pending_entry, vectors_from
from ..writing.bulk import Action, Bulk, OnItem
from ..writing.writer import GROUP_CHUNKS, Writer, chunk_version
from .diffing import Line, Pair, differences, lines
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
        self._aside = aside
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
        beyond = {theirs.key: theirs.places for _, theirs in page if theirs is not None}
        async with aclosing(self._read_ahead([ours for ours, _ in page if ours is not None])) as read:
            async for held in read:
                whole = [one for one in held if one.whole]
                await self._writer.write([self._as_write(one) for one in whole])
                self.copied += len(whole)
                if last:
                    await self._copy_unfinished([one for one in held if not one.whole], beyond)
        if gone:
            await self._bulk_all(_chunk_deletes(gone))
            await self._bulk_all(Action(line.key, None, "delete") for line in gone)

    async def _read_ahead(self, wanted: Sequence[Line]) -> AsyncGenerator[list[Held], None]:
        """Documents batch by batch; the next is read while one is written."""
        ahead: asyncio.Task[list[Held]] | None = None
        try:
            for batch in [*batches([(line.key, line.places) for line in wanted], GROUP_CHUNKS), None]:
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
        entries = list(held.chunks.values())
        return DocumentWrite(held.record.document, tuple(chunk_from(entry[fields.PAYLOAD]) for entry in entries), vectors_from(entries, self._dims))

    async def _copy_unfinished(self, held: Sequence[Held], beyond: Mapping[str, int]) -> None:
        """Documents in the middle of a write, as they lie there: the writer, who waits, or the next one makes them good.

        The record has the access list of the old revision, and chunks of the new one may be there already: each keeps its own.

        Args:
            beyond: chunks that the new version may hold of them, by key.
        """
        if not held:
            return
        places = {one.record.key: max([one.record.places, beyond.get(one.record.key, 0), *(at + 1 for at in one.chunks)]) for one in held}
        fences: dict[str, int] = {}
        marks = (Action(one.record.key, pending_entry(one.record.source, places[one.record.key], one.record.writer)) for one in held)
        await self._bulk_all(marks, lambda action, item: fences.update({action.id: item["_seq_no"]}))
        epoch = (await self._aside.current()).epoch
        await self._bulk_all(action for one in held for action in _as_it_lies(one, places[one.record.key], chunk_version(epoch, fences[one.record.key])))
        self.copied += len(held)

    async def _bulk_all(self, actions: Iterator[Action], on_item: OnItem | None = None) -> None:
        report = await self._bulk.run(actions, on_item=on_item)
        if report.failed:
            raise report.failed[0]


def _as_it_lies(held: Held, places: int, version: int) -> Iterator[Action]:
    """All places of a document: its chunks, and nothing where there is none."""
    for at, entry in chunk_copies(held.chunks):
        yield Action(chunk_key(held.record.key, at), entry, version=version)
    for at in range(places):
        if at not in held.chunks:
            yield Action(chunk_key(held.record.key, at), None, "delete", version=version)


def _chunk_deletes(gone: Sequence[Line]) -> Iterator[Action]:
    for line in gone:
        for at in range(line.places):
            yield Action(chunk_key(line.key, at), None, "delete")
