"""Earlier turns as a prompt shows them: within their room, newest last, and told as they are."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from src.agent.context.counting import ByteBound, message_tokens
from src.agent.context.history import History, Summary, fitted, messages_of_turns, narrowed, pieces_of, summary_of, summary_size
from src.agent.context.window import fit
from src.core.chat import ContextUse, Message, ToolCall, Turn
from src.infra.persistence.turns import StoredTurns, turn_to_dict

BYTES = ByteBound()


def turn(number: int, size: int) -> Turn:
    return Turn(str(number), "q" * size, f"{'a' * size} [1].", (), False, (), "")


TURNS = st.lists(st.integers(1, 40), max_size=8).map(lambda sizes: tuple(turn(n, size) for n, size in enumerate(sizes)))


@given(TURNS, st.text(alphabet="abc ", max_size=80), st.integers(-50, 900), st.integers(0, 1500))
def test_a_narrowed_history_fits_its_room_and_tells_every_turn_that_it_lost(turns: tuple[Turn, ...], summary: str, room: int, budget: int) -> None:
    size = summary_size(summary, BYTES)
    kept, fits = fitted(turns, BYTES, strategy="summarise", budget=budget, most=0)
    use = ContextUse("summarise", False, budget + size, fits.tokens + size, len(kept), 3 if summary else 0, len(turns) - len(kept), size)
    shown = narrowed(History(kept, summary, use), BYTES, room)
    assert shown.use is not None
    taken = message_tokens(messages_of_turns(shown.turns), BYTES) + summary_size(shown.summary, BYTES)
    assert taken == shown.use.tokens
    assert taken <= max(room, 0) or shown.use == use
    assert kept[len(kept) - len(shown.turns) :] == shown.turns
    assert shown.use.kept_turns + shown.use.summarised_turns + shown.use.dropped_turns == len(turns) + use.summarised_turns


@given(TURNS, st.integers(0, 9), st.integers(0, 900))
def test_of_a_long_thread_only_the_last_turns_are_looked_at_and_they_are_the_same(turns: tuple[Turn, ...], most: int, budget: int) -> None:
    every = fit(pieces_of(messages_of_turns(turns), BYTES), strategy="recent", budget=budget, turns=most)
    spoiled = [{}] * max(0, len(turns) - most) + [turn_to_dict(one) for one in turns[max(0, len(turns) - most) :]]
    kept, fits = fitted(StoredTurns(spoiled), BYTES, strategy="recent", budget=budget, most=most)
    assert kept == turns[len(turns) - len(every.indices) // 2 :]
    assert fits.tokens == every.tokens


def test_answers_are_shown_without_the_marks_of_passages_that_are_not_there() -> None:
    assert messages_of_turns([turn(0, 2)]) == [Message("user", "qq"), Message("assistant", "aa.")]


def test_a_call_and_its_result_belong_to_the_turn_of_their_question() -> None:
    call = ToolCall("c1", "search", "{}")
    messages = [
        Message("user", "q"),
        Message("assistant", "", (call,)),
        Message("tool", "found", tool_call_id="c1"),
        Message("assistant", "a"),
        Message("user", "q"),
    ]
    pieces = pieces_of(messages, BYTES)
    assert [piece.turn for piece in pieces] == [0, 0, 0, 0, 1]
    assert pieces[1].calls == frozenset({"c1"})
    assert pieces[2].answers == "c1"


def test_a_stored_summary_counts_only_for_the_turns_that_it_was_written_of() -> None:
    turns = [turn(number, 3) for number in range(4)]
    stored = Summary("They asked.", "1", 2, 30).to_dict()
    assert summary_of(stored, turns) == Summary("They asked.", "1", 2, 30)
    assert summary_of(stored, turns[:1]) is None
    assert summary_of(stored, [turns[0], replace(turns[1], message_id="another"), *turns[2:]]) is None
    assert summary_of(None, turns) is None
