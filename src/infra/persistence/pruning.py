"""Which checkpoints a thread still needs. Pure: what is read and deleted, each backend does itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

STRATEGIES = ("keep_latest", "delete")
DELTA_MARK = "counters_since_delta_snapshot"
"""In the metadata of checkpoints of LangGraph's delta channels, whose latest value is made from older checkpoints."""

Keep = Literal["latest", "turns"]
"""What stays of a thread: its latest checkpoint alone, or that at the end of each turn, to which LangGraph can go back."""

Key = tuple[str, str]
"""Namespace and id of a checkpoint."""


@dataclass(frozen=True, slots=True)
class Step:
    """What pruning looks at of one checkpoint. ``root`` is the root graph's checkpoint that a subgraph's call started from."""

    namespace: str
    checkpoint_id: str
    parent: str | None
    source: str
    root: str | None = None
    delta: bool = False

    @classmethod
    def of(cls, namespace: str, checkpoint_id: str, parent: str | None, metadata: Mapping[str, Any] | None) -> Step:
        """From a checkpoint's metadata as LangGraph writes it."""
        known = metadata or {}
        return cls(namespace, checkpoint_id, parent, known.get("source", "loop"), (known.get("parents") or {}).get(""), DELTA_MARK in known)


@dataclass(frozen=True, slots=True)
class Cut:
    """What goes, and what of the rest has no parent then: LangGraph's own pruning leaves it so too, and what has no child stays next time."""

    gone: frozenset[Key]
    orphans: frozenset[Key]


def cut_of(steps: Iterable[Step], keep: Keep) -> Cut:
    """Which of a thread's checkpoints go.

    The latest of each namespace always stays, so that a run that waits or was interrupted goes on. With ``turns`` so does
    whatever another run began at, and the end of each branch. Calls of subgraphs go with the step that they belong to.
    """
    chains: dict[str, dict[str, Step]] = defaultdict(dict)
    for step in steps:
        chains[step.namespace][step.checkpoint_id] = step
    kept = {namespace: _kept(chain, keep) for namespace, chain in chains.items()}
    roots = chains.get("", {})
    for namespace, chain in chains.items():
        root = chain[max(chain)].root
        if ":" in namespace and root in roots and root not in kept[""]:
            kept[namespace] = set()
    gone = frozenset((namespace, one) for namespace, chain in chains.items() for one in chain if one not in kept[namespace])
    orphans = frozenset(
        (namespace, one)
        for namespace, chain in chains.items()
        for one in kept[namespace]
        # What goes on from a step that stays would make it superseded next time.
        if (namespace, chain[one].parent) in gone or (chain[one].source == "loop" and chain[one].parent in kept[namespace])
    )
    return Cut(gone, orphans)


def _kept(chain: Mapping[str, Step], keep: Keep) -> set[str]:
    latest = max(chain)
    if keep == "latest":
        return {latest}
    within = {step.parent for step in chain.values() if step.source == "loop"}
    begun = {step.parent for step in chain.values() if step.source != "loop"}
    return {one for one in chain if one == latest or one in begun or one not in within}


@runtime_checkable
class Prunes(Protocol):
    """A checkpointer of ours."""

    async def aprune_steps(self, thread_id: str, keep: Keep) -> None:
        """Keep a thread's latest checkpoint, or those at the ends of its turns."""
        ...


def check_strategy(thread_ids: Sequence[str], strategy: str) -> None:
    """TypeError for one id instead of several, ValueError for an unknown strategy."""
    if isinstance(thread_ids, str):
        raise TypeError("thread_ids must be a sequence of thread ids, not a str")
    if strategy not in STRATEGIES:
        raise ValueError(f"Unknown prune strategy: {strategy!r}")


def delta_refused(thread_id: str) -> NotImplementedError:
    return NotImplementedError(f"keep_latest cannot prune a thread that uses a DeltaChannel: {thread_id}")
