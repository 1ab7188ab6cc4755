"""Metrics against hand-worked values, against slow definitions, and their rules."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import InputError
from src.evaluation.metrics import (
    METRICS,
    average_precision,
    mean_over_judged,
    mrr,
    ndcg,
    parse_metrics,
    percentile,
    precision,
    rank_documents,
    recall,
    success,
)

RANKING = ["a", "b", "c", "d", "e"]
JUDGED = {"b": 1, "d": 2, "x": 1, "a": 0}

rankings = st.lists(st.sampled_from("abcdefghij"), unique=True, max_size=10)
judgements = st.dictionaries(st.sampled_from("abcdefghijxyz"), st.integers(-1, 3), max_size=8)


def test_ndcg_takes_the_grade_as_gain_and_the_ideal_from_all_judged_documents() -> None:
    found = 1 / math.log2(3) + 2 / math.log2(5)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(RANKING, JUDGED, 10) == pytest.approx(found / ideal)
    assert ndcg(RANKING, JUDGED, 3) == pytest.approx((1 / math.log2(3)) / ideal)
    assert ndcg(RANKING, JUDGED, 1) == 0.0


def test_a_known_trec_eval_value() -> None:
    # One relevant document at rank 4: trec_eval's ndcg_cut_10 gives 1 / log2(5) = 0.4307.
    assert ndcg(["1", "2", "3", "4"], {"4": 1}, 10) == pytest.approx(0.430677, abs=1e-6)


def test_recall_precision_success_mrr_and_map_by_hand() -> None:
    assert recall(RANKING, JUDGED, 2) == pytest.approx(1 / 3)
    assert recall(RANKING, JUDGED, 4) == pytest.approx(2 / 3)
    assert precision(RANKING, JUDGED, 5) == pytest.approx(2 / 5)
    assert precision(["b"], JUDGED, 10) == pytest.approx(1 / 10)
    assert success(RANKING, JUDGED, 1) == 0.0
    assert success(RANKING, JUDGED, 2) == 1.0
    assert mrr(RANKING, JUDGED, 10) == pytest.approx(1 / 2)
    assert mrr(RANKING, JUDGED, 1) == 0.0
    assert average_precision(RANKING, JUDGED, 10) == pytest.approx((1 / 2 + 2 / 4) / 3)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_question_without_relevant_documents_scores_zero(metric: object) -> None:
    assert callable(metric)
    assert metric(RANKING, {"a": 0}, 10) == 0.0
    assert metric([], {"a": 1}, 10) == 0.0


@given(rankings, judgements, st.integers(1, 12))
def test_metrics_stay_between_zero_and_one(ranking: list[str], judged: dict[str, int], k: int) -> None:
    for metric in METRICS.values():
        assert 0.0 <= metric(ranking, judged, k) <= 1.0 + 1e-12


@given(rankings, judgements, st.integers(1, 12))
def test_ndcg_agrees_with_its_definition_written_out(ranking: list[str], judged: dict[str, int], k: int) -> None:
    def dcg(gains: list[int]) -> float:
        return math.fsum(gain / math.log2(place + 2) for place, gain in enumerate(gains[:k]))

    gains = [max(judged.get(document, 0), 0) for document in ranking]
    best = dcg(sorted((max(grade, 0) for grade in judged.values()), reverse=True))
    assert ndcg(ranking, judged, k) == pytest.approx(dcg(gains) / best if best else 0.0)


@given(judgements, st.integers(1, 12))
def test_the_ideal_order_has_an_ndcg_of_one(judged: dict[str, int], k: int) -> None:
    ideal = sorted(judged, key=lambda document: -judged[document])
    assert ndcg(ideal, judged, k) == pytest.approx(1.0 if any(grade > 0 for grade in judged.values()) else 0.0)


@given(rankings, judgements, st.integers(1, 12))
def test_map_agrees_with_the_mean_of_precisions_at_relevant_ranks(ranking: list[str], judged: dict[str, int], k: int) -> None:
    relevant = {document for document, grade in judged.items() if grade > 0}
    total = sum(precision(ranking, judged, place) for place, document in enumerate(ranking[:k], start=1) if document in relevant)
    assert average_precision(ranking, judged, k) == pytest.approx(total / len(relevant) if relevant else 0.0)


def test_equal_scores_rank_by_id_descending_as_trec_eval_does() -> None:
    assert rank_documents({"a": 1.0, "c": 1.0, "b": 2.0}) == ["b", "c", "a"]


def test_metrics_are_parsed_in_order_and_once() -> None:
    assert [str(metric) for metric in parse_metrics("ndcg@10, Recall@2,ndcg@10")] == ["ndcg@10", "recall@2"]


@pytest.mark.parametrize("text", ["", "ndcg", "ndcg@0", "ndcg@-1", "bleu@10", "ndcg@10;mrr@10", "ndcg@99999"])
def test_what_is_no_metric_is_an_error_that_lists_them(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_metrics(text)
    assert "ndcg" in str(caught.value)


def test_a_judged_question_without_an_answer_counts_as_zero() -> None:
    assert mean_over_judged({"q1": 1.0}, ["q1", "q2"]) == 0.5


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.floats(0, 100))
def test_percentiles_agree_with_numpy(values: list[float], q: float) -> None:
    import numpy as np

    assert percentile(values, q) == pytest.approx(float(np.percentile(values, q)), rel=1e-9, abs=1e-9)
