"""What pruning means for checkpointers whose LangGraph class has none: as LangGraph's PostgreSQL one does it."""

from __future__ import annotations

from collections.abc import Sequence

STRATEGIES = ("keep_latest", "delete")
DELTA_MARK = "counters_since_delta_snapshot"
"""In the metadata of checkpoints of LangGraph's delta channels, whose latest value is made from older checkpoints."""


def check_strategy(thread_ids: Sequence[str], strategy: str) -> None:
    """TypeError for one id instead of several, ValueError for an unknown strategy."""
    if isinstance(thread_ids, str):
        raise TypeError("thread_ids must be a sequence of thread ids, not a str")
    if strategy not in STRATEGIES:
        raise ValueError(f"Unknown prune strategy: {strategy!r}")


def delta_refused(thread_id: str) -> NotImplementedError:
    return NotImplementedError(f"keep_latest cannot prune a thread that uses a DeltaChannel: {thread_id}")
