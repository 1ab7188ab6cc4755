"""Writing and deleting whole documents in an index that knows no transactions.

A group of documents takes four requests: (1) read their records; (2) mark each record as pending, guarded by its sequence
number, so that of two writers one goes on; (3) write all chunks and delete the places beyond, (4) write, or delete, the
record, guarded again. Only then is a document acknowledged. A killed writer leaves a pending record, and the next write
or delete of the document makes good what it left.

The sequence number of the mark is also the version of every chunk that is written behind it. It only grows, so a chunk
that arrives late, from a request that timed out or from a writer that was overtaken, never takes the place of a newer one.
Each index counts its sequence numbers from 0; the epoch of the index (`versions.Version.epoch`) stands before them, so that
what was meant for the index before a switch counts as older, too, where it arrives in the one behind it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .....core.identity import AccessScope
from .....errors import BulkItemError, ConflictError, RefusedItemsError, ServiceUnavailableError, WriteBlockedError
from ....resilience.deadline import check
from ....resilience.retry import RetryPolicy, half
from ... import requests
from ...access import visible
from ...protocol import DocumentWrite
from ...revision import digest
from .. import records
from ..reading.stored import Record, find_everywhere, read_records
from .bulk import Action, Bulk
from .patience import Waiting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ....config import SearchCfg
    from ..versions.indices import IndexState, Indices
    from ..wire.transport import Transport

GROUP_CHUNKS: Final = 1000
GROUP_DOCUMENTS: Final = 500
_SEQUENCE_BITS: Final = 40
"""A shard's sequence numbers stay below 2^40, a million million writes; epochs have the other 23 bits of a version."""
PATIENCE_S: Final = 2.0
"""Another writer's mark that stands still for as long belongs to a writer that is no more; doubled each time that proves wrong."""
CONFLICT_S: Final = 60.0
"""Without getting one document further, other writers are given way to for as long."""
_TURNS: Final = RetryPolicy(None, base_s=0.05, cap_s=0.8, uniform=half)
"""Writers that met once should not meet again."""
_BLOCKED: Final = RetryPolicy(None, cap_s=2.0, uniform=half)

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Job:
    """One document to write, or to delete (``write`` is None)."""

    key: str
    write: DocumentWrite | None = None
    vectors: NDArray[np.float32] | None = None
    revision: str = ""
    record: Record | None = None
    index: str = ""
    """Where the mark stands; a later step that lands elsewhere met a switch, and the document begins again."""
    epoch: int = 0
    """Of the index that the alias was last seen to point to."""
    fence: tuple[int, int] = (0, 0)
    """Sequence number and primary term of the mark."""
    counted: bool = False
    """A delete took away a document."""
    ended: bool = False
    unanswered: bool = False
    """Its delete was sent again, because the answer was lost: if the record is gone now, this was it."""
    lost: bool = False
    """Another writer or a switch came between: begin again."""
    forced: bool = False
    """Write even what looks unchanged."""
    refused: BulkItemError | None = None
    watched: tuple[int, float] = (-1, 0.0)
    """Another writer's mark, and when it was first seen."""
    patience_s: float = PATIENCE_S

    @property
    def chunks(self) -> int:
        return 0 if self.write is None else len(self.write.chunks)

    @property
    def places(self) -> int:
        """As many chunks may be there until the write has ended."""
        return self.chunks if self.record is None else max(self.chunks, self.record.chunks, self.record.pending or 0)


class Writer:
    """
    Args:
        transport: how requests travel.
        indices: those of the alias that is written to.
        cfg: sizes of bulk requests, and how long one may take.
    """

    def __init__(self, transport: Transport, indices: Indices, cfg: SearchCfg) -> None:
        self._transport = transport
        self._indices = indices
        self._cfg = cfg
        self.waiting = Waiting(cfg)

    async def write(self, documents: Sequence[DocumentWrite]) -> None:
        """Insert or replace whole documents; each is acknowledged when this returns. Unchanged ones cost one request a group.

        Raises:
            InputError: vectors do not fit the chunks or the index; nothing was written.
            ConflictError: other writers keep writing the same documents.
            RefusedItemsError: the server refuses some documents for good; all others were written.
            WriteBlockedError: the index takes no writes.
        """
        jobs: dict[str, _Job] = {}
        for write in documents:
            vectors = requests.checked_vectors(write, self._indices.dims)
            key = records.doc_key(write.document.tenant, write.document.id)
            jobs.pop(key, None)  # of several the last one counts, in its place
            jobs[key] = _Job(key, write, vectors, digest(write.document, write.chunks, vectors).hex())
        await self._run(list(jobs.values()))
        _raise_refused(list(jobs.values()))

    async def delete(self, document_ids: Sequence[str], scope: AccessScope) -> int:
        """Delete the documents that the scope may see; a system scope deletes from every tenant. Returns how many were there."""
        keys = [records.doc_key(scope.tenant, document_id) for document_id in document_ids]
        if scope.system:
            keys += await find_everywhere(self._transport, self._indices, document_ids)
        jobs = [_Job(key) for key in dict.fromkeys(keys)]
        await self._run(jobs, scope)
        _raise_refused(jobs)
        return sum(job.counted for job in jobs)

    async def _run(self, jobs: Sequence[_Job], scope: AccessScope | None = None) -> None:
        for group in _groups(jobs):
            try:
                await _Group(self._transport, self._indices, self._cfg, self.waiting, group, scope).run()
            except ServiceUnavailableError:
                self.waiting.lost()
                raise


