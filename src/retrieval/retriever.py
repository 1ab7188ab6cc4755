"""One question to the search engine: embed it where the mode needs it, ask, and say what was less than asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.identity import AccessScope
from ..core.search import MODES, Filter, HybridTuning, Mode, SearchRequest, SearchResult
from ..errors import ModelError, QueryError, ServiceUnavailableError
from ..infra.providers.protocol import Embedder
from ..infra.search.protocol import SearchClient
from ..telemetry.logger import get_logger
from ..telemetry.stages import stage
from .config import RetrievalCfg

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = get_logger(__name__)

MAX_QUERY_CHARS = 20_000
"""Longer questions are refused: the model reads 256 tokens of them, and each further word costs the lexical leg."""


class Retriever:
    """Retrieval policy over one engine and one embedding model; owns neither, so it has nothing to close."""

    def __init__(self, search: SearchClient, embedder: Embedder, cfg: RetrievalCfg) -> None:
        self._search = search
        self._embedder = embedder
        self._cfg = cfg

    async def search(
        self,
        query: str,
        scope: AccessScope,
        *,
        mode: Mode | None = None,
        top_k: int | None = None,
        filters: Sequence[Filter] = (),
        cursor: str | None = None,
    ) -> SearchResult:
        """The best chunks for one question.

        Hybrid search goes on by words alone when the embedding model fails; ``degraded`` then says so and the result's
        mode is ``bm25``. A page that continues such a search repeats the mode that its first page reported.

        Args:
            mode, top_k: None takes the configuration's.
            cursor: ``next_cursor`` of the page before.

        Raises:
            QueryError: the question is empty or too long, or the mode unknown; other ``InputError`` kinds from the engine.
            ServiceUnavailableError, ModelError: the embedding model failed and the mode is ``knn``; the engine failed.
        """
        mode = mode or self._cfg.mode
        _check(query, mode)
        vector: NDArray[np.float32] | None = None
        asked, degraded = mode, tuple[str, ...]()
        if mode != "bm25":
            try:
                vector = await self._embed(query)
            except (ServiceUnavailableError, ModelError) as error:
                if mode == "knn":
                    raise
                log.warning("the embedding model failed; searching by words alone", error=error.code, hop=error.hop)
                asked, degraded = "bm25", (f"embedding failed ({error.code}): searched by words alone, not by meaning",)
        request = SearchRequest(
            query=query,
            mode=asked,
            top_k=self._cfg.top_k if top_k is None else top_k,
            filters=tuple(filters),
            vector=vector,
            cursor=cursor,
            tuning=tuning_of(self._cfg),
        )
        with stage("search", mode=asked):
            result = await self._search.search(request, scope)
        return _with_degraded(result, degraded)

    async def _embed(self, query: str) -> NDArray[np.float32]:
        with stage("embed"):
            vectors = await self._embedder.embed([query])
        vector: NDArray[np.float32] = vectors[0]
        return vector


def tuning_of(cfg: RetrievalCfg) -> HybridTuning:
    """The engine's fusion settings, from the configuration."""
    return HybridTuning(fusion=cfg.fusion, technique=cfg.technique, vector_weight=cfg.vector_weight, candidates=cfg.candidates)


def _check(query: str, mode: str) -> None:
    if mode not in MODES:
        raise QueryError(f"{mode!r} is not a search mode.", hint=f"Use one of {', '.join(MODES)}.")
    if not query.strip():
        raise QueryError("The query is empty.", hint="Ask with at least one word.")
    if len(query) > MAX_QUERY_CHARS:
        raise QueryError(f"The query has {len(query)} characters; {MAX_QUERY_CHARS} at most.", hint="Shorten it to the question itself.")


def _with_degraded(result: SearchResult, reasons: tuple[str, ...]) -> SearchResult:
    if not reasons:
        return result
    return replace(result, degraded=(*reasons, *result.degraded))
