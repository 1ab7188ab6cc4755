"""How two versions of an index differ, by the records of their documents; and whole documents, read by key."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import fields
from ..records import Entry, chunk_key
from ..wire.failures import check_whole

if TYPE_CHECKING:
    from ..wire.transport import Transport

_PAGE = 2000
"""Records listed at a time: 200 kB."""
_READ_CHUNKS = 250
"""Chunks of one request: 1 to 2 MB with their vectors."""
_BATCH_CHUNKS = 1000
"""Chunks that are read and written together, as many as the writer takes in one go."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a record says of its document."""

    key: str
    revision: str
    """Empty for a document whose first write has not ended."""
    pending: int
    """More than 0: a write has not ended, and up to that many chunks may be there, of either revision."""
    chunks: int

    @property
    def places(self) -> int:
        """Chunks that may be there."""
        return max(self.chunks, self.pending)


Pair = tuple[Line | None, Line | None]
"""The same document in source and target; None where it is not there."""


async def lines(transport: Transport, index: str, timeout_s: float) -> AsyncGenerator[Line, None]:
    """The records that a refreshed index shows, by key. A record that changes on the way keeps its place."""
    after: Any = None
    payload = [f"{fields.PAYLOAD}.{name}" for name in ("revision", "pending", "chunks")]
    while True:
        body: dict[str, Any] = {
            "size": _PAGE,
            "query": {"bool": {"filter": [{"terms": {fields.KIND: [fields.DOCUMENT, fields.INTENT]}}]}},
            "sort": [{fields.DOC_KEY: "asc"}],
            "_source": payload,
            "track_total_hits": False,
        }
        if after is not None:
            body["search_after"] = after
        hits = await search(transport, index, body, timeout_s)
        for hit in hits:
            said = hit.get("_source", {}).get(fields.PAYLOAD, {})
            yield Line(hit["_id"], said.get("revision") or "", int(said.get("pending") or 0), int(said.get("chunks") or 0))
        if len(hits) < _PAGE:
            return
        after = hits[-1]["sort"]


async def search(transport: Transport, index: str, body: Mapping[str, Any], timeout_s: float) -> list[dict[str, Any]]:
    """The hits of a search in which every shard answered.

    Raises:
        PartialResultError: one did not.
    """
    answer = await transport.perform("POST", f"/{index}/_search", body=body, timeout_s=timeout_s, index=index)
    check_whole(answer, allow_partial=False, host=transport.host, index=index)
    hits: list[dict[str, Any]] = answer["hits"]["hits"]
    return hits


async def differences(source: AsyncGenerator[Line, None], target: AsyncGenerator[Line, None]) -> AsyncGenerator[Pair, None]:
    """Documents that differ, by key. One that is being written differs always: its chunks change while its record does not."""
    ours, theirs = await anext(source, None), await anext(target, None)
    while ours is not None or theirs is not None:
        if theirs is None or (ours is not None and ours.key < theirs.key):
            yield ours, None
            ours = await anext(source, None)
        elif ours is None or theirs.key < ours.key:
            yield None, theirs
            theirs = await anext(target, None)
        else:
            if ours != theirs or ours.pending:
                yield ours, theirs
            ours, theirs = await anext(source, None), await anext(target, None)


def batches(pairs: Sequence[Line]) -> Iterable[list[Line]]:
    """Documents that are read together; one with very many chunks stands alone."""
    batch: list[Line] = []
    size = 0
    for line in pairs:
        if batch and size + line.places + 1 > _BATCH_CHUNKS:
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += line.places + 1
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Held:
    """A document as it lies in an index."""

    line: Line
    record: Entry
    chunks: Mapping[int, Entry]
    """By place."""

    @property
    def whole(self) -> bool:
        """All its chunks are there, of the record's own revision, and no write is on its way."""
        said = self.record[fields.PAYLOAD]
        ours = all(entry[fields.PAYLOAD].get("revision") == said.get("revision") for entry in self.chunks.values())
        return ours and not said.get("pending") and sorted(self.chunks) == list(range(said.get("chunks", -1)))


async def read_held(transport: Transport, index: str, wanted: Sequence[Line], timeout_s: float) -> list[Held]:
    """The documents that are there, as they are now (not as the last refresh showed them)."""
    ids = [key for line in wanted for key in (line.key, *(chunk_key(line.key, at) for at in range(line.places)))]
    found: dict[str, Entry] = {}
    for first in range(0, len(ids), _READ_CHUNKS):
        body = {"ids": ids[first : first + _READ_CHUNKS]}
        answer = await transport.perform("POST", f"/{index}/_mget", body=body, timeout_s=timeout_s, index=index)
        found |= {doc["_id"]: doc["_source"] for doc in answer["docs"] if doc.get("found")}
    held = []
    for line in wanted:
        record = found.get(line.key)
        if record is not None:
            chunks = {at: entry for at in range(line.places) if (entry := found.get(chunk_key(line.key, at))) is not None}
            held.append(Held(line, record, chunks))
    return held
