"""`/v1/threads`: the caller's conversations. A foreign thread looks like one that does not exist."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from .deps import CallerDep, PartsDep
from .schemas import ForkBody, HistoryOut, RenameBody, ThreadExportOut, ThreadOut, ThreadsOut

router = APIRouter(prefix="/v1/threads", tags=["threads"])


@router.get("", response_model_exclude_none=True)
async def list_threads(
    parts: PartsDep,
    identity: CallerDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=4000)] = None,
    q: Annotated[str, Query(max_length=200, description="Words that titles have to hold, whatever their case and accents.")] = "",
) -> ThreadsOut:
    """The caller's threads, latest first. With `q` a page may have fewer than `limit`, or none, though `next_cursor` goes on."""
    found = await (await parts.threads()).list(identity, limit, cursor, q)
    return ThreadsOut(threads=tuple(ThreadOut.of(thread) for thread in found.threads), next_cursor=found.next_cursor)


@router.get("/{thread_id}")
async def get_thread(thread_id: str, parts: PartsDep, identity: CallerDep) -> ThreadOut:
    return ThreadOut.of(await (await parts.threads()).get(thread_id, identity))


@router.get("/{thread_id}/history", response_model_exclude_none=True)
async def get_history(thread_id: str, parts: PartsDep, identity: CallerDep) -> HistoryOut:
    """Questions and answers, oldest first."""
    return HistoryOut.of(thread_id, await (await parts.threads()).history(thread_id, identity))


@router.patch("/{thread_id}")
async def rename_thread(thread_id: str, body: RenameBody, parts: PartsDep, identity: CallerDep) -> ThreadOut:
    """Give a thread another title, of one line and 80 characters at most."""
    return ThreadOut.of(await (await parts.threads()).rename(thread_id, identity, body.title))


@router.post("/{thread_id}/fork", status_code=201)
async def fork_thread(thread_id: str, parts: PartsDep, identity: CallerDep, body: ForkBody | None = None) -> ThreadOut:
    """A new thread that begins with the turns of this one, up to `message_id` or all."""
    return ThreadOut.of(await (await parts.threads()).fork(thread_id, identity, body.message_id if body else None))


@router.get("/{thread_id}/export", response_model_exclude_none=True)
async def export_thread(thread_id: str, parts: PartsDep, identity: CallerDep) -> ThreadExportOut:
    """The thread and all its turns, as one document."""
    return ThreadExportOut.of_export(await (await parts.threads()).export(thread_id, identity))


@router.delete("/{thread_id}", status_code=204)
async def delete_thread(thread_id: str, parts: PartsDep, identity: CallerDep) -> Response:
    """Delete a thread with all its checkpoints."""
    await (await parts.threads()).delete(thread_id, identity)
    return Response(status_code=204)
