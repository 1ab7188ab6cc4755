"""Turns as a checkpoint holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, overload

from ...core.chat import Citation, Turn
from ...core.identity import Identity
from ...errors import NotFoundError

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint

TURNS = "turns"
"""The channel of the agent's state that holds a thread's finished turns, each as `turn_to_dict` makes it."""
REPLACES = "replaces"
"""Beside a turn that the state takes in: the message_id of the turn that gives way to it, with all that followed."""


def turn_to_dict(turn: Turn) -> dict[str, Any]:
    """Plain data for a checkpoint."""
    return asdict(turn)


def turn_from_dict(data: Mapping[str, Any]) -> Turn:
    """The turn that `turn_to_dict` wrote."""
    citations = tuple(Citation(**citation) for citation in data["citations"])
    return Turn(**{**data, "citations": citations, "degraded": tuple(data["degraded"]), "retrieved": tuple(data.get("retrieved", ()))})


class StoredTurns(Sequence[Turn]):
    """Turns as a checkpoint holds them, each made when it is asked for: a long thread costs what of it is looked at."""

    def __init__(self, stored: Sequence[Mapping[str, Any]]) -> None:
        self._stored = stored

    def __len__(self) -> int:
        return len(self._stored)

    @overload
    def __getitem__(self, place: int) -> Turn: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Turn]: ...
    def __getitem__(self, place: int | slice) -> Turn | Sequence[Turn]:
        return turn_from_dict(self._stored[place]) if isinstance(place, int) else StoredTurns(self._stored[place])


def turns_until(turns: Sequence[dict[str, Any]], message_id: str | None) -> list[dict[str, Any]]:
    """The turns up to and with one of them; all of them for None.

    Raises:
        NotFoundError: none of them is that one.
    """
    return [*turns] if message_id is None else [*turns[: place_of(turns, message_id) + 1]]


def turns_before(turns: Sequence[dict[str, Any]], message_id: str | None) -> list[dict[str, Any]]:
    """The turns before one of them; all of them for None.

    Raises:
        NotFoundError: none of them is that one.
    """
    return [*turns] if message_id is None else [*turns[: place_of(turns, message_id)]]


def place_of(turns: Sequence[Mapping[str, Any]], message_id: str) -> int:
    """Where a turn stands.

    Raises:
        NotFoundError: nowhere.
    """
    for place, turn in enumerate(turns):
        if turn["message_id"] == message_id:
            return place
    raise NotFoundError("The conversation has no such turn.", hint="Its history names the message_id of each.")


def joined(turns: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The reducer of the channel: new turns follow the old ones, or take the place of those that they replace."""
    for turn in new:
        turns = [*turns_before(turns, turn.get(REPLACES)), {key: value for key, value in turn.items() if key != REPLACES}]
    return turns


async def save_turns(checkpointer: BaseCheckpointSaver[Any], thread_id: str, turns: list[dict[str, Any]], identity: Identity) -> None:
    """Begin a thread with turns: its first checkpoint, with nothing left to do."""
    from langgraph.checkpoint.base import empty_checkpoint

    version = checkpointer.get_next_version(None, None)
    checkpoint: Checkpoint = {**empty_checkpoint(), "channel_values": {TURNS: turns}, "channel_versions": {TURNS: version}}
    config: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", "user_id": identity.user, "tenant": identity.tenant}}
    await checkpointer.aput(config, checkpoint, {"source": "fork", "step": 0, "parents": {}}, checkpoint["channel_versions"])
