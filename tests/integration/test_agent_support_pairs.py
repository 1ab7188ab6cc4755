"""The check of support on pairs made from real documents: the figures that the project promises."""

from __future__ import annotations

from pathlib import Path

from benchmarks.support_pairs import load_pairs
from src.agent.support import check_support


def test_swapped_facts_are_caught_and_true_sentences_pass(shared_data: Path) -> None:
    pairs = load_pairs(shared_data, seed=23, per_kind=30)
    false = [not check_support(pair.claim, pair.passage, pair.heading).supported for pair in pairs if not pair.true]
    true = [check_support(pair.claim, pair.passage, pair.heading).supported for pair in pairs if pair.true]
    assert len(false) >= 200
    assert len(true) >= 200
    assert sum(false) >= 0.95 * len(false)
    assert sum(true) >= 0.95 * len(true)
