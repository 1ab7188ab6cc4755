"""Judging answers: do they cite a document that holds the answer, quote it verbatim, and refuse where there is none?"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ..core.chat import Answer, Citation
from .dataset import Question
from .metrics import percentile

Ask = Callable[[str], Awaitable[Answer]]
ChunkText = Callable[[Citation], Awaitable[str | None]]
"""Text of the chunk that a citation names; None where there is no such chunk."""

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Judged:
    """One answered question. ``gold`` is None where the documents hold no answer."""

    question: Question
    answer: Answer
    gold: frozenset[str] | None
    cited: frozenset[str]
    verbatim: int

    @property
    def cites_gold(self) -> bool:
        return self.gold is not None and bool(self.cited & self.gold)

    @property
    def right(self) -> bool:
        """What was wanted: a gold document cited, or a refusal where there is none."""
        return self.answer.refused if self.gold is None else self.cites_gold and not self.answer.refused


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """Shares lie in [0, 1]; a share of nothing is 0."""

    answerable: int
    cites_gold: float
    wrongly_refused: float
    unanswerable: int
    rightly_refused: float
    quotes: int
    verbatim: float
    p50_ms: float


async def judge(question: Question, gold: Collection[str] | None, ask: Ask, chunk_text: ChunkText, document_key: Callable[[str], str]) -> Judged:
    """Ask one question and look at its citations.

    Args:
        gold: documents that hold the answer; None for a question to be refused.
        document_key: from a citation's document id to the ids that ``gold`` uses.
    """
    answer = await ask(question.text)
    verbatim = 0
    for citation in answer.citations:
        text = await chunk_text(citation)
        verbatim += text is not None and bool(citation.quote.strip()) and citation.quote in text
    return Judged(
        question=question,
        answer=answer,
        gold=None if gold is None else frozenset(gold),
        cited=frozenset(document_key(citation.document_id) for citation in answer.citations),
        verbatim=verbatim,
    )


def score_answers(judged: Sequence[Judged]) -> AnswerScores:
    """Shares over finished answers."""
    answerable = [one for one in judged if one.gold is not None]
    unanswerable = [one for one in judged if one.gold is None]
    quotes = sum(len(one.answer.citations) for one in judged)
    return AnswerScores(
        answerable=len(answerable),
        cites_gold=_share(sum(one.right for one in answerable), len(answerable)),
        wrongly_refused=_share(sum(one.answer.refused for one in answerable), len(answerable)),
        unanswerable=len(unanswerable),
        rightly_refused=_share(sum(one.answer.refused for one in unanswerable), len(unanswerable)),
        quotes=quotes,
        verbatim=_share(sum(one.verbatim for one in judged), quotes),
        p50_ms=percentile([_milliseconds(one.answer.timings_ms) for one in judged], 50),
    )


def holds_gold_quote(one: Judged, gold_quote: str) -> bool:
    """Whether a citation's quote overlaps the sentence that answers, white space aside: it holds it or is a part of it."""
    wanted = _SPACE.sub(" ", gold_quote).strip()
    quotes = (_SPACE.sub(" ", citation.quote).strip() for citation in one.answer.citations)
    return bool(wanted) and any(quote and (wanted in quote or quote in wanted) for quote in quotes)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _milliseconds(timings: Mapping[str, float]) -> float:
    return timings.get("total", sum(timings.values()))
