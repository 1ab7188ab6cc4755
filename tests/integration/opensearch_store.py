"""A writer and a reader of one alias on a real OpenSearch, and a look at everything that the alias holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.search.opensearch import fields
from src.infra.search.opensearch.reading.documents import Documents
from src.infra.search.opensearch.reading.stored import refresh
from src.infra.search.opensearch.versions.indices import Indices
from src.infra.search.opensearch.wire.transport import Transport
from src.infra.search.opensearch.writing.writer import Writer
from tests.contract.search.builders import DIMS, EMBEDDER


@dataclass
class Store:
    """Writer and reader of one alias."""

    cfg: SearchCfg
    transport: Transport
    indices: Indices
    writer: Writer
    documents: Documents

    @classmethod
    def at(cls, url: str, alias: str, **more: Any) -> Store:
        cfg = SearchCfg(host=url, index_alias=alias, replicas=0, **more)
        transport = Transport(cfg, NetworkPolicy(NetworkCfg()))
        indices = Indices(transport, cfg, EMBEDDER, DIMS)
        return cls(cfg, transport, indices, Writer(transport, indices, cfg), Documents(transport, indices, cfg))

    @property
    def alias(self) -> str:
        return self.cfg.index_alias

    async def settle(self) -> None:
        await refresh(self.transport, self.alias, 60)

    async def torn(self) -> list[str]:
        """What is wrong with the index: chunks without a record, too many or too few of them, or of another revision than their record."""
        await self.settle()
        entries = await everything(self.transport, self.alias)
        held = {key: source for key, source in entries.items() if source["kind"] != fields.CHUNK}
        chunks: dict[str, dict[int, Mapping[str, Any]]] = {}
        for key, source in entries.items():
            if source["kind"] == fields.CHUNK:
                owner, _, place = key.partition("-")
                chunks.setdefault(owner, {})[int(place)] = source
        wrong = [f"chunks of {key} without a record" for key in chunks if key not in held]
        for key, record in held.items():
            payload, own = record["payload"], chunks.get(key, {})
            if record["kind"] != fields.DOCUMENT or "pending" in payload:
                wrong.append(f"{payload['id']}: pending")
            elif sorted(own) != list(range(payload["chunks"])):
                wrong.append(f"{payload['id']}: {len(own)} chunks of {payload['chunks']}")
            elif {chunk["payload"]["revision"] for chunk in own.values()} - {payload["revision"]}:
                wrong.append(f"{payload['id']}: chunks of several revisions")
        return wrong


async def everything(transport: Transport, alias: str) -> dict[str, dict[str, Any]]:
    """`_source` by `_id` of all entries, vectors left out."""
    found: dict[str, dict[str, Any]] = {}
    after: list[Any] | None = None
    while True:
        body: dict[str, Any] = {"size": 2000, "sort": [{fields.DOC_KEY: "asc"}, {fields.POSITION: {"order": "asc", "missing": -1}}]}
        body |= {"_source": ["kind", "payload"], "query": {"match_all": {}}} | ({"search_after": after} if after else {})
        answer = await transport.perform("POST", f"/{alias}/_search", body=body, timeout_s=60)
        hits = answer["hits"]["hits"]
        found |= {hit["_id"]: hit["_source"] for hit in hits}
        if len(hits) < 2000:
            return found
        after = hits[-1]["sort"]
