"""Which of a conversation's messages still fit: pure functions over sizes, for every strategy of ``[agent] history_strategy``.

A turn stays whole, and a tool call stays with its results, also where these came in a later turn: such turns are one group.
Groups are kept from the newest back without a gap, so that the order of what is kept is that of the conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Strategy = Literal["recent", "sliding", "summarise"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One message, as a window sees it.

    Attributes:
        tokens: its size, with what the model's template puts around it.
        turn: number of its turn; the pieces of a turn stand side by side, numbers rise.
        calls: ids of the tool calls that it makes.
        answers: id of the tool call whose result it is.
    """

    tokens: int
    turn: int = 0
    calls: frozenset[str] = frozenset()
    answers: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What fits: indices of the pieces in their order, their tokens, and how many turns have pieces that do not."""

    indices: tuple[int, ...] = ()
    tokens: int = 0
    dropped_turns: int = 0


@dataclass(frozen=True, slots=True)
class Fold:
    """What the summary takes in: the turns from ``first`` up to ``end`` (exclusive); those from ``end`` on stay as they are."""

    first: int
    end: int

    @property
    def needed(self) -> bool:
        return self.end > self.first


def fit(pieces: Sequence[Piece], *, strategy: Strategy, budget: int, turns: int = 0) -> Kept:
    """The pieces that a prompt has room for.

    Args:
        strategy: ``recent`` keeps the last ``turns`` turns, as far as they fit. ``sliding`` keeps as many as fit and, once they do
            not, goes on with about half, so that a prompt begins alike for several turns and the provider's prompt cache holds.
            ``summarise`` keeps as many as fit (what went into the summary is not among ``pieces``).
        budget: tokens for all of them together; less than 0 counts as 0.
        turns: most turns of ``recent``.
    """
    sendable = _sendable(pieces)
    groups = _groups(pieces)
    sizes = [sum(pieces[i].tokens for i in group if i in sendable) for group in groups]
    if strategy == "sliding":
        start = slid(sizes, max(budget, 0))
    else:
        start = _suffix(sizes, max(budget, 0))
        if strategy == "recent":
            start = max(start, _last_turns(pieces, groups, turns))
    indices = tuple(i for group in groups[start:] for i in group if i in sendable)
    everywhere = {piece.turn for piece in pieces}
    left_out = {pieces[i].turn for i in range(len(pieces)) if i not in set(indices)}
    return Kept(indices, sum(sizes[start:]), len(everywhere & left_out))


def slid(sizes: Sequence[int], budget: int) -> int:
    """Where a window begins that only ever moves on when it is full, and then to half. A function of all sizes so far, kept nowhere."""
    start = total = 0
    for place, size in enumerate(sizes):
        total += size
        if total <= budget:
            continue
        while start < place and total > budget // 2:
            total -= sizes[start]
            start += 1
        if total > budget:
            start, total = place + 1, 0
    return start


def plan_fold(sizes: Sequence[int], *, covered: int, budget: int, summary: int) -> Fold:
    """Which turns the summary has to take in, so that the rest and a summary fit the budget.

    Nothing is folded while all turns that it does not cover fit; then so many that the rest takes half of the room at most:
    the summary is written once in several turns, and each turn goes into it once.

    Args:
        sizes: tokens of each turn, oldest first.
        covered: how many of them the summary holds already.
        summary: tokens that the summary may have.
    """
    room = max(budget - summary, 0)
    waiting = sum(sizes[covered:])
    if waiting + (summary if covered else 0) <= budget:
        return Fold(covered, covered)
    end = covered
    while end < len(sizes) and waiting > room // 2:
        if end == len(sizes) - 1 and waiting <= room:
            break  # the latest turn is worth more as it is
        waiting -= sizes[end]
        end += 1
    return Fold(covered, end)


def _sendable(pieces: Sequence[Piece]) -> frozenset[int]:
    """Indices without calls that never got their results, and without results of no call: models refuse both."""
    kept = set(range(len(pieces)))
    while True:
        answered = {pieces[i].answers for i in kept}
        called = {call for i in kept for call in pieces[i].calls}
        lost = {i for i in kept if not pieces[i].calls <= answered or (pieces[i].answers is not None and pieces[i].answers not in called)}
        if not lost:
            return frozenset(kept)
        kept -= lost


def _groups(pieces: Sequence[Piece]) -> list[range]:
    """Stretches that are kept or dropped as one: whole turns, joined with those that hold the results of their calls."""
    last: dict[str, int] = {piece.answers: i for i, piece in enumerate(pieces) if piece.answers is not None}
    starts = [0] if pieces else []
    reach = -1
    for i, piece in enumerate(pieces):
        if i and piece.turn != pieces[i - 1].turn and i > reach:
            starts.append(i)
        reach = max([reach, *(last[call] for call in piece.calls if call in last)])
    return [range(first, end) for first, end in pairwise([*starts, len(pieces)])]


def _suffix(sizes: Sequence[int], budget: int) -> int:
    """Where the longest run of newest groups that fits begins."""
    start, total = len(sizes), 0
    while start and total + sizes[start - 1] <= budget:
        start -= 1
        total += sizes[start]
    return start


def _last_turns(pieces: Sequence[Piece], groups: Sequence[range], turns: int) -> int:
    """The first group that lies whole within the last ``turns`` turns."""
    wanted = set(sorted({piece.turn for piece in pieces})[-turns:]) if turns else set()
    return next((n for n, group in enumerate(groups) if all(pieces[i].turn in wanted for i in group)), len(groups))
