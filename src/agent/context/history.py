"""A thread's earlier turns as a prompt shows them, and the summary of those that no longer fit. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...core.chat import ContextUse, Message, Turn
from ..sentences import marks_of
from .counting import TokenCounter, message_tokens
from .window import Kept, Piece, Strategy, fit

SUMMARY_AROUND = 128
"""Tokens of the lines that fence a summary: no more than they have bytes."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a summary says of the turns up to one; stored beside the thread's turns.

    Attributes:
        text: the summary itself.
        through: message_id of the last turn that it holds.
        turns: how many it holds.
        tokens: its size, by the counter of the model that was in use.
    """

    text: str
    through: str
    turns: int
    tokens: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {"text": self.text, "through": self.through, "turns": self.turns, "tokens": self.tokens}


@dataclass(frozen=True, slots=True)
class History:
    """What a prompt knows of the conversation before its question."""

    turns: tuple[Turn, ...] = ()
    summary: str = ""
    use: ContextUse | None = None
    """None for a model that is sent none of it."""


def summary_of(stored: Mapping[str, Any] | None, turns: Sequence[Turn]) -> Summary | None:
    """The stored summary, if it tells of these turns: editing an earlier turn, or erasing it, makes it void."""
    if not stored:
        return None
    number = int(stored["turns"])
    if not 0 < number <= len(turns) or turns[number - 1].message_id != stored["through"]:
        return None
    return Summary(str(stored["text"]), str(stored["through"]), number, int(stored["tokens"]))


def messages_of_turns(turns: Sequence[Turn]) -> list[Message]:
    """Question and answer of each turn, without the marks: their numbers mean other passages now."""
    return [message for turn in turns for message in (Message("user", turn.question), Message("assistant", marks_of(turn.answer)[0]))]


def pieces_of(messages: Sequence[Message], counter: TokenCounter) -> list[Piece]:
    """Messages as a window sees them; each of a user's begins a turn."""
    pieces: list[Piece] = []
    turn = -1
    for message in messages:
        turn += message.role == "user" or turn < 0
        size = message_tokens([message], counter)
        pieces.append(Piece(size, turn, frozenset(call.id for call in message.tool_calls), message.tool_call_id or None))
    return pieces


def fitted(turns: Sequence[Turn], counter: TokenCounter, *, strategy: Strategy, budget: int, most: int) -> tuple[tuple[Turn, ...], Kept]:
    """The turns that fit, by the strategy, and what that came to (of the turns looked at: ``recent`` looks at the last ``most``)."""
    if strategy == "recent":
        turns = turns[max(0, len(turns) - most) :]
    kept = fit(pieces_of(messages_of_turns(turns), counter), strategy=strategy, budget=budget, turns=most)
    return tuple(turns[len(turns) - len(kept.indices) // 2 :]), kept


def narrowed(history: History, counter: TokenCounter, room: int) -> History:
    """The history within ``room`` tokens: its oldest turns go first, then the summary."""
    use = history.use
    if use is None or use.tokens <= room:
        return history
    summary, tokens = history.summary, use.summary_tokens
    turns, kept = fitted(history.turns, counter, strategy="summarise", budget=room - tokens, most=0)
    if tokens > room:
        summary, tokens = "", 0
        turns, kept = fitted(history.turns, counter, strategy="summarise", budget=room, most=0)
    gone = len(history.turns) - len(turns) + (use.summarised_turns if not summary else 0)
    return History(
        turns,
        summary,
        replace(
            use,
            budget=max(room, 0),
            tokens=kept.tokens + tokens,
            kept_turns=len(turns),
            dropped_turns=use.dropped_turns + gone,
            summarised_turns=use.summarised_turns if summary else 0,
            summary_tokens=tokens,
        ),
    )


def summary_size(text: str, counter: TokenCounter) -> int:
    """Tokens that a summary takes in a prompt, with its fence."""
    return counter.count(text) + SUMMARY_AROUND if text else 0
