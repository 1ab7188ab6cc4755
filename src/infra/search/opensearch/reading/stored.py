"""Entries as they stand in the index: records by key in real time, whole documents, records of a document id in any tenant."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from .....core.documents import Document
from .....core.identity import AccessScope
from .....errors import ServicePermissionError
from ...access import principal_term, scope_terms
from .. import fields, records
from ..records import Entry
from ..wire.failures import Failure, check_whole, classify
from .repeats import until_whole

if TYPE_CHECKING:
    from ..versions.indices import Indices
    from ..wire.transport import Transport

SORT: Final = [{fields.DOC_SORT: "asc"}, {fields.DOC_KEY: "asc"}]
"""By document id and tenant."""
_READ_IDS: Final = 500
"""Entries of one multi-get without their vectors."""
READ_CHUNKS: Final = 250
"""Chunks of one multi-get with their vectors: 1 to 2 MB."""
Wanted = tuple[str, int]
"""A document's key, and the chunks that may be there."""
Refreshing = Callable[["Transport", str, float], Awaitable[None]]
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


async def multi_get(
    transport: Transport, alias: str, ids: Sequence[str], *, only: Sequence[str] = (), timeout_s: float | None = None, at_once: int = _READ_IDS
) -> list[dict[str, Any]]:
    """Entries by `_id`, in real time; those that are there. What a shard cannot give (it is starting, or moving) is asked for again.

    Args:
        only: parts of `_source` to bring; by default all of it.
        at_once: ids of one request.

    Raises:
        ServiceUnavailableError: a shard gave none to the end.
    """
    params = {"_source_includes": ",".join(only)} if only else None
    found: list[dict[str, Any]] = []

    async def ask(wanted: Sequence[str]) -> list[tuple[str, Failure]]:
        answer = await transport.perform("POST", f"/{alias}/_mget", params=params, body={"ids": list(wanted)}, timeout_s=timeout_s, index=alias)
        found.extend(entry for entry in answer["docs"] if entry.get("found"))
        return [(entry["_id"], classify(503, entry, transport.host, alias)) for entry in answer["docs"] if "error" in entry]

    for start in range(0, len(ids), at_once):
        await until_whole(transport, ids[start : start + at_once], ask, math.inf if timeout_s is None else timeout_s)
    return found


async def read_records(transport: Transport, alias: str, keys: Sequence[str]) -> dict[str, Record]:
    """Records by key, in real time."""
    return {entry["_id"]: record_of(entry) for entry in await multi_get(transport, alias, keys)}


def record_of(entry: Mapping[str, Any]) -> Record:
    return Record(entry["_id"], entry["_index"], entry["_seq_no"], entry["_primary_term"], entry["_source"])


async def search(transport: Transport, path: str, body: Mapping[str, Any], alias: str, timeout_s: float | None = None) -> dict[str, Any]:
    """The answer of a search in which every shard took part.

    Raises:
        PartialResultError: one did not.
    """
    answer: dict[str, Any] = await transport.perform("POST", path, body=body, timeout_s=timeout_s, index=alias)
    check_whole(answer, False, host=transport.host, index=alias)
    return answer


async def refresh(transport: Transport, alias: str, timeout_s: float) -> None:
    """After this, searches see everything that was acknowledged."""
    await transport.perform("POST", f"/{alias}/_refresh", timeout_s=timeout_s, index=alias)


async def refresh_if_allowed(transport: Transport, alias: str, timeout_s: float) -> None:
    """As `refresh`; a role that only reads may not ask for it, and sees what the last refresh saw."""
    with suppress(ServicePermissionError):
        await refresh(transport, alias, timeout_s)


@dataclass(frozen=True, slots=True)
class Held:
    """A document as it lies in an index."""

    record: Record
    chunks: Mapping[int, Entry]
    """By place, in their order; those that are there."""

    @property
    def whole(self) -> bool:
        """All its chunks are there, of the record's own revision, and no write is on its way."""
        ours = all(entry[fields.PAYLOAD].get("revision") == self.record.revision for entry in self.chunks.values())
        return ours and self.record.settled and list(self.chunks) == list(range(self.record.chunks))

    def seen_by(self, scope: AccessScope) -> Held:
        """With those chunks alone that the scope may see: a half-written document holds some of a revision with another access list."""
        if scope.system:
            return self
        terms = frozenset(scope_terms(scope))
        return Held(self.record, {at: entry for at, entry in self.chunks.items() if not terms.isdisjoint(entry[fields.ALLOW])})

    @property
    def document(self) -> Document:
        """The document, open to those alone who may see each of its chunks; one that is not whole has no content hash."""
        document = self.record.document
        if self.whole:
            return document
        lists = [frozenset(entry[fields.ALLOW]) for entry in self.chunks.values()]
        acl = tuple(one for one in document.acl if all(principal_term(document.tenant, one) in terms for terms in lists))
        return replace(document, acl=acl, content_hash="")


def batches(wanted: Sequence[Wanted], most: int) -> Iterator[list[Wanted]]:
    """Documents that are read together, of ``most`` entries; one with more stands alone."""
    batch: list[Wanted] = []
    size = 0
    for key, places in wanted:
        if batch and size + places + 1 > most:
            yield batch
            batch, size = [], 0
        batch.append((key, places))
        size += places + 1
    if batch:
        yield batch


async def read_held(transport: Transport, index: str, wanted: Sequence[Wanted], timeout_s: float) -> list[Held]:
    """Documents with their vectors, in real time; those whose record is there."""
    ids = [name for key, places in wanted for name in (key, *_chunk_keys(key, places))]
    found = {entry["_id"]: entry for entry in await multi_get(transport, index, ids, timeout_s=timeout_s, at_once=READ_CHUNKS)}
    return [Held(record_of(found[key]), _by_place(key, places, found)) for key, places in wanted if key in found]


async def read_chunks(transport: Transport, alias: str, record: Record, *, vectors: bool, timeout_s: float) -> Held:
    """The document of a record that was read before."""
    ids = _chunk_keys(record.key, record.places)
    only = () if vectors else (fields.PAYLOAD, fields.ALLOW)
    found = {entry["_id"]: entry for entry in await multi_get(transport, alias, ids, only=only, timeout_s=timeout_s, at_once=READ_CHUNKS)}
    return Held(record, _by_place(record.key, record.places, found))


def _chunk_keys(key: str, places: int) -> list[str]:
    return [records.chunk_key(key, at) for at in range(places)]


def _by_place(key: str, places: int, found: Mapping[str, Mapping[str, Any]]) -> dict[int, Entry]:
    return {at: found[name]["_source"] for at, name in enumerate(_chunk_keys(key, places)) if name in found}


async def find_everywhere(transport: Transport, indices: Indices, document_ids: Sequence[str], refreshing: Refreshing = refresh) -> list[str]:
    """Keys of the documents with these ids in every tenant, by id and tenant.

    Args:
        refreshing: what a delete must see is not left to chance; a reader may be content with `refresh_if_allowed`.
    """
    state = await indices.current()
    await refreshing(transport, state.alias, indices.cfg.bulk_timeout_s)
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
