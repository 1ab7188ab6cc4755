"""`/v1/documents`: upload, list, read and delete. Ids may hold anything, slashes too: percent-encode all of an id."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.background import BackgroundTask
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..core.documents import Chunk, Document
from ..core.identity import AccessScope
from ..core.search import AnyOf
from ..errors import InputError, NotFoundError, QueryError
from ..retrieval.filters import parse_filter_args
from ..telemetry.audit import AuditEvent, reading
from .deps import CallerDep, Parts, PartsDep, ScopeDep
from .files import Original, open_original
from .problems import problem, respond
from .schemas import DeletedOut, DocumentOut, DocumentsOut, PassageOut, PassagesOut, UploadedOut, UploadOut
from .uploads import Uploader, delete_documents, owns, read_form

AROUND = 3
"""Passages shown on each side where a format has no pages."""
_BLOCK = 256 * 1024
_PDF = "application/pdf"
_TEXT = ("text/plain", "text/markdown")
SANDBOX = "sandbox; default-src 'none'"
UPLOAD_DOC: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "allow": {"type": "array", "items": {"type": "string"}, "description": "Principals of yours that may see it; default you alone."},
                        "id": {"type": "string", "description": "Id of a single file; default its name. With tokens below the user's: USER/ID."},
                        "title": {"type": "string", "description": "Title of a single file; default its own."},
                    },
                }
            }
        },
    }
}


class _DocumentId(Convertor[str]):
    """All that is left of a path. The framework's own `path` ends at a line break, which file names may hold."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("document", _DocumentId())
router = APIRouter(prefix="/v1/documents", tags=["documents"])
uploading = APIRouter(prefix="/v1/documents", tags=["documents"])


def make_router(*, upload: bool) -> APIRouter:
    """The routes; without the feature `upload`, documents cannot be added here."""
    whole = APIRouter()
    if upload:
        whole.include_router(uploading)
    whole.include_router(router)
    return whole


@uploading.post("", status_code=201, response_model=UploadOut, response_model_exclude_none=True, openapi_extra=UPLOAD_DOC)
async def upload(request: Request, parts: PartsDep, identity: CallerDep) -> Response:
    """Add documents; the same id again replaces one. 201 when something was stored, 200 when all was there already, 422 when nothing could be read."""
    async with read_form(request) as form:
        outcomes = await Uploader(parts, identity).add(form)
    return _uploaded(outcomes, request)


def _uploaded(outcomes: tuple[UploadedOut, ...], request: Request) -> Response:
    shape = UploadOut(documents=outcomes).model_dump(exclude_none=True)
    states = {outcome.status for outcome in outcomes}
    if states == {"failed"}:
        first = outcomes[0]
        detail = f"{first.name}: {first.message}" if len(outcomes) == 1 else "None of the files could be read."
        return respond(problem(422, "document", detail, request.scope, reason=first.reason, documents=shape["documents"]))
    return JSONResponse(shape, HTTPStatus.CREATED if states & {"added", "updated"} else HTTPStatus.OK)


@router.get("", response_model_exclude_none=True)
async def list_documents(
    parts: PartsDep,
    identity: CallerDep,
    scope: ScopeDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=10_000)] = None,
    document_id: Annotated[list[str] | None, Query(alias="id", description="Only these ids; may be repeated.")] = None,
    condition: Annotated[list[str] | None, Query(alias="filter", description="field=value, field>=3, field, !field; may be repeated.")] = None,
) -> DocumentsOut:
    """The documents that the caller may see, by id."""
    filters = parse_filter_args(condition or [])
    if document_id:
        filters = (*filters, AnyOf("document_id", tuple(document_id)))
    async with reading(await parts.audit(), AuditEvent.under(scope, "document.list")) as noted:
        page = await (await parts.search()).list_documents(scope, filters=filters, limit=limit, cursor=cursor)
        noted.documents = tuple(document.id for document in page.documents)
    everyone = parts.settings.api.auth == "none"
    documents = tuple(DocumentOut.of(document, own=owns(document, identity, everyone=everyone)) for document in page.documents)
    return DocumentsOut(documents=documents, next_cursor=page.next_cursor)


@router.delete("")
async def delete_several(
    parts: PartsDep, identity: CallerDep, scope: ScopeDep, document_id: Annotated[list[str] | None, Query(alias="id", max_length=1000)] = None
) -> DeletedOut:
    """Delete the named documents of the caller's own. Without an id nothing is deleted."""
    if not document_id:
        raise InputError("No id was given.", hint="Name what to delete: DELETE /v1/documents?id=ID, or /v1/documents/ID.")
    return DeletedOut(deleted=await delete_documents(parts, identity, scope, document_id))


