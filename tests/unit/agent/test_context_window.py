"""The window over a conversation: never over its budget, order kept, turns whole, tool calls with their results."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from src.agent.context.window import Piece, Strategy, fit, plan_fold, slid

STRATEGIES: st.SearchStrategy[Strategy] = st.sampled_from(["recent", "sliding", "summarise"])


@st.composite
def conversations(draw: st.DrawFn) -> list[Piece]:
    """Turns of one to five messages; calls are answered in their turn, a later one (an approval), twice, or never."""
    pieces: list[Piece] = []
    waiting: list[str] = []
    for turn in range(draw(st.integers(0, 7))):
        for _ in range(draw(st.integers(1, 5))):
            kind = draw(st.sampled_from(["text", "call", "result", "orphan"]))
            size = draw(st.integers(0, 60))
            if kind == "call":
                names = frozenset(f"c{len(pieces)}-{n}" for n in range(draw(st.integers(1, 3))))
                waiting += names
                pieces.append(Piece(size, turn, calls=names))
            elif kind == "result" and waiting:
                pieces.append(Piece(size, turn, answers=waiting.pop(draw(st.integers(0, len(waiting) - 1)))))
            elif kind == "orphan":
                pieces.append(Piece(size, turn, answers="never called"))
            else:
                pieces.append(Piece(size, turn))
    return pieces


@given(conversations(), STRATEGIES, st.integers(-5, 300), st.integers(0, 8))
def test_a_window_is_never_over_its_budget_and_keeps_the_order(pieces: list[Piece], strategy: Strategy, budget: int, turns: int) -> None:
    kept = fit(pieces, strategy=strategy, budget=budget, turns=turns)
    assert kept.tokens == sum(pieces[i].tokens for i in kept.indices) <= max(budget, 0)
    assert list(kept.indices) == sorted(set(kept.indices))
    if strategy == "recent":
        assert len({pieces[i].turn for i in kept.indices}) <= turns


@given(conversations(), STRATEGIES, st.integers(0, 300), st.integers(0, 8))
def test_a_tool_call_is_never_split_from_its_results(pieces: list[Piece], strategy: Strategy, budget: int, turns: int) -> None:
    kept = [pieces[i] for i in fit(pieces, strategy=strategy, budget=budget, turns=turns).indices]
    calls = {call for piece in kept for call in piece.calls}
    results = {piece.answers for piece in kept if piece.answers is not None}
    assert calls == results


def _plain(sizes: Sequence[int]) -> list[Piece]:
    return [Piece(size, turn) for turn, size in enumerate(sizes)]


@given(st.lists(st.integers(0, 50), max_size=12), STRATEGIES, st.integers(0, 200))
def test_what_is_dropped_is_older_than_what_is_kept_and_counted(sizes: list[int], strategy: Strategy, budget: int) -> None:
    kept = fit(_plain(sizes), strategy=strategy, budget=budget, turns=4)
    assert kept.indices == tuple(range(len(sizes) - len(kept.indices), len(sizes)))
    assert kept.dropped_turns == len(sizes) - len(kept.indices)


def test_recent_keeps_a_number_of_turns_and_sliding_all_that_fit() -> None:
    pieces = _plain([10] * 8)
    assert fit(pieces, strategy="recent", budget=1000, turns=3).indices == (5, 6, 7)
    assert fit(pieces, strategy="recent", budget=25, turns=3).indices == (6, 7)
    assert fit(pieces, strategy="sliding", budget=1000, turns=3).indices == tuple(range(8))


def test_a_sliding_window_begins_alike_for_several_turns() -> None:
    starts = [slid([10] * n, 100) for n in range(1, 25)]
    assert starts == sorted(starts)
    assert len(set(starts)) <= 4


def test_a_call_whose_result_came_in_the_next_turn_goes_or_stays_with_it() -> None:
    pieces = [Piece(10, 0), Piece(10, 0, calls=frozenset({"a"})), Piece(10, 1, answers="a"), Piece(10, 1), Piece(10, 2)]
    assert fit(pieces, strategy="summarise", budget=50).indices == (0, 1, 2, 3, 4)
    assert fit(pieces, strategy="summarise", budget=49).indices == (4,)
    assert fit(pieces, strategy="recent", budget=99, turns=2).indices == (4,)


@given(st.lists(st.integers(0, 80), max_size=15), st.integers(0, 400), st.integers(1, 100), st.data())
def test_folding_leaves_a_summary_and_turns_that_fit(sizes: list[int], budget: int, summary: int, data: st.DataObject) -> None:
    covered = data.draw(st.integers(0, len(sizes)))
    fold = plan_fold(sizes, covered=covered, budget=budget, summary=summary)
    assert fold.first == covered <= fold.end <= len(sizes)
    held = summary if fold.end else 0
    if budget >= summary:  # the configuration sees to it
        assert held + sum(sizes[fold.end :]) <= budget
        assert fold.needed or covered == len(sizes) or held + sum(sizes[covered:]) <= budget


def test_turns_are_folded_once_and_not_with_each_turn() -> None:
    sizes: list[int] = []
    covered = calls = 0
    for _ in range(40):
        sizes.append(10)
        fold = plan_fold(sizes, covered=covered, budget=120, summary=20)
        calls += fold.needed
        covered = fold.end
    assert covered > 25
    assert calls <= 40 / 5
