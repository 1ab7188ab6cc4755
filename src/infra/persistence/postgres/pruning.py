"""Deleting checkpoints that a thread no longer needs, in LangGraph's tables."""

from __future__ import annotations

from psycopg import Cursor
from psycopg.rows import DictRow

from ..pruning import Cut, Keep, Key, Step, cut_of, delta_refused

# After each turn: one statement, one round trip. Threads with subgraphs or delta channels are left to the others below.
_AFTER_TURN = """
WITH head AS (
    SELECT checkpoint_id, checkpoint -> 'channel_versions' AS versions FROM checkpoints c
    WHERE thread_id = %(thread)s AND checkpoint_ns = '' AND NOT metadata ? 'counters_since_delta_snapshot'
    AND NOT EXISTS (SELECT 1 FROM checkpoints s WHERE s.thread_id = %(thread)s AND s.checkpoint_ns <> '')
    ORDER BY checkpoint_id DESC LIMIT 1
), steps AS (
    DELETE FROM checkpoints c USING head WHERE c.thread_id = %(thread)s AND c.checkpoint_ns = '' AND c.checkpoint_id < head.checkpoint_id
), writes AS (
    DELETE FROM checkpoint_writes w USING head WHERE w.thread_id = %(thread)s AND w.checkpoint_ns = '' AND w.checkpoint_id < head.checkpoint_id
), blobs AS (
    DELETE FROM checkpoint_blobs b USING head WHERE b.thread_id = %(thread)s AND b.checkpoint_ns = '' AND b.version IS DISTINCT FROM head.versions ->> b.channel
)
UPDATE checkpoints c SET parent_checkpoint_id = NULL FROM head
WHERE c.thread_id = %(thread)s AND c.checkpoint_ns = '' AND c.checkpoint_id = head.checkpoint_id
"""
_STEPS = "SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, metadata, checkpoint -> 'v' AS v FROM checkpoints WHERE thread_id = %s FOR UPDATE"
_CUT = (
    "DELETE FROM checkpoint_writes WHERE thread_id = %s AND (checkpoint_ns, checkpoint_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))",
    "DELETE FROM checkpoints WHERE thread_id = %s AND (checkpoint_ns, checkpoint_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))",
)
_ORPHAN = """
UPDATE checkpoints SET parent_checkpoint_id = NULL
WHERE thread_id = %s AND (checkpoint_ns, checkpoint_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""
_FORGET = """
DELETE FROM checkpoint_blobs b WHERE b.thread_id = %s AND NOT EXISTS (
    SELECT 1 FROM checkpoints c
    WHERE c.thread_id = b.thread_id AND c.checkpoint_ns = b.checkpoint_ns AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version
)
"""


def prune_after_turn(cursor: Cursor[DictRow], thread_id: str) -> None:
    """Keep the latest checkpoint of a thread without subgraphs; the cursor's ``rowcount`` is 0 where it has some, or uses delta channels."""
    cursor.execute(_AFTER_TURN, {"thread": thread_id})


def prune(cursor: Cursor[DictRow], thread_id: str, keep: Keep) -> None:
    """Delete the checkpoints that a thread no longer needs, with their writes and values; inside a transaction.

    Raises:
        NotImplementedError: the thread uses one of LangGraph's delta channels, or is older than version 4 of its format.
    """
    rows = cursor.execute(_STEPS, (thread_id,)).fetchall()
    steps = [Step.of(row["checkpoint_ns"], row["checkpoint_id"], row["parent_checkpoint_id"], row["metadata"]) for row in rows]
    if any(step.delta for step in steps):
        raise delta_refused(thread_id)
    if any((row["v"] or 0) < 4 for row in rows):  # such a checkpoint reads writes of its parent
        raise NotImplementedError(f"A thread of LangGraph before its version 0.3 cannot be pruned: {thread_id}")
    cut = cut_of(steps, keep)
    if cut.gone:
        _apply(cursor, thread_id, cut)


def _apply(cursor: Cursor[DictRow], thread_id: str, cut: Cut) -> None:
    for statement in _CUT:
        cursor.execute(statement, (thread_id, *_columns(cut.gone)))
    cursor.execute(_ORPHAN, (thread_id, *_columns(cut.orphans)))
    cursor.execute(_FORGET, (thread_id,))


def _columns(keys: frozenset[Key]) -> tuple[list[str], list[str]]:
    """Namespaces and ids, as arrays that belong together."""
    return [namespace for namespace, _ in keys], [one for _, one in keys]
