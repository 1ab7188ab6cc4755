"""Bulk requests that lose nothing and never hold more than a few batches.

A batch is bounded by bytes and by items, and `parallel` of them are on their way; the source is read only when there is
room for the next. What is refused for want of room, or meets an outage, is sent again, alone, after jittered waits, until
nothing was taken for a minute (`patience.py`); what is too large is split; what cannot be taken at all is reported item by
item while the rest goes on. Ids are fixed by the caller, so a batch whose answer was lost is simply sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from .....errors import (
    BulkItemError,
    ConflictError,
    DeadlineExceededError,
    IndexMissingError,
    InputError,
    OverloadedError,
    PayloadTooLargeError,
    RagError,
    ServerMemoryError,
    ServiceCredentialsError,
    ServiceUnavailableError,
    WriteBlockedError,
)
from ....resilience.deadline import clip
from ..wire.failures import item_failure
from ..wire.serializer import dumps
from .patience import Patience, is_passing

if TYPE_CHECKING:
    from ....config import SearchCfg
    from ..wire.transport import Transport

_FATAL: Final = (IndexMissingError, WriteBlockedError, ServiceCredentialsError)
"""Errors of one item that every other would meet as well."""
_SPLIT_BYTES: Final = 256_000
"""A batch that was refused twice for want of room is sent in halves down to this size."""
_STEP_BYTES: Final = 500_000
"""Encoded in one go; then the event loop has its turn (about 1 ms)."""
_ANSWER: Final = "errors,items.*.status,items.*.error"
_DETAILS: Final = f"{_ANSWER},items.*._seq_no,items.*._primary_term,items.*._index"
_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE

Operation = Literal["index", "create", "delete"]
OnItem = Callable[["Action", Mapping[str, Any]], None]


@dataclass(slots=True)
class Action:
    """One item.

    Attributes:
        id: its `_id`; within one run no two may be the same.
        source: what is indexed; None for a delete.
        guard: (`seq_no`, `primary_term`) that the entry must still have.
        version: external version; an entry with a higher one stays as it is, and the item is a conflict.
    """

    id: str
    source: Mapping[str, Any] | None = None
    op: Operation = "index"
    guard: tuple[int, int] | None = None
    version: int | None = None


@dataclass(slots=True)
class BulkReport:
    """What became of a run. `failed`: items that were refused for good, in the order in which they were."""

    done: int = 0
    requests: int = 0
    repeated: int = 0
    sent_bytes: int = 0
    failed: list[BulkItemError] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    actions: list[Action] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, action: Action, line: bytes) -> None:
        self.actions.append(action)
        self.lines.append(line)
        self.size += len(line)

    def halves(self) -> tuple[_Batch, _Batch]:
        middle = len(self.actions) // 2
        return self.part(range(middle)), self.part(range(middle, len(self.actions)))

    def part(self, places: Iterable[int]) -> _Batch:
        batch = _Batch()
        for at in places:
            batch.add(self.actions[at], self.lines[at])
        return batch


class Bulk:
    """Sends bulk requests to one alias.

    Args:
        transport: how requests travel.
        cfg: `bulk_bytes`, `bulk_actions`, `bulk_parallel`, `bulk_timeout_s`, `max_retries`.
        alias: where to; the server is told to refuse anything that is no alias, so that it never makes an index by itself.
    """

    def __init__(self, transport: Transport, cfg: SearchCfg, alias: str, *, require_alias: bool = True) -> None:
        self._transport = transport
        self._cfg = cfg
        self._alias = alias
        self._require_alias = require_alias

    async def run(self, actions: Iterable[Action] | AsyncIterable[Action], *, on_item: OnItem | None = None) -> BulkReport:
        """Send everything; returns once each item was taken or refused for good.

        Args:
            on_item: called for each item that was taken, with the action and its ``_index``, ``_seq_no``, ``_primary_term``.

        Raises:
            DeadlineExceededError: the deadline of the context passed, or the server did not answer in time again and again.
            WriteBlockedError: the index takes no writes now.
            IndexMissingError: the alias is not there.
            OverloadedError, UnreachableError, ServiceUnavailableError: nothing was taken for a minute (or `bulk_timeout_s`, if that is less).
        """
        return await _Run(self._transport, self._cfg, self._alias, self._require_alias, on_item).drain(actions)


class _Run:
    """One call of `Bulk.run`."""

    def __init__(self, transport: Transport, cfg: SearchCfg, alias: str, require_alias: bool, on_item: OnItem | None) -> None:
        self._transport = transport
        self._cfg = cfg
        self._alias = alias
        self._on_item = on_item
        self._params = {"filter_path": _DETAILS if on_item else _ANSWER}
        if require_alias:
            self._params["require_alias"] = "true"
        self._report = BulkReport()

    async def drain(self, actions: Iterable[Action] | AsyncIterable[Action]) -> BulkReport:
        batches = self._batches(_as_async(actions))
        turn = asyncio.Lock()

        async def work() -> None:
            while True:
                async with turn:  # one reads the source while the others wait for answers
                    batch = await anext(batches, None)
                if batch is None:
                    return
                await self._send(batch)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._cfg.bulk_parallel):
                    group.create_task(work())
        except BaseExceptionGroup as failures:
            raise _first(failures) from None
        finally:
            await batches.aclose()
        return self._report

    # -- making batches

    async def _batches(self, actions: AsyncIterator[Action]) -> AsyncGenerator[_Batch, None]:
        batch, since = _Batch(), 0
        async for action in actions:
            line = self._line(action)
            if line is None:
                continue
            if batch.actions and batch.size + len(line) > self._cfg.bulk_bytes:
                yield batch
                batch = _Batch()
            batch.add(action, line)
            if len(batch.actions) >= self._cfg.bulk_actions:
                yield batch
                batch = _Batch()
            since += len(line)
            if since >= _STEP_BYTES:
                since = 0
                await asyncio.sleep(0)
        if batch.actions:
            yield batch

    def _line(self, action: Action) -> bytes | None:
        """The item as it is sent; None, and reported, where it cannot be written."""
        try:
            head = _head(action)
            return head if action.source is None else head + _source(action.source)
        except InputError as error:
            self._refuse(action, "unwritable", 400, error)
            return None

    # -- sending

    async def _send(self, batch: _Batch) -> None:
        patience: Patience | None = None
        while batch.actions:
            left, error = await self._exchange(batch)
            if not left.actions:
                return
            if _should_split(left, error, patience.made if patience else 0):
                await self._send_less(left, error)
                return
            if patience is None:
                patience = Patience(self._cfg)
            elif len(left.actions) < len(batch.actions):
                patience.renew()
            await patience.wait(error)
            batch = left
            self._report.repeated += len(batch.actions)

    async def _exchange(self, batch: _Batch) -> tuple[_Batch, RagError]:
        """Send once; what has to be sent again, and why."""
        try:
            answer = await self._post(batch)
        except PayloadTooLargeError as error:
            return batch, error
        except ServiceUnavailableError as error:
            if not is_passing(error):
                raise
            return batch, error
        return self._settle(batch, answer)

    async def _post(self, batch: _Batch) -> Mapping[str, Any]:
        self._report.requests += 1
        self._report.sent_bytes += batch.size
        answer: Mapping[str, Any] = await self._transport.perform(
            "POST",
            f"/{self._alias}/_bulk",
            params=self._params,
            body=b"".join(batch.lines),
            timeout_s=clip(self._cfg.bulk_timeout_s, "writing"),
            retry=False,
            index=self._alias,
        )
        return answer

    async def _send_less(self, batch: _Batch, error: RagError) -> None:
        """Two halves one after the other; a single item that is too large by itself is refused."""
        if len(batch.actions) == 1:
            self._refuse(batch.actions[0], "too_large", 413, error)
            return
        for half in batch.halves():
            await self._send(half)

    # -- answers

    def _settle(self, batch: _Batch, answer: Mapping[str, Any]) -> tuple[_Batch, RagError]:
        """What has to be sent again, and why."""
        items = answer.get("items") or []
        if not answer.get("errors") and self._on_item is None:
            self._report.done += len(batch.actions)
            return _Batch(), _UNSAID
        if len(items) != len(batch.actions):
            raise ServiceUnavailableError(f"OpenSearch answered a bulk request of {len(batch.actions)} items with {len(items)}.", hop=self._transport.host)
        again: list[int] = []
        why: RagError = _UNSAID
        for at, (action, outer) in enumerate(zip(batch.actions, items, strict=True)):
            (item,) = outer.values()
            error = self._settle_item(action, item)
            if error is not None:
                again.append(at)
                why = error
        return batch.part(again), why

    def _settle_item(self, action: Action, item: Mapping[str, Any]) -> RagError | None:
        """Note what became of an item; an error where it has to be sent again."""
        failure = item_failure(item, self._transport.host, self._alias) if "error" in item else None  # deleting what is gone is 404 without an error
        if failure is None:
            self._report.done += 1
            if self._on_item is not None:
                self._on_item(action, item)
            return None
        if isinstance(failure.error, _FATAL):
            raise failure.error
        if failure.transient or isinstance(failure.error, PayloadTooLargeError):
            return failure.error
        reason = "version_conflict" if isinstance(failure.error, ConflictError) else _kind(item)
        self._refuse(action, reason, int(item.get("status", 500)), failure.error)
        return None

    def _refuse(self, action: Action, reason: str, status: int, error: RagError) -> None:
        message = f"Item {action.id!r} was refused ({reason}): {error.message}"
        self._report.failed.append(BulkItemError(message, item_id=action.id, reason=reason, status=status, hint=error.hint, hop=error.hop))


_UNSAID: Final = ServiceUnavailableError("OpenSearch did not say why.")


def _should_split(batch: _Batch, error: RagError, made: int) -> bool:
    if isinstance(error, PayloadTooLargeError) or (isinstance(error, ServerMemoryError) and error.permanent):
        return True
    return isinstance(error, OverloadedError) and made > 0 and batch.size > _SPLIT_BYTES and len(batch.actions) > 1


def _kind(item: Mapping[str, Any]) -> str:
    error = item.get("error")
    return str(error.get("type", "unknown")) if isinstance(error, Mapping) else "unknown"


def _head(action: Action) -> bytes:
    if action.guard is None and action.version is None:
        return b'{"%b":{"_id":%b}}\n' % (action.op.encode(), dumps(action.id))
    parameters: dict[str, Any] = {"_id": action.id}
    if action.guard is not None:
        parameters["if_seq_no"], parameters["if_primary_term"] = action.guard
    if action.version is not None:
        parameters["version"], parameters["version_type"] = action.version, "external_gte"
    return dumps({action.op: parameters}) + b"\n"


def _source(source: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(source, option=_OPTIONS)
    except TypeError:
        return dumps(source) + b"\n"  # says what is wrong with it


async def _as_async(actions: Iterable[Action] | AsyncIterable[Action]) -> AsyncIterator[Action]:
    if isinstance(actions, AsyncIterable):
        async for action in actions:
            yield action
    else:
        for action in actions:
            yield action


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error that is none of the others' being cancelled."""
    for failure in failures.exceptions:
        return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure
    return DeadlineExceededError("Writing was interrupted.")
