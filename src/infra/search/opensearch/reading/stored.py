"""Entries as they stand in the index: records by key in real time, whole documents, records of a document id in any tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .....core.documents import Document
from .. import fields, records
from ..records import Entry
from ..wire.failures import check_whole, classify

if TYPE_CHECKING:
    from ..versions.indices import Indices
    from ..wire.transport import Transport

SORT: Final = [{fields.DOC_SORT: "asc"}, {fields.DOC_KEY: "asc"}]
"""By document id and tenant."""
_READ_IDS: Final = 500
"""Entries of one multi-get without their vectors."""
READ_CHUNKS: Final = 250
"""Chunks of one multi-get with their vectors: 1 to 2 MB."""
_FIND_IDS: Final = 200
_FOUND: Final = 5_000


@dataclass(frozen=True, slots=True)
class Record:
    """The record of a document as it stands in the index, with what guards its next change."""

    key: str
    index: str
    seq_no: int
    primary_term: int
    source: Entry

    @property
    def payload(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.source[fields.PAYLOAD]
        return found

    @property
    def acknowledged(self) -> bool:
        """A document is there; a write of it may be on its way."""
        return str(self.source[fields.KIND]) == fields.DOCUMENT

    @property
    def pending(self) -> int | None:
        """Chunks that a write which has not ended may have left; None where there is none."""
        return self.payload.get("pending")

    @property
    def settled(self) -> bool:
        """A document is there, whole."""
        return self.acknowledged and self.pending is None

    @property
    def writer(self) -> str:
        return str(self.payload.get("writer", ""))

    @property
    def chunks(self) -> int:
        return int(self.payload.get("chunks", 0))

    @property
    def places(self) -> int:
        """Chunks that may be there."""
        return max(self.chunks, self.pending or 0)

    @property
    def revision(self) -> str:
        return str(self.payload.get("revision", ""))

    @property
    def document(self) -> Document:
        return records.document_from(self.payload)


async def multi_get(transport: Transport, alias: str, ids: Sequence[str], *, only: Sequence[str] = (), timeout_s: float | None = None) -> list[dict[str, Any]]:
    """Entries by `_id`, in real time; those that are there.

    Args:
        only: parts of `_source` to bring; by default all of it.
    """
    found: list[dict[str, Any]] = []
    for start in range(0, len(ids), _READ_IDS):
        found += await _get(transport, alias, list(ids[start : start + _READ_IDS]), ",".join(only), timeout_s)
    return found


async def _get(transport: Transport, alias: str, ids: list[str], only: str, timeout_s: float | None) -> list[dict[str, Any]]:
    """One multi-get; what a shard could not give at the moment (it is starting, or moving) is asked for again."""
    params = {"_source_includes": only} if only else None
    retries = transport.retries.start(transport.budget)
    found: list[dict[str, Any]] = []
    while True:
        answer = await transport.perform("POST", f"/{alias}/_mget", params=params, body={"ids": ids}, timeout_s=timeout_s, index=alias)
        found += [entry for entry in answer["docs"] if entry.get("found")]
        failed = [entry for entry in answer["docs"] if "error" in entry]
        if not failed:
            return found
        failure = classify(503, failed[0], transport.host, alias)
        if not failure.transient or not retries.take() or not await retries.pause():
            raise failure.error
        ids = [entry["_id"] for entry in failed]


async def read_records(transport: Transport, alias: str, keys: Sequence[str]) -> dict[str, Record]:
    """Records by key, in real time."""
    return {entry["_id"]: record_of(entry) for entry in await multi_get(transport, alias, keys)}


def record_of(entry: Mapping[str, Any]) -> Record:
    return Record(entry["_id"], entry["_index"], entry["_seq_no"], entry["_primary_term"], entry["_source"])


async def search(transport: Transport, path: str, body: Mapping[str, Any], alias: str) -> dict[str, Any]:
    """The answer of a search in which every shard took part.

    Raises:
        PartialResultError: one did not.
    """
    answer: dict[str, Any] = await transport.perform("POST", path, body=body, index=alias)
    check_whole(answer, False, host=transport.host, index=alias)
    return answer


async def refresh(transport: Transport, alias: str, timeout_s: float) -> None:
    """After this, searches see everything that was acknowledged."""
    await transport.perform("POST", f"/{alias}/_refresh", timeout_s=timeout_s, index=alias)


@dataclass(frozen=True, slots=True)
class Held:
    """A document as it lies in the index."""

    record: Record
    chunks: list[Entry]
    """By place; those that are there."""

    @property
    def whole(self) -> bool:
        revisions = (entry[fields.PAYLOAD]["revision"] for entry in self.chunks)
        return self.record.settled and len(self.chunks) == self.record.chunks and all(revision == self.record.revision for revision in revisions)


async def find_everywhere(transport: Transport, indices: Indices, document_ids: Sequence[str]) -> list[str]:
    """Keys of the documents with these ids in every tenant, by id and tenant."""
    state = await indices.current()
    await refresh(transport, state.alias, indices.cfg.bulk_timeout_s)
    wanted = list(dict.fromkeys(document_ids))
    found: list[tuple[str, str]] = []
    for start in range(0, len(wanted), _FIND_IDS):
        ids = wanted[start : start + _FIND_IDS]
        should = [{"prefix": {fields.DOC_SORT: records.sort_prefix(document_id)}} for document_id in ids]
        query = {"bool": {"filter": [{"term": {fields.KIND: fields.DOCUMENT}}, {"bool": {"should": should}}]}}
        body: dict[str, Any] = {"size": _FOUND, "query": query, "sort": SORT, "_source": [f"{fields.PAYLOAD}.id", f"{fields.PAYLOAD}.tenant"]}
        after: list[Any] | None = None
        while True:
            answer = await search(transport, f"/{state.alias}/_search", body | ({"search_after": after} if after else {}), state.alias)
            hits = answer["hits"]["hits"]
            found += [(hit["sort"][0], hit["_id"]) for hit in hits if records.id_from(hit["_source"][fields.PAYLOAD]) in ids]
            if len(hits) < _FOUND:
                break
            after = hits[-1]["sort"]
    return [key for _, key in sorted(found)]
