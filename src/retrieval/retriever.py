"""One question to the search engine: embed it where the mode needs it, ask, and say what was less than asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.identity import AccessScope
from ..core.search import MODES, Filter, Hit, HybridTuning, Mode, SearchRequest, SearchResult
from ..errors import DeadlineExceededError, ModelError, QueryError, RagError, ServiceUnavailableError
from ..infra.providers.protocol import Embedder
from ..infra.resilience.deadline import check
from ..infra.search import cursors
from ..infra.search.protocol import SearchClient
from ..telemetry.audit import NO_AUDIT, AuditEvent, AuditTrail, reading
from ..telemetry.logger import get_logger
from ..telemetry.recording import note
from ..telemetry.stages import operation, stage
from .boosting import block_size, boosted, fitting
from .budgets import Budgets, spanning, within
from .config import RetrievalCfg
from .intents import Boost, Rule, best_match, plan
from .paging import Arranged, page
from .rerank import Reranking, reordered

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = get_logger(__name__)

KEPT = "reranking failed on an earlier page: in the order of the search"
MAX_QUERY_CHARS = 20_000
"""Longer questions are refused: the model reads 256 tokens of them, and each further word costs the lexical leg."""


class Retriever:
    """Retrieval policy over one engine and one embedding model; owns neither, so it has nothing to close."""

    def __init__(
        self,
        search: SearchClient,
        embedder: Embedder,
        cfg: RetrievalCfg,
        rules: Sequence[Rule] = (),
        audit: AuditTrail = NO_AUDIT,
        reranking: Reranking | None = None,
    ) -> None:
        self._search = search
        self._embedder = embedder
        self._cfg = cfg
        self._rules = rules
        self._reranking = reranking
        self._audit = audit
        self._budgets = Budgets.of(cfg)

    @operation("retrieve")
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

        An intent rule that the question falls under may choose the mode, filter, and prefer; the result's ``intent`` says so.
        Hybrid search goes on by words alone when the embedding model fails, or when embedding or searching takes longer
        than its budget; ``degraded`` then says so and the result's mode is ``bm25``. A page that continues such a search
        repeats the mode that its first page reported. Where there is a reranker, its order is that of the best hits; where it
        fails or takes too long, the search's order stands and ``degraded`` says so.

        Args:
            mode, top_k: None takes the intent's, else the configuration's.
            cursor: ``next_cursor`` of the page before.

        Raises:
            QueryError: the question is empty or too long, or the mode unknown; other ``InputError`` kinds from the engine.
            DeadlineExceededError: a stage, or the whole, took longer than its budget and there was nothing less to ask for.
            ServiceUnavailableError, ModelError: the embedding model failed and the mode is ``knn``; the engine failed; the
                reranker failed on a page that goes on in its order.
        """
        _check(query, mode)
        planned = plan(best_match(query, self._rules), mode, filters)
        asked = SearchRequest(
            query=query,
            mode=planned.mode or self._cfg.mode,
            top_k=self._cfg.top_k if top_k is None else top_k,
            filters=planned.filters,
            cursor=cursor,
            tuning=tuning_of(self._cfg),
        )
        async with reading(self._audit, AuditEvent.under(scope, "search", mode=asked.mode)) as noted:
            with spanning(self._budgets.whole):
                request, reasons = await self._with_vector(asked)
                result = await self._ask(request, scope, planned.boosts)
            noted.documents = tuple(hit.document_id for hit in result.hits)
        if planned.intent is not None:
            result = replace(result, intent=replace(planned.intent, boosted=fitting(result.hits, planned.boosts)))
        result = _with_degraded(result, reasons)
        note(tenant=scope.tenant, degraded=result.degraded)
        return result

    async def _with_vector(self, request: SearchRequest) -> tuple[SearchRequest, tuple[str, ...]]:
        """The request with its vector, or by words alone and why."""
        if request.mode == "bm25":
            return request, ()
        try:
            async with within(self._budgets.embed):
                vector = await self._embed(request.query)
                return replace(request, vector=vector), getattr(self._embedder, "degraded", ())  # such as a key in place of an identity
        except (ServiceUnavailableError, ModelError) as error:
            if request.mode == "knn":
                raise
            check("embedding the question")
            log.warning("the embedding model failed; searching by words alone", error=error.code, hop=error.hop)
            return replace(request, mode="bm25"), (f"embedding failed ({_why(error)}): searched by words alone, not by meaning",)

    async def _ask(self, request: SearchRequest, scope: AccessScope, boosts: Sequence[Boost]) -> SearchResult:
        """The engine's answer within the budget; a hybrid search that takes longer is asked again by words alone."""
        try:
            return await self._ask_once(request, scope, boosts)
        except DeadlineExceededError as error:
            # Only for a budget: an engine that ran into its own timeout is not asked twice. Nor for a later page, which
            # cannot go on in another ranking.
            if error.setting != self._budgets.search.setting or request.mode != "hybrid" or request.cursor is not None:
                raise
            check("searching")
            log.warning("hybrid search took too long; searching by words alone", hop=error.hop)
            reason = f"hybrid search failed ({_why(error)}): searched by words alone, not by meaning"
            return _with_degraded(await self._ask_once(replace(request, mode="bm25", vector=None), scope, boosts), (reason,))

    async def _ask_once(self, request: SearchRequest, scope: AccessScope, boosts: Sequence[Boost]) -> SearchResult:
        if not (boosts or self._reranking):
            return await self._fetch(request, scope)
        size = block_size(request.top_k) if self._reranking is None else max(self._reranking.candidates, request.top_k)
        blocks = replace(request, top_k=size)
        mark = cursors.fingerprint((cursors.request_fingerprint(request, scope), boosts, self._reranking and self._reranking.mark), scope)

        async def fetch(at: str | None) -> SearchResult:
            return await self._fetch(replace(blocks, cursor=at), scope)

        async def arrange(found: SearchResult, first: bool, before: bool | None) -> Arranged:
            if self._reranking is None or not first:
                return Arranged(boosted(found.hits, boosts))
            return await self._arranged(self._reranking, request.query, found.hits, boosts, before)

        return await page(fetch, arrange, request.top_k, request.cursor, mark)

    async def _fetch(self, request: SearchRequest, scope: AccessScope) -> SearchResult:
        with stage("search", mode=request.mode):
            async with within(self._budgets.search):
                return await self._search.search(request, scope)

    async def _arranged(self, reranking: Reranking, query: str, hits: Sequence[Hit], boosts: Sequence[Boost], before: bool | None) -> Arranged:
        """The first block: its best hits as the reranker orders them, or as they are and why.

        Args:
            before: whether the pages of the block so far were in the reranker's order: a later one cannot go on in another.
        """
        most = reranking.candidates
        if before is False:
            return Arranged(boosted(hits, boosts), (KEPT,), reranked=False)
        try:
            with stage("rerank"):
                async with within(reranking.budget):
                    scores = await reranking.scores(query, hits[:most])
        except RagError as error:
            if before:
                raise
            if isinstance(error, DeadlineExceededError) and not error.setting and self._budgets.whole.seconds is not None:
                error.setting = self._budgets.whole.setting
            log.warning("the reranker failed; hits keep the order of the search", error=error.code, hop=error.hop, setting=error.setting)
            return Arranged(boosted(hits, boosts), (f"reranking failed ({_why(error)}): in the order of the search",), reranked=False)
        return Arranged([*boosted(reordered(hits[:most], scores), boosts), *boosted(hits[most:], boosts)], reranked=True)

    async def _embed(self, query: str) -> NDArray[np.float32]:
        with stage("embed"):
            vectors = await self._embedder.embed([query])
        vector: NDArray[np.float32] = vectors[0]
        return vector


def tuning_of(cfg: RetrievalCfg) -> HybridTuning:
    """The engine's fusion settings, from the configuration."""
    return HybridTuning(fusion=cfg.fusion, technique=cfg.technique, vector_weight=cfg.vector_weight, candidates=cfg.candidates)


def _why(error: RagError) -> str:
    return f"{error.code}, {error.setting}" if error.setting else error.code


def _check(query: str, mode: str | None) -> None:
    if mode is not None and mode not in MODES:
        raise QueryError(f"{mode!r} is not a search mode.", hint=f"Use one of {', '.join(MODES)}.")
    if not query.strip():
        raise QueryError("The query is empty.", hint="Ask with at least one word.")
    if len(query) > MAX_QUERY_CHARS:
        raise QueryError(f"The query has {len(query)} characters; {MAX_QUERY_CHARS} at most.", hint="Shorten it to the question itself.")


def _with_degraded(result: SearchResult, reasons: tuple[str, ...]) -> SearchResult:
    if not reasons:
        return result
    return replace(result, degraded=(*reasons, *result.degraded))
