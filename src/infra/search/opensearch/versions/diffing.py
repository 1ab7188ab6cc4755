"""How two versions of an index differ, by the records of their documents."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import fields
from ..reading.stored import search

if TYPE_CHECKING:
    from ..wire.transport import Transport

_PAGE = 2000
"""Records listed at a time: 200 kB."""


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
        hits = (await search(transport, f"/{index}/_search", body, index, timeout_s))["hits"]["hits"]
        for hit in hits:
            said = hit.get("_source", {}).get(fields.PAYLOAD, {})
            yield Line(hit["_id"], said.get("revision") or "", int(said.get("pending") or 0), int(said.get("chunks") or 0))
        if len(hits) < _PAGE:
            return
        after = hits[-1]["sort"]


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
