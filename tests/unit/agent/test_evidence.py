"""The calibrated score: its direction, its bounds, and that its coefficients fit its features."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from src.agent.evidence import Features, Measured, default_threshold, measure, score
from src.core.retrieval import Passage
from src.core.search import Hit
from src.infra.providers.sayable import Candidate

TYPICAL = Features(joint=1.2, margin=0.2, missing=0.2)


def hit(n: int, text: str, knn: float | None, bm25: float = 1.0) -> Hit:
    legs = {"bm25": bm25} | ({} if knn is None else {"knn": knn})
    return Hit(f"c{n}", f"d{n}", "Leave", text, f"/{n}", 1.0 / n, legs, position=n)


def features(question: str, text: str, cosine: float, knn: float | None) -> Features:
    hits = (hit(1, text, knn), hit(2, "The gate closes at five.", None if knn is None else 0.1))
    passages = tuple(Passage(place, found) for place, found in enumerate(hits, start=1))
    measured = Measured((Candidate(1, 0, text, "Leave"),), np.array([cosine], np.float32))
    return measure(question, passages, hits, measured)


@pytest.mark.parametrize(("name", "better"), [("joint", 1), ("margin", 1), ("missing", -1)])
def test_more_evidence_is_a_higher_score(name: str, better: int) -> None:
    more = replace(TYPICAL, **{name: getattr(TYPICAL, name) + 0.1 * better})
    assert score(more) > score(TYPICAL)


def test_scores_and_threshold_lie_between_zero_and_one() -> None:
    extremes = [Features(*[value] * len(fields(Features))) for value in (-10.0, 0.0, 10.0)]
    assert all(0 <= score(found) <= 1 for found in extremes)
    assert 0 < default_threshold() < 1


def test_a_question_whose_words_the_passage_holds_scores_above_one_with_a_foreign_word() -> None:
    text = "Employees have 26 days of annual leave."
    held = features("How many days of annual leave?", text, 0.7, 0.6)
    foreign = features("How many days of sabbatical leave?", text, 0.7, 0.6)
    assert held.missing == 0
    assert foreign.missing > 0.3
    assert score(held) > score(foreign)


def test_a_search_by_words_alone_is_judged_too() -> None:
    found = features("How many days of annual leave?", "Employees have 26 days of annual leave.", 0.7, None)
    assert found.margin == 0
    assert found.joint > 1


def test_a_question_without_content_words_is_judged() -> None:
    found = features("what is it?", "Employees have 26 days of annual leave.", 0.1, 0.1)
    assert (found.missing, 0 <= score(found) <= 1) == (0.0, True)


def test_a_follow_up_is_judged_by_its_own_words_more_than_by_its_topic() -> None:
    text = "Insulating gloves are tested every six months."
    lacks_own = features("And the ladders? (insulating gloves)", text, 0.5, 0.5)
    lacks_topic = features("And the gloves? (insulating ladders)", text, 0.5, 0.5)
    assert lacks_own.missing > lacks_topic.missing
    assert lacks_own.joint < features("ladders insulating gloves", text, 0.5, 0.5).joint
