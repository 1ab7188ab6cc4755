"""The reranker's place in a search: it scores the best hits anew, by reading each of them together with the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..core.search import Hit, Reranked
from .budgets import Budget

if TYPE_CHECKING:
    from ..infra.providers.protocol import Reranker
    from ..infra.resource_manager import ResourceManager


@dataclass(frozen=True, slots=True)
class Reranking:
    """A reranker, and how many hits it orders.

    Attributes:
        candidates: best hits of a search that it is shown; deeper ones follow as the search had them.
        budget: what it may take; then the search's order stands.
    """

    reranker: Reranker
    candidates: int
    budget: Budget

    @property
    def mark(self) -> tuple[str, int]:
        """What the order depends on, for cursors."""
        return self.reranker.model, self.candidates

    async def scores(self, query: str, hits: Sequence[Hit]) -> tuple[float, ...]:
        """Of each hit. Raises what the reranker raises."""
        return await self.reranker.score(query, [text_of(hit) for hit in hits]) if hits else ()


def reranking_of(resources: ResourceManager) -> Reranking | None:
    """That of `[rerank]`; None where it is off."""
    reranker: Reranker | None = resources.get("reranker")
    cfg = resources.settings.rerank
    return None if reranker is None else Reranking(reranker, cfg.candidates, Budget(cfg.timeout_s, "rerank.timeout_s", "Reranking"))


def text_of(hit: Hit) -> str:
    """What the reranker reads of a hit: where the passage stands is often what it is about."""
    return "\n".join(part for part in (hit.title, hit.section if hit.section != hit.title else "", hit.text) if part)


def reordered(hits: Sequence[Hit], scores: Sequence[float]) -> list[Hit]:
    """The hits by the reranker's scores, best first; equal ones as they stood."""
    order = sorted(range(len(hits)), key=lambda at: (-scores[at], at))
    return [_moved(hits[at], scores[at], at + 1) for at in order]


def _moved(hit: Hit, score: float, place: int) -> Hit:
    account = {**hit.explanation, "rerank": score} if hit.explanation is not None else None
    return replace(hit, score=score, rerank=Reranked(score, hit.score, place), explanation=account)
