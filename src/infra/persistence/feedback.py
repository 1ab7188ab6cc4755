"""Feedback on answers, in LangGraph's store: under its user's namespace, so that it is erased with the user, and by thread.

Where checkpoints are sealed, so is feedback: it repeats questions.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from ...core.chat import Turn
from ...core.feedback import Feedback, Rating
from ...core.identity import Identity
from ...errors import InputError, NotFoundError, StorageCorruptError
from ...telemetry import metrics
from ...util.clock import iso_now
from .rows import ThreadRow
from .sealing import SealedSerializer
from .user_context import ALL_USERS, labelled, user_namespace

if TYPE_CHECKING:
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.store.base import BaseStore, Item

    from .threads import ThreadService

ROOM = "feedback"
COMMENT_CHARS = 4000
PAGE = 200
RATINGS = ("up", "down")


class FeedbackRecords:
    """Where feedback lies; knows nothing of who may ask.

    Args:
        serializer: the checkpointer's; a sealed one seals feedback as well.
    """

    def __init__(self, store: BaseStore, serializer: SerializerProtocol) -> None:
        self._store = store
        self._sealed = serializer if isinstance(serializer, SealedSerializer) else None

    async def put(self, feedback: Feedback) -> None:
        value = self._closed({**asdict(feedback), "versions": {**feedback.versions}})
        # Nothing of it is found by its text.
        await self._store.aput(_place(feedback.tenant, feedback.user, feedback.thread_id), feedback.message_id, value, index=False)

    async def of_thread(self, thread_id: str, tenant: str, user: str) -> list[Feedback]:
        place = _place(tenant, user, thread_id)
        return [self._opened(item) async for item in self._items(place) if tuple(item.namespace) == place]

    async def remove(self, thread_id: str, message_id: str, tenant: str, user: str) -> None:
        await self._store.adelete(_place(tenant, user, thread_id), message_id)

    async def forget_thread(self, row: ThreadRow) -> None:
        """Remove what was said in a thread."""
        place = _place(row.tenant, row.user, row.thread_id)
        for key in [item.key async for item in self._items(place) if tuple(item.namespace) == place]:
            await self._store.adelete(place, key)

    async def everything(self, tenant: str | None = None) -> AsyncGenerator[Feedback, None]:
        """All feedback of one tenant, or of all: for those who run the deployment."""
        prefix = (*ALL_USERS, labelled(tenant)) if tenant is not None else ALL_USERS
        async for item in self._items(prefix):
            if len(item.namespace) == 5 and item.namespace[3] == ROOM and tuple(item.namespace[: len(prefix)]) == prefix:
                yield self._opened(item)

    async def _items(self, prefix: tuple[str, ...]) -> AsyncGenerator[Item, None]:
        offset = 0
        while found := await self._store.asearch(prefix, limit=PAGE, offset=offset):
            for item in found:
                yield item
            offset += len(found)

    def _closed(self, record: dict[str, Any]) -> dict[str, Any]:
        if self._sealed is None:
            return record
        kind, data = self._sealed.dumps_typed(record)
        return {"kind": kind, "sealed": base64.b64encode(data).decode()}

    def _opened(self, item: Item) -> Feedback:
        record = item.value
        if self._sealed is not None:
            try:
                record = self._sealed.loads_typed((str(record["kind"]), base64.b64decode(record["sealed"])))
            except (KeyError, TypeError, binascii.Error):
                raise StorageCorruptError("A user's feedback is not encrypted, though encryption is on.", setting="persistence.encryption_keys") from None
        try:
            return Feedback(**{**record, "retrieved": tuple(record["retrieved"]), "cited": tuple(record["cited"])})
        except (KeyError, TypeError):
            raise StorageCorruptError(
                "A user's feedback cannot be read.", setting="persistence.encryption_keys", hint="Set the keys it was sealed with."
            ) from None


class FeedbackService:
    """Feedback on answers of the caller's own threads.

    What was said of an answer stays when the answer is replaced, which is when it says most, until it is taken back or the thread goes.
    """

    def __init__(self, threads: ThreadService, records: FeedbackRecords) -> None:
        self._threads = threads
        self._records = records

    async def give(self, thread_id: str, message_id: str, identity: Identity, rating: str, comment: str = "") -> Feedback:
        """Say whether an answer was good; again replaces what was said before.

        Raises:
            NotFoundError: there is no such thread or turn of the caller's.
            InputError: neither ``up`` nor ``down``, or a comment of more than 4,000 characters.
        """
        if rating not in RATINGS:
            raise InputError("A rating is up or down.")
        if len(comment) > COMMENT_CHARS or "\0" in comment:
            raise InputError(f"A comment has {COMMENT_CHARS:,} characters at most, and no NUL.")
        turn = await self._turn(thread_id, message_id, identity)
        feedback = Feedback(
            thread_id=thread_id,
            message_id=message_id,
            rating=cast("Rating", rating),
            comment=comment.strip(),
            question=turn.question,
            retrieved=turn.retrieved,
            cited=tuple(dict.fromkeys(citation.document_id for citation in turn.citations)),
            versions=turn.versions,
            given_at=iso_now(),
            tenant=identity.tenant,
            user=identity.user,
        )
        await self._records.put(feedback)
        metrics.count("rag.feedback", 1, {"rag.rating": rating})
        return feedback

    async def of_thread(self, thread_id: str, identity: Identity) -> list[Feedback]:
        """What the caller said of the answers of a thread, those included that were replaced since.

        Raises:
            NotFoundError: there is no such thread of the caller's.
        """
        await self._threads.get(thread_id, identity)
        return await self._records.of_thread(thread_id, identity.tenant, identity.user)

    async def withdraw(self, thread_id: str, message_id: str, identity: Identity) -> None:
        """Take back what was said of an answer, also of one that was replaced since; where nothing was, nothing happens.

        Raises:
            NotFoundError: there is no such thread or turn of the caller's.
        """
        if all(one.message_id != message_id for one in await self.of_thread(thread_id, identity)):
            await self._turn(thread_id, message_id, identity)
        await self._records.remove(thread_id, message_id, identity.tenant, identity.user)

    async def _turn(self, thread_id: str, message_id: str, identity: Identity) -> Turn:
        for turn in await self._threads.history(thread_id, identity):
            if turn.message_id == message_id:
                return turn
        raise NotFoundError("The conversation has no such turn.", hint="Its history names the message_id of each.")


def _place(tenant: str, user: str, thread_id: str) -> tuple[str, ...]:
    return (*user_namespace(tenant, user), ROOM, thread_id)
