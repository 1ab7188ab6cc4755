"""What each stage of a search may take. Deciding is pure; the deadline itself travels in `infra/resilience/deadline.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from ..errors import DeadlineExceededError
from ..infra.resilience.deadline import deadline, enforced
from .config import RetrievalCfg

EMBED_SHARE = 0.5
"""Of the whole budget, where embedding has none of its own: what is left must do for a search."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds of one stage (None: no limit) and the key that sets them."""

    seconds: float | None
    setting: str
    doing: str


@dataclass(frozen=True, slots=True)
class Budgets:
    """The stages of a search, and the whole."""

    whole: Budget
    embed: Budget
    search: Budget

    @classmethod
    def of(cls, cfg: RetrievalCfg) -> Budgets:
        share = cfg.budget_s * EMBED_SHARE if cfg.budget_s is not None else None
        own = cfg.embed_budget_s is not None
        return cls(
            whole=Budget(cfg.budget_s, "retrieval.budget_s", "The search with its embedding"),
            embed=Budget(cfg.embed_budget_s if own else share, f"retrieval.{'embed_budget_s' if own else 'budget_s'}", "Embedding the question"),
            search=Budget(cfg.search_budget_s, "retrieval.search_budget_s", "The search"),
        )


@contextmanager
def spanning(budget: Budget) -> Iterator[None]:
    """The budget of several stages: each of them is interrupted by its own `within` once this one is spent.

    Raises:
        DeadlineExceededError: as of `within`.
    """
    if budget.seconds is None:
        yield
        return
    with deadline(budget.seconds, budget.doing) as holds:
        try:
            yield
        except DeadlineExceededError as error:
            # A timeout of a client's own, and the deadline of a stage around this one, are not this budget's.
            if not error.setting and holds.doing == budget.doing and holds.remaining() <= 0:
                error.setting = budget.setting
            raise


@asynccontextmanager
async def within(budget: Budget) -> AsyncIterator[None]:
    """Interrupt what is inside once the budget is spent, or that of a stage around it.

    Raises:
        DeadlineExceededError: it was interrupted; names the setting of the budget that was spent.
    """
    with spanning(budget):
        async with enforced():
            yield
