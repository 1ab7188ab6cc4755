"""Values of checkpoints in SQLite, each kept once for each of its versions.

LangGraph's SQLite checkpointer writes all values into every checkpoint: eight times the whole conversation for a turn of eight
steps. Its PostgreSQL one keeps them in a table of their own, by channel and version, and so does this one. What was written
before lies in its checkpoint and is read from there.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointTuple
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from ...errors import StorageCorruptError
from .pruning import Cut, Keep, Step, cut_of, delta_refused

if TYPE_CHECKING:
    from langgraph.checkpoint.serde.base import SerializerProtocol

TABLE = """
CREATE TABLE IF NOT EXISTS checkpoint_blobs (
    thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL, channel TEXT NOT NULL, version TEXT NOT NULL, type TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (thread_id, checkpoint_ns, channel, version)
);
"""
APART = "rag_values_apart"
"""In a stored checkpoint: the channels whose values lie in the table."""
INLINE_CHARS = 100
"""Shorter texts stay in the checkpoint, like numbers: a row of their own would take more."""

_STEPS = "SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, metadata FROM checkpoints WHERE thread_id = ?"
_KNOWN = "SELECT 1 FROM checkpoint_blobs WHERE thread_id = ? AND checkpoint_ns = ? AND channel = ? AND version = ?"
_READ = "SELECT type, value FROM checkpoint_blobs WHERE thread_id = ? AND checkpoint_ns = ? AND channel = ? AND version = ?"
_FORGET = "DELETE FROM checkpoint_blobs WHERE thread_id = ? AND checkpoint_ns = ? AND channel = ? AND version = ?"
_CUT = (
    # Only writes of a checkpoint that goes: a run saves a step's writes in the background, where they may come before their checkpoint.
    "DELETE FROM writes WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?",
    "DELETE FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?",
)
_ORPHAN = "UPDATE checkpoints SET parent_checkpoint_id = NULL WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"


def split(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Any]]:
    """The checkpoint as it is stored, and the values that lie apart from it. Snapshots of LangGraph's delta channels stay: it looks for them there."""
    values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
    apart = {name: value for name, value in values.items() if name in versions and not _is_inline(value)}
    kept: dict[str, Any] = {**checkpoint}
    if apart:
        kept |= {"channel_values": {name: value for name, value in values.items() if name not in apart}, APART: [*apart]}
    return kept, apart


def _is_inline(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= INLINE_CHARS
    return value is None or isinstance(value, int | float | _DeltaSnapshot)


def write_values(
    cursor: sqlite3.Cursor, serde: SerializerProtocol, where: tuple[str, str], apart: dict[str, Any], versions: ChannelVersions, new: ChannelVersions
) -> None:
    """Store values that are new, and those that earlier checkpoints hold inline. ``where`` is thread and namespace."""
    for name, value in apart.items():
        key = (*where, name, str(versions[name]))
        if name in new or cursor.execute(_KNOWN, key).fetchone() is None:
            cursor.execute("INSERT OR IGNORE INTO checkpoint_blobs VALUES (?, ?, ?, ?, ?, ?)", (*key, *serde.dumps_typed(value)))


def with_values(cursor: sqlite3.Cursor, serde: SerializerProtocol, found: CheckpointTuple) -> CheckpointTuple:
    """The checkpoint with the values that lie apart from it.

    Raises:
        StorageCorruptError: one is not there.
    """
    stored = cast("dict[str, Any]", found.checkpoint)  # which has one key more here
    where = (found.config["configurable"]["thread_id"], found.config["configurable"]["checkpoint_ns"])
    for name in stored.pop(APART, ()):
        key = (*where, name, str(stored["channel_versions"][name]))
        row = cursor.execute(_READ, key).fetchone()
        if row is None:
            text = f"A checkpoint lacks the value of its channel {name!r}."
            raise StorageCorruptError(text, setting="storage.path", hint="Restore the threads' file, or delete the thread.")
        stored["channel_values"][name] = serde.loads_typed(row)
    return found


def has_values(cursor: sqlite3.Cursor, thread_id: str, namespace: str, channels: Iterable[str]) -> bool:
    """Whether any value of these channels lies in the table."""
    query = "SELECT 1 FROM checkpoint_blobs WHERE thread_id = ? AND checkpoint_ns = ? AND channel = ? LIMIT 1"
    return any(cursor.execute(query, (thread_id, namespace, name)).fetchone() for name in channels)


def prune(cursor: sqlite3.Cursor, serde: SerializerProtocol, thread_id: str, keep: Keep) -> None:
    """Delete the checkpoints that a thread no longer needs, with their writes and values.

    Raises:
        NotImplementedError: the thread uses one of LangGraph's delta channels.
    """
    steps = [
        Step.of(namespace, one, parent, json.loads(metadata) if metadata else None) for namespace, one, parent, metadata in cursor.execute(_STEPS, (thread_id,))
    ]
    if any(step.delta for step in steps):
        raise delta_refused(thread_id)
    cut = cut_of(steps, keep)
    _apply(cursor, thread_id, cut)
    if cut.gone:
        _forget_values(cursor, serde, thread_id)


def _apply(cursor: sqlite3.Cursor, thread_id: str, cut: Cut) -> None:
    gone = [(thread_id, *key) for key in cut.gone]
    for statement in _CUT:
        cursor.executemany(statement, gone)
    cursor.executemany(_ORPHAN, [(thread_id, *key) for key in cut.orphans])


def _forget_values(cursor: sqlite3.Cursor, serde: SerializerProtocol, thread_id: str) -> None:
    used: set[tuple[str, str, str]] = set()
    for namespace, kind, data in cursor.execute("SELECT checkpoint_ns, type, checkpoint FROM checkpoints WHERE thread_id = ?", (thread_id,)):
        stored = serde.loads_typed((kind, data))
        used.update((namespace, name, str(stored["channel_versions"][name])) for name in stored.get(APART, ()))
    there = cursor.execute("SELECT checkpoint_ns, channel, version FROM checkpoint_blobs WHERE thread_id = ?", (thread_id,)).fetchall()
    cursor.executemany(_FORGET, [(thread_id, *key) for key in there if key not in used])
