"""What retrieval hands to an agent."""

from __future__ import annotations

from dataclasses import dataclass

from .search import Hit


@dataclass(frozen=True, slots=True)
class Passage:
    """One numbered passage of a context; ``n`` is what a citation mark ``[n]`` means within this answer."""

    n: int
    hit: Hit


@dataclass(frozen=True, slots=True)
class Context:
    """Passages within the token budget, best first, and why retrieval was less than asked for, if it was."""

    passages: tuple[Passage, ...]
    tokens: int
    degraded: tuple[str, ...] = ()
