"""Searching: requests become plans, and plans advance together, a round of searches at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .....core.identity import AccessScope
from .....core.search import SearchRequest, SearchResult
from .....telemetry.stages import stage
from ...embedded.analysis import query_terms
from ...embedded.highlighting import places
from ...requests import check_request
from .capabilities import Capabilities, Prober
from .filters import restriction
from .marks import Marks
from .pages import fingerprint
from .plans import Plan, Question, Refused, Search, completed, on_the_server, one_leg
from .query import Wording
from .sending import Sender

if TYPE_CHECKING:
    from ....config import SearchCfg
    from ..versions.indices import Indices
    from ..wire.transport import Transport


@dataclass(slots=True)
class _Run:
    """One request on its way through its plan."""

    question: Question
    plan: Plan
    caveats: tuple[str, ...] = ()
    began: float = field(default_factory=time.perf_counter)
    searches: list[Search] = field(default_factory=list)
    partial: set[str] = field(default_factory=set)
    result: SearchResult | None = None

    def advance(self, answers: list[Any] | None) -> None:
        """On to the next round, or to the result."""
        try:
            self.searches = self.plan.send(answers) if answers is not None else next(self.plan)
        except StopIteration as end:
            outcome = end.value
            degraded = (*outcome.degraded, *self.caveats, *(f"only a part of the index answered: {reason}" for reason in sorted(self.partial)))
            took_ms = (time.perf_counter() - self.began) * 1000
            self.result = SearchResult(outcome.hits, self.question.request.mode, took_ms, degraded, outcome.next_cursor)


class Reader:
    """
    Args:
        transport: how requests travel.
        indices: checks, before the first query, that the index fits the embedder.
        cfg: `[search]`.
        dims: length of the embedder's vectors.
    """

    def __init__(self, transport: Transport, indices: Indices, cfg: SearchCfg, dims: int) -> None:
        self._transport = transport
        self._indices = indices
        self._cfg = cfg
        self._dims = dims
        self._wording = Wording.of(cfg)
        # Words of an English index are those of the embedded engine, which also finds them where letters are composed of several
        # characters, and in texts of any length; in other languages only the server knows its stemmer.
        self._marks_here = cfg.language == "english"
        self._sender = Sender(transport, cfg)
        self._prober = Prober(self._try, dims, cfg.pipeline)

    async def _try(self, searches: Sequence[Search]) -> list[Any]:
        return await self._sender.send(searches, [""] * len(searches), [set() for _ in searches])

    async def capabilities(self) -> Capabilities:
        """What the cluster can do."""
        await self._indices.current()
        return await self._prober.current()

    async def search(self, requests: Sequence[SearchRequest], scope: AccessScope) -> list[SearchResult]:
        """Answers in order; the first bad request fails them all.

        Raises:
            QueryError, FilterError: a request cannot be used.
            IndexMissingError, IndexMismatchError, MappingConflictError: there is no index, or it does not fit the embedder.
            UnsupportedFeatureError: the cluster cannot search vectors.
            ServiceUnavailableError and its kinds, ServiceCredentialsError: the cluster did not answer, or not whole.
        """
        questions = [self._question(request, scope) for request in requests]
        if not questions:
            return []
        await self._indices.current()
        capabilities = await self._prober.current()
        if any(request.mode != "bm25" for request in requests):
            capabilities.check_vectors(self._transport.host)
        if capabilities.added:
            questions = [replace(question, added=capabilities.added) for question in questions]
        runs = [_Run(question, _plan(question, capabilities), capabilities.caveats) for question in questions]
        for run in runs:
            run.advance(None)
        while waiting := [run for run in runs if run.result is None]:
            await self._round(waiting)
        results = [run.result for run in runs if run.result is not None]
        if self._marks_here and any(request.highlight for request in requests):
            return await asyncio.to_thread(lambda: list(map(_marked, results, requests)))
        return results

    async def _round(self, runs: Sequence[_Run]) -> None:
        searches = [(run, search) for run in runs for search in run.searches]
        with stage("search.server", searches=len(searches)):
            answers = await self._sender.send(
                [search for _, search in searches], [run.question.mark for run, _ in searches], [run.partial for run, _ in searches]
            )
        if any(isinstance(answer, Refused) for answer in answers):
            self._prober.forget()
        rest = iter(answers)
        for run in runs:
            run.advance([next(rest) for _ in run.searches])

    def _question(self, request: SearchRequest, scope: AccessScope) -> Question:
        vector = check_request(request, self._dims)
        mark = fingerprint(request, scope)
        marks = Marks.new() if request.highlight and not self._marks_here else None
        return Question(request, vector, restriction(scope, request.filters), mark, self._wording, marks, self._cfg.pipeline)


def _marked(result: SearchResult, request: SearchRequest) -> SearchResult:
    """With the places of the question's words in the texts of hits."""
    if not request.highlight:
        return result
    terms = query_terms(request.query)
    return replace(result, hits=tuple(replace(hit, highlights=places(hit.text, terms)) for hit in result.hits))


def _plan(question: Question, capabilities: Capabilities) -> Plan:
    request = question.request
    if request.mode in ("bm25", "knn"):
        return one_leg(question)
    if request.tuning.fusion == "completed":
        return completed(question)
    return on_the_server(question, capabilities.against_server_fusion(request.tuning.technique, named=question.pipeline is not None))
