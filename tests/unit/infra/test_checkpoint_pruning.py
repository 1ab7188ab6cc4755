"""Which checkpoints of a thread go: whatever its runs were, what LangGraph can still go back to stays."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from src.infra.persistence.pruning import Step, cut_of

SOURCES = st.sampled_from(["input", "loop", "loop", "loop", "update", "fork"])


@st.composite
def threads(draw: st.DrawFn) -> list[Step]:
    """Checkpoints in the order of their making, each after an earlier one: a tree, where runs began, went on, were forked."""
    steps: list[Step] = []
    for number in range(draw(st.integers(1, 30))):
        parent = draw(st.sampled_from(steps)) if steps and draw(st.booleans()) else (steps[-1] if steps else None)
        steps.append(Step("", f"{number:04}", parent.checkpoint_id if parent else None, draw(SOURCES)))
    return steps


def after(steps: list[Step], keep: str) -> list[Step]:
    cut = cut_of(steps, keep)  # type: ignore[arg-type] - one of the two words
    left = [step for step in steps if (step.namespace, step.checkpoint_id) not in cut.gone]
    return [replace(step, parent=None) if (step.namespace, step.checkpoint_id) in cut.orphans else step for step in left]


@given(threads())
def test_the_latest_the_ends_of_turns_and_of_branches_stay(steps: list[Step]) -> None:
    left = {step.checkpoint_id: step for step in after(steps, "turns")}
    assert steps[-1].checkpoint_id in left
    for step in steps:
        children = [other for other in steps if other.parent == step.checkpoint_id]
        if not children or any(child.source != "loop" for child in children):
            assert step.checkpoint_id in left
        else:
            assert step.checkpoint_id not in left or step is steps[-1]


@given(threads(), st.sampled_from(["turns", "latest"]))
def test_parents_of_what_stays_are_there_and_pruning_again_changes_nothing(steps: list[Step], keep: str) -> None:
    left = after(steps, keep)
    ids = {step.checkpoint_id for step in left}
    assert all(step.parent is None or step.parent in ids for step in left)
    assert keep != "latest" or [step.checkpoint_id for step in left] == [steps[-1].checkpoint_id]
    assert after(left, keep) == left
    assert cut_of(left, "latest").gone == frozenset((s.namespace, s.checkpoint_id) for s in left if s.checkpoint_id != steps[-1].checkpoint_id)


def test_one_checkpoint_stays_of_each_turn_whatever_its_steps() -> None:
    steps, parent = [], None
    for turn in range(5):
        for source in ("input", *["loop"] * (turn + 2)):
            steps.append(Step("", f"{len(steps):04}", parent, source))
            parent = steps[-1].checkpoint_id
    left = after(steps, "turns")
    assert len(left) == 5


def test_calls_of_subgraphs_go_with_the_step_they_belong_to_and_lasting_ones_stay() -> None:
    root = [Step("", "1", None, "input"), Step("", "2", "1", "loop"), Step("", "3", "2", "loop")]
    calls = [Step("sub:a", "21", None, "input", root="1"), Step("sub:b", "22", None, "input", root="3"), Step("sub:c", "23", None, "input", root="9")]
    lasting = [Step("memory", "31", None, "input", root="1"), Step("memory", "32", "31", "loop", root="1")]
    left = {(step.namespace, step.checkpoint_id) for step in after([*root, *calls, *lasting], "turns")}
    assert left == {("", "3"), ("sub:b", "22"), ("sub:c", "23"), ("memory", "32")}
