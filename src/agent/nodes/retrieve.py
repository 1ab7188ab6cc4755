"""Passages for the question, or for each of its parts side by side, within the token budget."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...core.identity import access_scope
from ...core.search import Hit, SearchResult
from ...errors import ServiceUnavailableError
from ...infra.providers.protocol import TokenSpans
from ...retrieval.config import RetrievalCfg
from ...retrieval.context import build_context
from ...retrieval.retriever import Retriever
from ...telemetry.logger import get_logger
from ...telemetry.stages import stage
from ..state import AgentState

log = get_logger(__name__)

SPARE = 3
"""Hits asked for, for each passage of the context: near-identical ones count once, and rarity is judged over all of them."""


async def retrieve(state: AgentState, *, retriever: Retriever, tokenizer: TokenSpans, cfg: RetrievalCfg) -> AgentState:
    """Search as the caller may see, then keep what fits the context. Parts of a question take turns, the best of each first.

    Raises:
        ServiceUnavailableError: the engine answered for no part; where it did for some, ``degraded`` names the others.
    """
    request = state["request"]
    queries = state.get("queries") or (state["standalone"],)
    scope, top_k = access_scope(state["identity"]), SPARE * cfg.passages
    answers = await asyncio.gather(
        *(retriever.search(query, scope, mode=request.mode, top_k=top_k, filters=request.filters) for query in queries), return_exceptions=True
    )
    results, failed = _sorted_out(answers)
    answered = tuple(query for query, answer in zip(queries, answers, strict=True) if isinstance(answer, SearchResult))
    if failed:
        log.warning("a part of the question was not searched for", parts=len(queries), error=failed[0].code, hop=failed[0].hop)
    reasons = [*state.get("degraded", ()), *(reason for result in results for reason in result.degraded)]
    reasons += [f"{len(failed)} of {len(queries)} parts of the question could not be searched for ({failed[0].code})"] if failed else []
    degraded = tuple(dict.fromkeys(reasons))
    found = tuple(result.hits for result in results)
    with stage("context"):
        hits = merged(found)
        context = build_context(hits, tokenizer, cfg, degraded=degraded)
    parts = answered if len(queries) > 1 else ()
    return {"queries": parts, "found": found, "hits": hits, "context": context, "degraded": degraded}


def merged(found: Sequence[Sequence[Hit]]) -> tuple[Hit, ...]:
    """The hits of several searches in turn, each chunk once, at its first place. Scores of different questions are not compared."""
    if len(found) == 1:
        return tuple(found[0])
    hits: dict[str, Hit] = {}
    for place in range(max(map(len, found), default=0)):
        for several in found:
            if place < len(several):
                hits.setdefault(several[place].chunk_id, several[place])
    return tuple(hits.values())


def _sorted_out(answers: Sequence[SearchResult | BaseException]) -> tuple[list[SearchResult], list[ServiceUnavailableError]]:
    """Results, and the outages of those that have none; any other failure, and one of all parts, is raised."""
    results = [answer for answer in answers if isinstance(answer, SearchResult)]
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    outages = [failure for failure in failures if isinstance(failure, ServiceUnavailableError)]
    if failures and (not results or len(outages) < len(failures)):
        raise next((failure for failure in failures if failure not in outages), failures[0])
    return results, outages
