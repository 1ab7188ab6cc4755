"""How turns of a thread follow, and replace, each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import NotFoundError
from src.infra.persistence.turns import REPLACES, joined, turns_before, turns_until


def turn(name: str, replaces: str | None = None) -> dict[str, Any]:
    return {"message_id": name, REPLACES: replaces}


names = st.lists(st.text(min_size=1), min_size=1, max_size=8, unique=True)


@given(names)
def test_turns_follow_each_other_in_order_and_keep_no_mark(made: list[str]) -> None:
    assert joined([], [turn(name) for name in made]) == [{"message_id": name} for name in made]


@given(names, st.data())
def test_a_replaced_turn_goes_with_all_after_it_and_none_before(made: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(made) - 1))
    before = joined([], [turn(name) for name in made])
    after = joined(before, [turn("new", made[place])])
    assert after == [*before[:place], {"message_id": "new"}]
    assert before == [{"message_id": name} for name in made]  # left alone: other checkpoints share it
    assert turns_until(before, made[place]) == before[: place + 1]
    assert turns_before(before, made[place]) == before[:place]


def test_an_unknown_turn_is_not_found() -> None:
    for cut in (turns_until, turns_before):
        with pytest.raises(NotFoundError):
            cut([{"message_id": "a"}], "b")
    with pytest.raises(NotFoundError):
        joined([], [turn("new", "gone")])
