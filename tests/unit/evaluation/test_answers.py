"""Judging answers: gold documents, refusals, verbatim quotes."""

from __future__ import annotations

import pytest

from src.core.chat import Answer, Citation
from src.evaluation.answers import Judged, holds_gold_quote, judge, score_answers
from src.evaluation.dataset import Question


def citation(document: str, quote: str = "the fee is £35") -> Citation:
    return Citation(n=1, chunk_id="c", document_id=document, title="", source="", quote=quote, score=1.0)


async def judged(gold: list[str] | None, *citations: Citation, refused: bool = False, text: str | None = "In all, the fee is £35.", ms: float = 10) -> Judged:
    async def ask(_question: str) -> Answer:
        return Answer("t", "m", "…", citations, refused=refused, timings_ms={"embed": 1.0, "total": ms})

    async def chunk_text(_citation: Citation) -> str | None:
        return text

    return await judge(Question("q", "how much?"), gold, ask, chunk_text, lambda document: document.removeprefix("/docs/"))


async def test_an_answer_is_right_when_it_cites_a_gold_document() -> None:
    right, wrong = await judged(["fees.md"], citation("/docs/fees.md")), await judged(["fees.md"], citation("/docs/other.md"))
    assert (right.right, wrong.right) == (True, False)


async def test_a_question_without_answer_is_right_when_it_is_refused() -> None:
    assert (await judged(None, refused=True)).right
    assert not (await judged(None, citation("/docs/fees.md"))).right


@pytest.mark.parametrize(("text", "quote"), [("The fee is 40.", "The fee is 50."), (None, "x"), ("anything", " ")])
async def test_a_quote_that_does_not_stand_in_its_chunk_is_not_verbatim(text: str | None, quote: str) -> None:
    assert (await judged(["a"], citation("a", quote), text=text)).verbatim == 0


async def test_scores_are_shares_of_the_questions_they_are_about() -> None:
    scores = score_answers(
        [
            await judged(["a"], citation("a"), citation("b"), ms=10),
            await judged(["a"], refused=True, ms=20),
            await judged(None, refused=True, ms=30),
            await judged(None, citation("a", "not there"), ms=40),
        ]
    )
    assert (scores.answerable, scores.cites_gold, scores.wrongly_refused) == (2, 0.5, 0.5)
    assert (scores.unanswerable, scores.rightly_refused) == (2, 0.5)
    assert (scores.quotes, scores.verbatim) == (3, pytest.approx(2 / 3))
    assert scores.p50_ms == 25


def test_no_answers_have_no_shares() -> None:
    assert score_answers([]).verbatim == 0.0


async def test_the_gold_sentence_is_found_whatever_its_line_breaks() -> None:
    one = await judged(["a"], citation("a", "the fee\n is £35"))
    assert holds_gold_quote(one, "For leavers the fee is £35.")
    assert not holds_gold_quote(one, "the fee is £36")
    assert not holds_gold_quote(one, "")
