"""Reading whole documents: one, a page of them, all of them, and how many there are.

What is asked for by id is read in real time: it is there as soon as it is acknowledged. Lists and counts are searches and
see what the last refresh saw.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from .....core.documents import Chunk, Document
from .....core.identity import AccessScope
from .....core.search import Filter
from .....errors import QueryError
from .....telemetry.logger import get_logger
from ....resilience.retry import RetryPolicy, half
from ... import cursors
from ...access import visible
from ...protocol import DocumentPage, DocumentWrite, IndexInfo
from ...requests import check_limit
from .. import fields, records
from ..wire.failures import check_whole
from .filters import restriction, split
from .scan import Scan
from .stored import (
    READ_CHUNKS,
    SORT,
    Held,
    Record,
    Wanted,
    batches,
    find_everywhere,
    multi_get,
    read_chunks,
    read_held,
    read_records,
    record_of,
    refresh_if_allowed,
    search,
)

if TYPE_CHECKING:
    from ....config import SearchCfg
    from ..versions.indices import Indices
    from ..wire.transport import Transport

log = get_logger(__name__)

ENGINE: Final = "opensearch"
_LARGEST_PAGE: Final = 5_000
_SETTLING: Final = RetryPolicy(5, base_s=0.05, uniform=half)
"""A document is looked at again, over 0.8 to 1.6 seconds, while it is being written."""


class Documents:
    """
    Args:
        transport: how requests travel.
        indices: those of the alias that is read.
        cfg: how long requests may take.
    """

    def __init__(self, transport: Transport, indices: Indices, cfg: SearchCfg) -> None:
        self._transport = transport
        self._indices = indices
        self._cfg = cfg

    # -- one document

    async def get_document(self, document_id: str, scope: AccessScope) -> Document | None:
        """The document, where the scope may see it."""
        record = await self._find(document_id, scope)
        return None if record is None else record.document

    async def get_chunks(self, document_id: str, scope: AccessScope) -> tuple[Chunk, ...]:
        """All chunks of one document in order; empty where the scope may not see it. A document that is being written is waited for.

        Of one that a killed writer left half replaced there are chunks of two revisions, each judged by its own access list.
        """
        record = await self._find(document_id, scope)
        held = None if record is None else await self._whole(record, vectors=False)
        if held is None or not visible(held.record.document, scope):
            return ()
        chunks = [records.chunk_from(entry[fields.PAYLOAD]) for entry in held.seen_by(scope).chunks.values()]
        return tuple(sorted(chunks, key=lambda chunk: chunk.position))

    async def content_hashes(self, document_ids: Sequence[str], tenant: str) -> dict[str, str]:
        """Content hash of each known document of the tenant. One whose write has not ended is not known: it has to be written again."""
        state = await self._indices.current()
        by_key = {records.doc_key(tenant, document_id): document_id for document_id in document_ids}
        only = [fields.KIND, *(f"{fields.PAYLOAD}.{name}" for name in ("content_hash", "pending"))]
        found = {}
        for entry in await multi_get(self._transport, state.alias, list(by_key), only=only):
            record = record_of(entry)
            if record.settled:
                found[by_key[record.key]] = records.content_hash_from(record.payload)
        return found

    async def _find(self, document_id: str, scope: AccessScope) -> Record | None:
        """The record where the scope may see it; a system scope finds its own tenant's first, then any other's.

        To a role that may not refresh, another tenant's document is there as of the last refresh.
        """
        state = await self._indices.current()
        record = await self._visible([records.doc_key(scope.tenant, document_id)], state.alias, scope)
        if record is None and scope.system:
            record = await self._visible(await find_everywhere(self._transport, self._indices, [document_id], refresh_if_allowed), state.alias, scope)
        return record

    async def _visible(self, keys: Sequence[str], alias: str, scope: AccessScope) -> Record | None:
        found = await read_records(self._transport, alias, keys)
        records_ = (found[key] for key in keys if key in found)
        return next((record for record in records_ if record.acknowledged and visible(record.document, scope)), None)

    # -- pages of documents

    async def list_documents(self, scope: AccessScope, *, filters: Sequence[Filter] = (), limit: int = 100, cursor: str | None = None) -> DocumentPage:
        """Documents by id (then tenant). Filters on page or section keep a document if one of its chunks passes all of those.

        Raises:
            QueryError: limit or cursor cannot be used.
            FilterError: a filter is malformed.
        """
        check_limit(limit)
        on_documents, on_chunks = split(filters)
        query = {"bool": {"filter": restriction(scope, on_documents, kind=fields.DOCUMENT)}}
        conditions = restriction(scope, on_chunks) if on_chunks else []  # a half-written document has chunks that this scope may not see
        mark = cursors.fingerprint(("documents", tuple(filters)), scope)
        after = None if cursor is None else _position(cursors.decode(cursor, mark))
        state = await self._indices.current()
        found: list[Document] = []
        async with aclosing(self._walk(state.alias, query, after, limit + 1, conditions)) as walk:
            async for hit in walk:
                found.append(records.document_from(hit["_source"][fields.PAYLOAD]))
                if len(found) > limit:
                    break
        page = tuple(found[:limit])
        more = len(found) > limit
        return DocumentPage(page, cursors.encode([page[-1].id, page[-1].tenant], mark) if more else None)

    async def _walk(
        self, alias: str, query: Mapping[str, Any], after: list[Any] | None, size: int, conditions: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Hits of records in their order; where there are conditions, of those that have a chunk which meets them all."""
        while True:
            body = {"size": size, "query": query, "sort": SORT, "_source": [fields.PAYLOAD], "track_total_hits": False}
            answer = await search(self._transport, f"/{alias}/_search", body | ({"search_after": after} if after else {}), alias)
            hits = answer["hits"]["hits"]
            kept = await self._with_chunks(alias, [hit["_id"] for hit in hits], conditions) if conditions else None
            for hit in hits:
                if kept is None or hit["_id"] in kept:
                    yield hit
            if len(hits) < size:
                return
            after = hits[-1]["sort"]
            size = min(2 * size, _LARGEST_PAGE) if size < _LARGEST_PAGE else size  # few may pass: fewer, longer pages

    async def _with_chunks(self, alias: str, keys: Sequence[str], conditions: Sequence[Mapping[str, Any]]) -> set[str]:
        if not keys:
            return set()
        wanted = [{"terms": {fields.DOC_KEY: list(keys)}}, *conditions]
        body = {"size": 0, "query": {"bool": {"filter": wanted}}, "aggs": {"keys": {"terms": {"field": fields.DOC_KEY, "size": len(keys)}}}}
        answer = await search(self._transport, f"/{alias}/_search", body, alias)
        return {bucket["key"] for bucket in answer["aggregations"]["keys"]["buckets"]}

    # -- counts

    async def count(self, scope: AccessScope, *, filters: Sequence[Filter] = ()) -> int:
        """Visible chunks that pass the filters."""
        query = {"bool": {"filter": restriction(scope, filters)}}
        state = await self._indices.current()
        answer = await self._transport.perform("POST", f"/{state.alias}/_count", body={"query": query}, index=state.alias)
        check_whole(answer, False, host=self._transport.host, index=state.alias)
        return int(answer["count"])

    async def info(self) -> IndexInfo:
        """Counts by the server, after a refresh where the role may ask for one. The vector view lacks chunks whose vector has no length."""
        state = await self._indices.current()
        await refresh_if_allowed(self._transport, state.alias, self._cfg.bulk_timeout_s)
        chunk = {"term": {fields.KIND: fields.CHUNK}}
        asked = {
            "documents": {"term": {fields.KIND: fields.DOCUMENT}},
            "chunks": chunk,
            "lexical": {"bool": {"filter": [chunk, {"exists": {"field": fields.BODY}}]}},
            "vector": {"bool": {"filter": [chunk, {"exists": {"field": fields.VECTOR}}]}},
        }
        body = {"size": 0, "track_total_hits": False, "aggs": {name: {"filter": query} for name, query in asked.items()}}
        answer = await search(self._transport, f"/{state.alias}/_search", body, state.alias)
        counts = {name: int(answer["aggregations"][name]["doc_count"]) for name in asked}
        views = {"lexical": counts["lexical"], "vector": counts["vector"]}
        return IndexInfo(counts["documents"], counts["chunks"], views, ENGINE, state.embedder, fields.FORMAT)

    # -- everything

    async def export(self, scope: AccessScope, *, after: tuple[str, str] | None = None) -> AsyncGenerator[DocumentWrite, None]:
        """Every visible document with its chunks and vectors, by (id, tenant); each whole, as it stands when its turn comes.

        A document that a killed writer left half replaced comes with those of its chunks that the scope may see, open to those
        alone who may see them all, and without its content hash: whoever reads documents in takes it for unknown and writes it again.
        To a role that may not refresh, what was written since the last refresh is not there yet.
        """
        state = await self._indices.current()
        await refresh_if_allowed(self._transport, state.alias, self._cfg.bulk_timeout_s)
        query = {"bool": {"filter": restriction(scope, (), kind=fields.DOCUMENT)}}
        start = None if after is None else _position(list(after))
        async with aclosing(Scan(self._transport, state.alias).pages(query, start)) as pages:
            async for page in pages:
                for batch in batches(page, READ_CHUNKS):
                    for held in await self._held(batch):
                        if visible(held.record.document, scope):
                            yield self._written(held.seen_by(scope), state.dims)

    async def _held(self, batch: Sequence[Wanted]) -> list[Held]:
        """Documents, each as it stands now; those that are still there."""
        read = await read_held(self._transport, self._indices.alias, batch, self._cfg.bulk_timeout_s)
        found = [held if held.whole else await self._whole(held.record, vectors=True) for held in read if held.record.acknowledged]
        return [held for held in found if held is not None]

    async def _whole(self, record: Record, *, vectors: bool) -> Held | None:
        """A document with its chunks; None where it is gone. One that is being written is looked at again for a while."""
        alias = self._indices.alias
        retries = _SETTLING.start()
        while True:
            held = await read_chunks(self._transport, alias, record, vectors=vectors, timeout_s=self._cfg.bulk_timeout_s)
            if held.whole:
                return held
            if not await retries.again():
                log.warning("a document is half written: write it again", document=record.document.id, tenant=record.document.tenant)
                return held
            found = (await read_records(self._transport, alias, [record.key])).get(record.key)
            if found is None or not found.acknowledged:
                return None
            record = found

    @staticmethod
    def _written(held: Held, dims: int) -> DocumentWrite:
        # Of two revisions a chunk may be there twice.
        entries = list({entry[fields.PAYLOAD]["id"]: entry for entry in held.chunks.values()}.values())
        return DocumentWrite(held.document, tuple(records.chunk_from(entry[fields.PAYLOAD]) for entry in entries), records.vectors_from(entries, dims))


def _position(position: object) -> list[Any]:
    """Where a page begins: behind a document id and a tenant."""
    if isinstance(position, list) and len(position) == 2 and all(isinstance(part, str) for part in position):
        return [records.sort_key(position[0], position[1]), records.doc_key(position[1], position[0])]
    raise QueryError("The cursor cannot be read.", hint="Send next_cursor of the page before, unchanged.")
