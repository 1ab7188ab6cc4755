"""The index's embedding model as LlamaIndex's: what is compared must come from one model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import Field

from ...infra.resource_manager import ResourceManager, get_resources
from ...util.aio import run_sync

if TYPE_CHECKING:
    from ...infra.providers.protocol import Embedder


class RagEmbedding(BaseEmbedding):
    """Vectors of `[embed]`'s model, of length 1. Raises ``ServiceUnavailableError`` and ``ModelError`` kinds."""

    resources: ResourceManager = Field(default_factory=get_resources, exclude=True, repr=False)

    def __init__(self, resources: ResourceManager | None = None, **options: Any) -> None:
        found = resources or get_resources()
        super().__init__(**{"resources": found, "model_name": found.embedder.model, **options})

    @classmethod
    def class_name(cls) -> str:
        return "RagEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return run_sync(self._embed([query]))[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self._embed([query]))[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return run_sync(self._embed([text]))[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._embed([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return run_sync(self._embed(texts))

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await self._embed(texts)

    async def _embed(self, texts: list[str]) -> list[list[float]]:
        embedder = cast("Embedder", await asyncio.to_thread(self.resources.get, "embedder"))
        return cast("list[list[float]]", (await embedder.embed(texts)).tolist())
