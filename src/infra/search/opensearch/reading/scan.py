"""Walking over all records of an alias, in the order of documents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from .....errors import NotFoundError, RagError, ServicePermissionError
from .....telemetry.logger import get_logger
from .. import fields
from .stored import SORT, Wanted, search

if TYPE_CHECKING:
    from ..wire.transport import Transport

log = get_logger(__name__)

PAGE: Final = 500
"""Records of one page."""
_KEEP_ALIVE: Final = "5m"


class Scan:
    """Pages of records of one moment (a point in time). Where it expires the next takes over behind the last document."""

    def __init__(self, transport: Transport, alias: str) -> None:
        self._transport = transport
        self._alias = alias
        self._pit: str | None = None

    async def pages(self, query: Mapping[str, Any], after: list[Any] | None) -> AsyncGenerator[list[Wanted], None]:
        """What each record says is there, by document id and tenant."""
        only = [f"{fields.PAYLOAD}.{name}" for name in ("chunks", "pending")]
        body: dict[str, Any] = {"size": PAGE, "query": query, "sort": SORT, "_source": only, "track_total_hits": False}
        try:
            await self._open()
            while True:
                hits = await self._page(body | ({"search_after": after} if after else {}))
                if hits:
                    yield [(hit["_id"], _places(hit["_source"])) for hit in hits]
                if len(hits) < PAGE:
                    return
                after = hits[-1]["sort"]
        finally:
            await self._close()

    async def _page(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        try:
            answer = await self._search(body)
        except NotFoundError:
            log.info("the point in time of an export expired; another takes over", index=self._alias)
            self._pit = None
            await self._open()
            answer = await self._search(body)
        hits: list[dict[str, Any]] = answer["hits"]["hits"]
        return hits

    async def _search(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if self._pit is None:
            return await search(self._transport, f"/{self._alias}/_search", body, self._alias)
        answer = await search(self._transport, "/_search", {**body, "pit": {"id": self._pit, "keep_alive": _KEEP_ALIVE}}, self._alias)
        self._pit = answer.get("pit_id", self._pit)
        return answer

    async def _open(self) -> None:
        with suppress(ServicePermissionError):  # without a point in time, documents that come or go meanwhile may be among them or not
            path = f"/{self._alias}/_search/point_in_time"
            answer = await self._transport.perform("POST", path, params={"keep_alive": _KEEP_ALIVE}, retry=False, index=self._alias)
            self._pit = answer["pit_id"]

    async def _close(self) -> None:
        if self._pit is not None:
            with suppress(RagError):  # it expires by itself
                await self._transport.perform("DELETE", "/_search/point_in_time", body={"pit_id": [self._pit]}, index=self._alias)


def _places(source: Mapping[str, Any]) -> int:
    payload = source[fields.PAYLOAD]
    return max(int(payload.get("chunks") or 0), int(payload.get("pending") or 0))
