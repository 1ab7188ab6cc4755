"""Open collections as the product would hold them: ingested by its own pipeline into an index in a cache folder."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from src.core.identity import EVERYONE, AccessScope
from src.infra.config import IngestionCfg
from src.infra.providers.embedding_cache import CachedEmbedder
from src.infra.providers.local_embedder import LocalEmbedder
from src.infra.providers.tokenizer import ModelTokenizer
from src.infra.search.embedded import EmbeddedSearch
from src.ingestion.pipeline import Ingestor
from src.ingestion.sources.upload import upload_item
from src.retrieval.config import RetrievalCfg
from src.retrieval.retriever import Retriever

TENANT = "bench"
SCOPE = AccessScope(tenant=TENANT, principals=frozenset({EVERYONE}))


class Collection:
    """One folder in BEIR layout: questions, judgements, and a retriever over its documents."""

    def __init__(self, data: Path, name: str, cache: Path, model_cache: Path, *, most: int | None = None) -> None:
        self.name = name
        self.folder = data / name
        self.queries = [json.loads(line) for line in (self.folder / "queries.jsonl").open(encoding="utf-8")]
        self.gold: dict[str, set[str]] = defaultdict(set)
        for path in (self.folder / "qrels").glob("*.tsv"):
            for line in path.read_text(encoding="utf-8").splitlines()[1:]:
                query, document, grade = line.split("\t")
                if int(grade) > 0:
                    self.gold[query].add(document)
        self.most = most
        self.embedder = CachedEmbedder(LocalEmbedder(model_cache), cache / "embeddings.sqlite", 400_000)
        self.tokenizer = ModelTokenizer(model_cache)
        self.cfg = RetrievalCfg()
        self.search = EmbeddedSearch(cache / f"{name}-{most or 'all'}", embedder=self.embedder.model, dims=self.embedder.dims)
        self.retriever = Retriever(self.search, self.embedder, self.cfg)

    def documents(self) -> Iterator[dict[str, Any]]:
        """All documents, or the judged ones and as many others as ``most`` allows, the same each time."""
        found = [json.loads(line) for line in (self.folder / "corpus.jsonl").open(encoding="utf-8")]
        if self.most is not None and len(found) > self.most:
            needed = set().union(*self.gold.values())
            others = [doc for doc in found if doc["_id"] not in needed]
            random.Random(5).shuffle(others)
            found = [doc for doc in found if doc["_id"] in needed] + others[: max(0, self.most - len(needed))]
        yield from found

    async def ingest(self) -> None:
        items = [
            upload_item(doc["text"].encode(), "document.md", document_id=doc["_id"], title=" ".join((doc.get("title") or "").split()))
            for doc in self.documents()
            if doc["text"].strip()
        ]
        report = await Ingestor(self.search, self.embedder, self.tokenizer, IngestionCfg()).ingest(items, tenant=TENANT, acl=(EVERYONE,))
        print(f"{self.name}: {report}"[:300])

    async def aclose(self) -> None:
        await self.search.aclose()
        await self.embedder.aclose()
