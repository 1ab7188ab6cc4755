"""The context of an answer: within its budget, best first, each passage once."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from src.core.search import Hit
from src.retrieval.config import RetrievalCfg
from src.retrieval.context import build_context


class Words:
    """A token is a word."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\S+", text)]


def hit(text: str, score: float = 1.0, chunk_id: str = "") -> Hit:
    return Hit(chunk_id=chunk_id or text[:20], document_id="d", title="t", text=text, source="s", score=score, legs={})


def cfg(tokens: int = 200, passages: int = 8) -> RetrievalCfg:
    return RetrievalCfg(context_tokens=tokens, passages=passages)


def words(prefix: str, count: int) -> str:
    return " ".join(f"{prefix}{number}" for number in range(count))


def test_passages_are_numbered_in_the_order_of_the_hits() -> None:
    context = build_context([hit(words("a", 5)), hit(words("b", 5))], Words(), cfg())
    assert [(passage.n, passage.hit.text[:2]) for passage in context.passages] == [(1, "a0"), (2, "b0")]
    assert context.tokens == 10


def test_near_identical_passages_come_once_and_the_better_one_stays() -> None:
    text = words("a", 100)
    context = build_context([hit(text, 2.0), hit(text.replace("a99", "other"), 1.0), hit(words("b", 10))], Words(), cfg(1000))
    assert [passage.hit.score for passage in context.passages] == [2.0, 1.0]
    assert context.passages[1].hit.text.startswith("b0")


def test_short_passages_that_differ_in_one_number_both_stay() -> None:
    context = build_context([hit("The fee is £35 for a year."), hit("The fee is £50 for a year.")], Words(), cfg())
    assert len(context.passages) == 2


def test_a_passage_that_does_not_fit_makes_room_for_a_shorter_one() -> None:
    context = build_context([hit(words("a", 150)), hit(words("b", 100)), hit(words("c", 40))], Words(), cfg(200))
    assert [passage.hit.text[0] for passage in context.passages] == ["a", "c"]
    assert context.tokens == 190


def test_reasons_of_a_degraded_search_are_passed_on() -> None:
    assert build_context([], Words(), cfg(), degraded=["no vectors"]).degraded == ("no vectors",)


@given(st.lists(st.text(alphabet="ab c\n", max_size=600), max_size=20), st.integers(200, 400), st.integers(1, 50))
def test_a_context_never_exceeds_its_budget_nor_its_number_of_passages(texts: list[str], budget: int, passages: int) -> None:
    hits = [hit(text, -float(place), str(place)) for place, text in enumerate(texts)]
    context = build_context(hits, Words(), cfg(budget, passages))
    assert context.tokens == sum(len(Words().spans(passage.hit.text)) for passage in context.passages) <= budget
    assert len(context.passages) <= passages
    assert [passage.n for passage in context.passages] == list(range(1, len(context.passages) + 1))
    order = [int(passage.hit.chunk_id) for passage in context.passages if passage.hit.chunk_id.isdigit()]
    assert order == sorted(order)
    assert all(passage.hit.text.strip() for passage in context.passages)
