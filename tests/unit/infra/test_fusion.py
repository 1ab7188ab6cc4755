"""Fusion formulas: ours against their definition, the others against OpenSearch's behaviour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from src.infra.search.fusion import MIN_SCORE, Leg, best_first, completed, l2, min_max, reciprocal_ranks, server, standardise, z_score

finite = st.floats(-1e3, 1e3, allow_nan=False, width=32)
scores = hnp.arrays(np.float64, st.integers(0, 30), elements=finite)


def leg(**entries: float) -> Leg:
    return Leg(np.array([int(name[1:]) for name in entries], np.int64), np.array(list(entries.values()), np.float64))


def test_completed_is_the_weighted_mean_of_z_scores() -> None:
    vector, lexical = np.array([0.9, 0.1, 0.5]), np.array([0.0, 12.0, 3.0])
    expected = 0.25 * (vector - vector.mean()) / vector.std() + 0.75 * (lexical - lexical.mean()) / lexical.std()
    assert completed(vector, lexical, 0.25) == pytest.approx(expected)


@given(values=scores)
def test_standardised_scores_have_mean_0_and_spread_1_or_are_all_0(values: np.ndarray) -> None:
    found = standardise(values)
    assert np.isfinite(found).all()
    if found.any():
        assert found.mean() == pytest.approx(0, abs=1e-5)
        assert found.std() == pytest.approx(1, abs=1e-5)


def test_a_leg_that_says_the_same_of_all_candidates_does_not_decide() -> None:
    lexical = np.array([1.0, 3.0, 2.0])
    assert np.argsort(completed(np.full(3, 0.7) + np.array([0, 1e-16, 0]), lexical, 0.9)).tolist() == [0, 2, 1]


@given(values=scores, factor=st.floats(0.1, 100), shift=finite)
def test_completed_ranks_the_same_in_any_scale(values: np.ndarray, factor: float, shift: float) -> None:
    if values.size and values.max() - values.min() > 1e-2:
        assert standardise(values * factor + shift) == pytest.approx(standardise(values), abs=1e-3)


def test_min_max_follows_opensearch_at_its_edges() -> None:
    assert min_max(np.array([4.0, 2.0, 3.0])).tolist() == [1.0, MIN_SCORE, 0.5]
    assert min_max(np.array([4.2])).tolist() == [1.0]
    assert min_max(np.array([0.0])).tolist() == [1.0]
    assert min_max(np.array([2.0, 2.0, 2.0])).tolist() == [1.0, 1.0, 1.0]
    assert min_max(np.array([-3.0, -1.0])).tolist() == [MIN_SCORE, 1.0]
    assert min_max(np.empty(0)).size == 0


def test_l2_follows_opensearch() -> None:
    assert l2(np.array([3.0, 4.0])).tolist() == [0.6, 0.8]
    assert l2(np.array([0.0, 0.0])).tolist() == [MIN_SCORE, MIN_SCORE]


def test_z_score_follows_opensearch_with_the_sample_deviation() -> None:
    assert z_score(np.array([3.0, 2.0, 1.0])).tolist() == pytest.approx([1.0, MIN_SCORE, MIN_SCORE])
    assert z_score(np.array([5.0])).tolist() == [1.0]


@given(values=scores)
def test_normalised_scores_are_finite_and_keep_the_order(values: np.ndarray) -> None:
    for normalise in (min_max, z_score, l2):
        found = normalise(values)
        assert np.isfinite(found).all()
        order = np.argsort(values, kind="stable")
        assert (np.diff(found[order]) >= -1e-12).all() or (normalise is min_max and values.size > 0)


def test_a_candidate_of_one_leg_counts_zero_in_the_other() -> None:
    fused = server(leg(d1=0.9, d2=0.5), leg(d3=7.0, d1=5.0, d4=3.0), "min_max", 0.4)
    found = dict(zip(fused.ids.tolist(), fused.scores.tolist(), strict=True))
    assert found == pytest.approx({1: 0.4 * 1.0 + 0.6 * 0.5, 2: 0.4 * MIN_SCORE, 3: 0.6, 4: 0.6 * MIN_SCORE})
    assert fused.ids.tolist() == [1, 3, 4, 2]


def test_reciprocal_ranks_add_up_without_weights() -> None:
    fused = server(leg(d1=0.9, d2=0.5), leg(d2=7.0), "rrf", 0.9, 60)
    assert fused.ids.tolist() == [2, 1]
    assert fused.scores.tolist() == pytest.approx([1 / 62 + 1 / 61, 1 / 61])
    assert reciprocal_ranks(0, 60).size == 0


def test_l2_takes_the_cosine_as_opensearch_scores_it() -> None:
    fused = server(leg(d1=1.0, d2=0.0), leg(d1=1.0), "l2", 1.0)
    norm = np.sqrt(1.0 + 0.25)
    assert fused.scores.tolist() == pytest.approx([1.0 / norm, 0.5 / norm])


@pytest.mark.parametrize("technique", ["min_max", "l2", "z_score", "rrf"])
def test_empty_legs_fuse_to_what_the_other_leg_found(technique: str) -> None:
    empty = Leg(np.empty(0, np.int64), np.empty(0))
    assert server(empty, empty, technique, 0.5).ids.size == 0  # type: ignore[arg-type]  # one of the names
    assert server(empty, leg(d5=2.0, d6=1.0), technique, 0.5).ids.tolist() == [5, 6]  # type: ignore[arg-type]  # one of the names


def test_equal_scores_go_by_id() -> None:
    assert best_first(leg(d9=1.0, d3=1.0, d5=2.0)).ids.tolist() == [5, 3, 9]