def _groups(jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
    group: list[_Job] = []
    chunks = 0
    for job in jobs:
        if group and (chunks + job.chunks > GROUP_CHUNKS or len(group) >= GROUP_DOCUMENTS):
            yield group
            group, chunks = [], 0
        group.append(job)
        chunks += job.chunks
    if group:
        yield group


def _raise_refused(jobs: Sequence[_Job]) -> None:
    refused = [job.refused for job in jobs if job.refused is not None]
    if refused:
        message = f"OpenSearch refused {len(refused)} of {len(jobs)} documents; the others are written. The first: {refused[0].message}"
        raise RefusedItemsError(message, items=refused, hop=refused[0].hop, hint=refused[0].hint)


@dataclass(slots=True)
class _Group:
    """Documents that take their steps together."""

    transport: Transport
    indices: Indices
    cfg: SearchCfg
    waiting: Waiting
    jobs: list[_Job]
    scope: AccessScope | None = None
    """Of a delete."""
    writer: str = field(default_factory=lambda: uuid.uuid4().hex)

    async def run(self) -> None:
        """Take every document to its end, or raise."""
        turns = _TURNS.start()
        open_jobs = self.jobs
        while open_jobs:
            before = len(open_jobs)
            try:
                await self._round(open_jobs)
            except WriteBlockedError as error:
                await self._until_open(error)
                turns = _TURNS.start()
            open_jobs = [job for job in open_jobs if not job.ended]
            if len(open_jobs) < before:
                turns = _TURNS.start()
            if open_jobs:
                check("waiting for another writer of the same documents")
                if turns.waited_s > CONFLICT_S or not await turns.again():
                    raise self._conflict(open_jobs, turns.waited_s)

    def _conflict(self, jobs: Sequence[_Job], waited_s: float) -> ConflictError:
        return ConflictError(
            f"Other writers kept writing {len(jobs)} of the same documents for {waited_s:.2g} s.",
            hop=self.transport.host,
            hint="Let one process write a document at a time.",
        )

    # -- the steps

    async def _round(self, jobs: Sequence[_Job]) -> None:
        state, found = await self.waiting.answer(lambda: self._read(jobs))
        now = asyncio.get_running_loop().time()
        ready = []
        for job in jobs:
            job.record, job.lost, job.epoch = found.get(job.key), False, state.epoch
            if self._is_done(job):
                job.ended = True
                job.counted = job.record is None and job.unanswered
            elif not self._is_anothers(job, now):
                ready.append(job)
        marked = await self._mark(ready) if ready else []
        if marked:
            await self._put_chunks(marked)
            await self._finish([job for job in marked if not job.lost and job.refused is None])

    async def _read(self, jobs: Sequence[_Job]) -> tuple[IndexState, dict[str, Record]]:
        state = await self.indices.ensure() if self.scope is None else await self.indices.current()
        return state, await read_records(self.transport, state.alias, [job.key for job in jobs])

    def _is_done(self, job: _Job) -> bool:
        """Nothing is left to do."""
        record = job.record
        if job.write is not None:
            return record is not None and record.settled and record.revision == job.revision and not job.forced
        return record is None or (self.scope is not None and not visible(record.document, self.scope))

    def _is_anothers(self, job: _Job, now: float) -> bool:
        """Another writer is at it, and may still be alive."""
        record = job.record
        if record is None or record.pending is None or record.writer == self.writer:
            return False
        if job.watched[0] != record.seq_no:
            job.watched = (record.seq_no, now)
        if now - job.watched[1] < job.patience_s:
            return True
        job.patience_s *= 0.5 + 2 * half()  # by 1.5 to 2.5
        return False

    async def _mark(self, jobs: Sequence[_Job]) -> list[_Job]:
        """Mark the records as pending; those that got it."""
        by_key = {job.key: job for job in jobs}
        marked: list[_Job] = []

        def taken(action: Action, item: Mapping[str, Any]) -> None:
            job = by_key[action.id]
            job.fence, job.index = (item["_seq_no"], item["_primary_term"]), item["_index"]
            marked.append(job)

        report = await self._bulk().run((self._intent(job) for job in jobs), on_item=taken)
        self._note(report.failed, by_key)
        return marked

    def _intent(self, job: _Job) -> Action:
        record = job.record
        if record is None:
            assert job.write is not None
            return Action(job.key, records.intent_entry(job.write.document, pending=job.places, writer=self.writer), "create")
        if record.acknowledged or job.write is None:
            entry = records.pending_entry(record.source, pending=job.places, writer=self.writer)
        else:
            entry = records.intent_entry(job.write.document, pending=job.places, writer=self.writer)
        return Action(job.key, entry, guard=(record.seq_no, record.primary_term))

    async def _put_chunks(self, jobs: Sequence[_Job]) -> None:
        """All chunks, and nothing at the places beyond."""
        by_key = {job.key: job for job in jobs}

        def taken(action: Action, item: Mapping[str, Any]) -> None:
            _check_place(by_key[action.id.partition("-")[0]], item)

        report = await self._bulk().run(_chunk_actions(jobs), on_item=taken)
        self._note(report.failed, by_key)

    async def _finish(self, jobs: Sequence[_Job]) -> None:
        by_key = {job.key: job for job in jobs}

        def taken(action: Action, item: Mapping[str, Any]) -> None:
            job = by_key[action.id]
            _check_place(job, item)
            job.ended = not job.lost
            job.counted = job.ended and job.write is None and job.record is not None and job.record.acknowledged

        report = await self._bulk().run((_final(job) for job in jobs), on_item=taken)
        self._note(report.failed, by_key)
        for job in jobs:
            job.unanswered = job.lost and report.repeated > 0 and job.record is not None and job.record.acknowledged

    def _bulk(self) -> Bulk:
        return Bulk(self.transport, self.cfg, self.indices.alias)

    @staticmethod
    def _note(failed: Sequence[BulkItemError], by_key: Mapping[str, _Job]) -> None:
        for error in failed:
            job = by_key[error.item_id.partition("-")[0]]
            if error.status == 409:
                job.lost = True
            else:
                job.refused, job.ended = job.refused or error, True

    # -- a blocked index

    async def _until_open(self, error: WriteBlockedError) -> None:
        """Return once a reindex has let go of the index, or the alias points to the next.

        Raises:
            WriteBlockedError: an operator's block, or a full disk; or it lasted too long.
        """
        clock = asyncio.get_running_loop().time
        ends, turns = clock() + self.cfg.bulk_timeout_s, _BLOCKED.start()
        while True:
            self.indices.forget()
            state = await self.waiting.answer(self.indices.ensure)
            if not state.write_blocked:
                return
            check("waiting for the index to take writes again")
            if "blocked" not in state.version.state or clock() > ends or not await turns.again():
                raise error


def _check_place(job: _Job, item: Mapping[str, Any]) -> None:
    """A step that landed in another index than the mark met a switch: whatever the record there says, all is written again."""
    if item["_index"] != job.index:
        job.lost = job.forced = True


def chunk_version(epoch: int, fence: int) -> int:
    """Version of the chunks that are written behind a mark with the sequence number ``fence``."""
    return (epoch << _SEQUENCE_BITS) + fence + 1


async def _chunk_actions(jobs: Sequence[_Job]) -> AsyncIterator[Action]:
    for job in jobs:
        version = chunk_version(job.epoch, job.fence[0])
        if job.write is not None and job.vectors is not None:
            for at, entry in enumerate(records.chunk_entries(job.write, job.vectors, job.revision)):
                yield Action(records.chunk_key(job.key, at), entry, version=version)
        for at in range(job.chunks, job.places):
            yield Action(records.chunk_key(job.key, at), None, "delete", version=version)


def _final(job: _Job) -> Action:
    if job.write is None:
        return Action(job.key, None, "delete", guard=job.fence)
    entry = records.record_entry(job.write.document, chunks=job.chunks, revision=job.revision)
    return Action(job.key, entry, guard=job.fence)
