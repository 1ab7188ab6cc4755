from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.critical_path import Timed, children_of, critical_path


@st.composite
def traces(draw: st.DrawFn) -> list[Timed]:
    """Spans that lie within their parents, beside and after one another."""
    spans = [Timed("0", "", "root", 1000, 1000 + draw(st.integers(1, 10_000)))]
    for number in range(draw(st.integers(0, 12))):
        parent = spans[draw(st.integers(0, len(spans) - 1))]
        begun = draw(st.integers(parent.begun, parent.ended))
        spans.append(Timed(str(number + 1), parent.id, f"s{number}", begun, draw(st.integers(begun, parent.ended))))
    return spans


@given(traces())
def test_where_spans_lie_within_their_parents_the_own_times_sum_to_the_whole(spans: list[Timed]) -> None:
    path = critical_path(spans[0], children_of(spans))
    assert sum(step.own for step in path) == spans[0].taken
    assert all(0 <= step.own <= step.span.taken for step in path)
    assert len({step.span.id for step in path}) == len(path)


@given(traces(), st.integers(1, 1000))
def test_a_span_that_lasts_longer_than_its_parent_shows_in_the_sum(spans: list[Timed], more: int) -> None:
    root = spans[0]
    late = Timed("late", root.id, "late", root.begun, root.ended + more)
    assert sum(step.own for step in critical_path(root, children_of([*spans, late]))) == root.taken + more


def test_of_what_runs_side_by_side_the_last_to_end_is_waited_for() -> None:
    spans = [Timed("r", "", "search", 0, 100), Timed("a", "r", "bm25", 10, 40), Timed("b", "r", "knn", 10, 80), Timed("c", "r", "fusion", 85, 95)]
    path = critical_path(spans[0], children_of(spans))
    assert [(step.span.name, step.own) for step in path] == [("search", 20), ("knn", 70), ("fusion", 10)]
