"""The check of support on pairs made from real documents: the figures that the project promises."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.support_pairs import load_pairs
from src.agent.support import check_support


@pytest.mark.long
def test_swapped_facts_of_every_kind_are_caught_and_true_sentences_pass(shared_data: Path) -> None:
    pairs = load_pairs(shared_data, seed=23, per_kind=30)
    true = [check_support(pair.claim, pair.passage, pair.heading).supported for pair in pairs if pair.true]
    caught: dict[str, list[bool]] = defaultdict(list)
    for pair in pairs:
        if not pair.true:
            caught[pair.kind].append(not check_support(pair.claim, pair.passage, pair.heading).supported)
    assert len(true) >= 200
    assert sum(true) >= 0.95 * len(true)
    assert set(caught) == {f"swapped {kind}" for kind in ("number", "name", "negation", "unit", "direction")}
    for kind, outcomes in caught.items():
        assert len(outcomes) >= 100, kind
        assert sum(outcomes) >= 0.95 * len(outcomes), kind