# The routes below an id come before the one of the id itself, as the id takes all that is left of the path.


@router.get("/{document_id:document}/passages", response_model_exclude_none=True)
async def passages(
    document_id: str, parts: PartsDep, identity: CallerDep, scope: ScopeDep, chunk_id: Annotated[str | None, Query(max_length=200)] = None
) -> PassagesOut:
    """One passage amid the passages of its page; the first one where none is named."""
    search = await parts.search()
    document = await _document(parts, document_id, scope, "passages")
    chunks = await search.get_chunks(document_id, scope)
    at = find_chunk(chunks, chunk_id)
    chunk = chunks[at]
    own = owns(document, identity, everyone=parts.settings.api.auth == "none")
    return PassagesOut(
        document=DocumentOut.of(document, own=own),
        chunk_id=chunk.id,
        page=chunk.page,
        section=chunk.section,
        position=at,
        total=len(chunks),
        passages=tuple(PassageOut.of(near) for near in surroundings(chunks, at)),
        previous=chunks[at - 1].id if at > 0 else None,
        next=chunks[at + 1].id if at + 1 < len(chunks) else None,
    )


def find_chunk(chunks: tuple[Chunk, ...], chunk_id: str | None) -> int:
    """Place of a chunk.

    Raises:
        NotFoundError: the document has no such chunk, or none at all.
    """
    for place, chunk in enumerate(chunks):
        if chunk_id is None or chunk.id == chunk_id:
            return place
    raise NotFoundError("The document does not have this passage.", hint="It was changed since; ask again to get its present passages.")


def surroundings(chunks: tuple[Chunk, ...], at: int) -> tuple[Chunk, ...]:
    """The chunks to show around one: those of its page, or its neighbours where there are no pages."""
    page = chunks[at].page
    if page is not None:
        return tuple(chunk for chunk in chunks if chunk.page == page)
    return chunks[max(0, at - AROUND) : at + AROUND + 1]


@router.get("/{document_id:document}/file")
async def original(document_id: str, parts: PartsDep, scope: ScopeDep) -> Response:
    """The bytes that were ingested: PDF and text to look at, everything else to save. 409 when the file was changed since."""
    document = await _document(parts, document_id, scope, "file")
    found = await asyncio.to_thread(open_original, parts.files, document)
    headers = {**file_headers(document), "Content-Length": str(found.size)}
    return StreamingResponse(_blocks(found), headers=headers, background=BackgroundTask(found.file.close))


def file_headers(document: Document) -> dict[str, str]:
    """How a browser may treat an original. Nothing of it may ever run in our origin."""
    kind = document.content_type
    name = str(document.metadata.get("file_name") or document.id.replace("\\", "/").rsplit("/", 1)[-1] or "document")
    shown = kind == _PDF or kind in _TEXT
    plain = "".join(letter if letter.isascii() and letter.isprintable() and letter not in '"\\' else "_" for letter in name)
    return {
        "Content-Type": "text/plain; charset=utf-8" if kind in _TEXT else kind or "application/octet-stream",
        "Content-Disposition": f"{'inline' if shown else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": SANDBOX,
        "Cache-Control": "private, no-cache",
    }


def _blocks(original: Original) -> Iterator[bytes]:
    with original.file as file:
        left = original.size
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            left -= len(block)
            yield block


@router.get("/{document_id:document}", response_model_exclude_none=True)
async def get_document(document_id: str, parts: PartsDep, identity: CallerDep, scope: ScopeDep) -> DocumentOut:
    """One document."""
    document = await _document(parts, document_id, scope, "entry")
    return DocumentOut.of(document, own=owns(document, identity, everyone=parts.settings.api.auth == "none"))


@router.delete("/{document_id:document}")
async def delete_one(document_id: str, parts: PartsDep, identity: CallerDep, scope: ScopeDep) -> DeletedOut:
    """Delete one document of the caller's own."""
    deleted = await delete_documents(parts, identity, scope, [document_id])
    if not deleted:
        raise _unknown()
    return DeletedOut(deleted=deleted)


async def _document(parts: Parts, document_id: str, scope: AccessScope, part: str) -> Document:
    """A document of which ``part`` is about to be shown."""
    if not document_id:
        raise QueryError("The id of a document is missing.")
    async with reading(await parts.audit(), AuditEvent.under(scope, "document.read", documents=(document_id,), part=part)):
        document = await (await parts.search()).get_document(document_id, scope)
        if document is None:
            raise _unknown()
    return document


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such document.", hint="GET /v1/documents lists those that you may see; an id is percent-encoded as a whole.")
