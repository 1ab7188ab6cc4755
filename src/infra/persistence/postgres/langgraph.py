"""LangGraph's PostgreSQL checkpointer and store over a `Database`, for synchronous and asynchronous callers alike.

The statements are LangGraph's own. Its asynchronous classes hold one lock over the whole pool (langgraph#7259) and belong to one
event loop; these take a connection for each operation, and any thread or loop may call them.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple, DeltaChannelHistory
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.store.base import BaseStore, Op, Result
from langgraph.store.postgres import PostgresStore
from psycopg import Capabilities, Cursor
from psycopg.rows import DictRow

from ..held_writes import HeldWrites, Write, settle
from ..pruning import Keep
from ..sealing import Blob, SealedSerializer, unsealed
from . import pruning
from .database import Database
from .leases import fence

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.serde.base import SerializerProtocol

T = TypeVar("T")


class PooledPostgresSaver(PostgresSaver):
    """The checkpointer. Each of its operations may be repeated, and is, once, where its connection broke off.

    Sealed, a checkpoint's plain values (texts, numbers) are sealed too, which LangGraph keeps inline and readable; what stays
    readable are ids, versions and metadata, which are searched.
    """

    def __init__(self, database: Database, serde: SerializerProtocol) -> None:
        # Not PostgresSaver's own constructor: it wants an open connection.
        BaseCheckpointSaver.__init__(self, serde=serde)
        self.database = database
        self._sealed = isinstance(serde, SealedSerializer)
        self.pipe = None
        self.supports_pipeline = Capabilities().has_pipeline()
        self.lock = threading.Lock()
        self._open = threading.local()
        self._held = HeldWrites(self._save_writes)

    def setup(self) -> None:
        """Connect, and migrate where that is needed. The first use does the same."""
        self.database.again(self.database.touch)

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Iterator[Cursor[DictRow]]:
        if (joined := getattr(self._open, "cursor", None)) is not None:
            yield joined
            return
        with self.database.cursor(pipeline=pipeline) as cursor:
            if pipeline:  # LangGraph writes so, and only writes
                fence(cursor)
            yield cursor

    @contextmanager
    def _joined(self) -> Iterator[None]:
        """What is written in this block by this thread is one transaction and one round trip."""
        with self._cursor(pipeline=True) as cursor:
            self._open.cursor = cursor
            try:
                yield
            finally:
                self._open.cursor = None

    def _load_checkpoint_tuple(self, value: DictRow) -> CheckpointTuple:
        # Sealed, nothing lies inline but the marks of LangGraph's delta channels.
        if self._sealed and any(inline is not True for inline in (value["checkpoint"].get("channel_values") or {}).values()):
            raise unsealed()
        return super()._load_checkpoint_tuple(value)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self.database.again(lambda: super(PooledPostgresSaver, self).get_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph names it so
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        # Read to the end first: the connection must not be held while the caller looks at each.
        yield from self.database.again(lambda: [*super(PooledPostgresSaver, self).list(config, filter=filter, before=before, limit=limit)])

    def put(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions) -> RunnableConfig:
        kept = _boxed(checkpoint, self._sealed)
        return self.database.again(lambda: super(PooledPostgresSaver, self).put(config, kept, metadata, new_versions))

    def put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        self.database.again(lambda: super(PooledPostgresSaver, self).put_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        self.database.again(lambda: super(PooledPostgresSaver, self).delete_thread(thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        self.database.again(lambda: super(PooledPostgresSaver, self).prune(thread_ids, strategy=strategy))

    def prune_steps(self, thread_id: str, keep: Keep) -> None:
        """Keep a thread's latest checkpoint, or those at the ends of its turns.

        Raises:
            NotImplementedError: the thread uses one of LangGraph's delta channels.
        """
        self.database.again(lambda: self._prune_steps(thread_id, keep))

    def _prune_steps(self, thread_id: str, keep: Keep) -> None:
        with self.database.connection() as connection, connection.cursor(binary=True) as cursor:
            if keep == "latest":
                with connection.pipeline():
                    fence(cursor)
                    pruning.prune_after_turn(cursor, thread_id)
                if cursor.rowcount:
                    return
            with connection.transaction():
                fence(cursor)
                pruning.prune(cursor, thread_id, keep)

    async def aprune_steps(self, thread_id: str, keep: Keep) -> None:
        await self._run(lambda: self._prune_steps(thread_id, keep))

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        return self.database.again(lambda: super(PooledPostgresSaver, self).get_delta_channel_history(config=config, channels=channels))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._run(lambda: self.get_tuple(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph names it so
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for item in await self._run(lambda: [*self.list(config, filter=filter, before=before, limit=limit)]):
            yield item

    async def aput(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions) -> RunnableConfig:
        held = self._held.take(config)
        kept = _boxed(checkpoint, self._sealed)

        def work() -> RunnableConfig:
            with self._joined():
                for one in held:
                    super(PooledPostgresSaver, self).put_writes(*one.write)
                return super(PooledPostgresSaver, self).put(config, kept, metadata, new_versions)

        return await settle(held, self._run(work))

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        await self._held.put((config, writes, task_id, task_path))

    async def _save_writes(self, writes: Sequence[Write]) -> None:
        def work() -> None:
            with self._joined():
                for write in writes:
                    super(PooledPostgresSaver, self).put_writes(*write)

        await self._run(work)

    async def adelete_thread(self, thread_id: str) -> None:
        await self._run(lambda: self.delete_thread(thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await self._run(lambda: self.prune(thread_ids, strategy=strategy))

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        return await self._run(lambda: self.get_delta_channel_history(config=config, channels=channels))

    async def aclose(self) -> None:
        await self.database.aclose()

    def close(self) -> None:
        self.database.close()

    async def _run(self, work: Callable[[], T]) -> T:
        return await self.database.run(work)


def _boxed(checkpoint: Checkpoint, sealed: bool) -> Checkpoint:
    """The checkpoint with those plain values boxed that must not lie inline: all where it is sealed, else texts with a NUL, which jsonb refuses."""
    values = checkpoint["channel_values"]
    boxes = {
        name: Blob(value)
        for name, value in values.items()
        if isinstance(value, str | int | float | bool | None) and (sealed or (isinstance(value, str) and "\0" in value))
    }
    if not boxes:
        return checkpoint
    copy = checkpoint.copy()
    copy["channel_values"] = {**values, **boxes}
    return copy


class _Inner(PostgresStore):
    """LangGraph's store without its lock: a connection for each batch, which is one transaction."""

    database: Database

    def __init__(self, database: Database) -> None:
        super().__init__(cast("Any", None))  # it wants a connection, and uses it in `_cursor` alone
        self.database = database

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Iterator[Cursor[DictRow]]:
        with self.database.cursor(pipeline=pipeline) as cursor:
            yield cursor


class PooledPostgresStore(BaseStore):
    """The store; it keeps values readable, also where checkpoints are sealed."""

    supports_ttl = True

    def __init__(self, database: Database) -> None:
        self.database = database
        self._inner = _Inner(database)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        listed = [*ops]
        return self.database.again(lambda: self._inner.batch(listed))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        listed = [*ops]
        return await self.database.run(lambda: self._inner.batch(listed))

    async def aclose(self) -> None:
        await self.database.aclose()

    def close(self) -> None:
        self.database.close()
