"""From hits to the numbered passages of a prompt: pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..core.retrieval import Context, Passage
from ..core.search import Hit
from ..infra.providers.protocol import TokenSpans
from .config import RetrievalCfg

NEAR_IDENTICAL = 0.9
"""Jaccard similarity of word trigrams from which two passages count as one; versions of a page differ by a date or a number."""

_SHINGLE = 3
_WORD = re.compile(r"\w+")


def build_context(hits: Sequence[Hit], tokens: TokenSpans, cfg: RetrievalCfg, *, degraded: Sequence[str] = ()) -> Context:
    """The passages that an answer may draw on: best first, numbered from 1, near-identical ones once, within the budget.

    A passage that does not fit is left out whole, since half a passage cannot be quoted faithfully, and a shorter one
    below it may still come in; the context never exceeds ``cfg.context_tokens`` nor ``cfg.passages``.

    Args:
        hits: in the order of the search, best first; they are numbered in this order.
        tokens: counts tokens as the budget means them.
        degraded: why the search was less than asked for; passed on.
    """
    passages: list[Passage] = []
    shingles: list[frozenset[tuple[str, ...]]] = []
    used = 0
    for hit in hits:
        if len(passages) == cfg.passages:
            break
        words = _shingles(hit.text)
        if not words or any(_near_identical(words, known) for known in shingles):
            continue
        size = len(tokens.spans(hit.text))
        if used + size > cfg.context_tokens:
            continue
        used += size
        shingles.append(words)
        passages.append(Passage(n=len(passages) + 1, hit=hit))
    return Context(passages=tuple(passages), tokens=used, degraded=tuple(degraded))


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = [word.lower() for word in _WORD.findall(text)]
    if len(words) < _SHINGLE:
        return frozenset({tuple(words)}) if words else frozenset()
    return frozenset(tuple(words[i : i + _SHINGLE]) for i in range(len(words) - _SHINGLE + 1))


def _near_identical(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> bool:
    return len(left & right) >= NEAR_IDENTICAL * len(left | right)
