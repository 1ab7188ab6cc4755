"""Uploads: from a multipart body to documents in the index, with the original kept; and who may replace or delete what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..core.documents import Document
from ..core.identity import AccessScope, Identity, access_scope, system_scope
from ..core.search import AnyOf
from ..errors import ConflictError, InputError, PayloadTooLargeError, PermissionDeniedError
from ..infra.search.protocol import SearchClient
from ..ingestion.report import Failed, IngestEvent, Stored, Unchanged
from ..ingestion.sources.item import SourceItem
from ..ingestion.sources.upload import upload_item
from ..telemetry.audit import AuditEvent, changing
from .deps import Parts
from .files import SHA256, FileStore
from .problems import nearest
from .schemas import UploadedOut

FILE_FIELDS = ("files", "file")
TEXT_FIELDS = ("allow", "id", "title")
MAX_FILES = 100
UPLOADER = "uploaded_by"
"""Metadata field that names who sent a document."""


@dataclass(frozen=True, slots=True)
class UploadForm:
    """What an upload asks for. ``id`` and ``title`` go with a single file only."""

    files: tuple[UploadFile, ...]
    allow: tuple[str, ...]
    id: str = ""
    title: str = ""


@asynccontextmanager
async def read_form(request: Request) -> AsyncIterator[UploadForm]:
    """The form of an upload, its files open inside the block; those over a megabyte wait on disk, not in memory.

    Raises:
        HTTPException: 415, it is no multipart form; 400, it is a broken one.
        InputError: a field that is not known, no file, or fields that do not go together.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the files as multipart/form-data, in fields named files.")
    async with request.form(max_files=MAX_FILES, max_fields=MAX_FILES) as form:
        yield parse_form(form)


def parse_form(form: FormData) -> UploadForm:
    """What a form that was read asks for.

    Raises:
        InputError: as `read_form`.
    """
    for name, value in form.multi_items():
        known = FILE_FIELDS if isinstance(value, UploadFile) else TEXT_FIELDS
        if name not in known:
            raise InputError(f"{name[:80]!a} is not a field here.{nearest(name, known)}", hint="Files go into files; allow, id and title are text.")
    files = tuple(value for _, value in form.multi_items() if isinstance(value, UploadFile))
    texts = {name: str(form[name]).strip() for name in ("id", "title") if name in form}
    if not files:
        raise InputError("There is no file in the request.", hint="Send one or more in fields named files.")
    if len(files) > 1 and texts:
        raise InputError("id and title go with a single file.", hint="Send the files one by one, or leave them out.")
    allow = tuple(entry.strip() for value in form.getlist("allow") for entry in str(value).split(",") if entry.strip())
    return UploadForm(files, allow, **texts)


def acl_of(allow: Sequence[str], identity: Identity) -> tuple[str, ...]:
    """Who may see an upload: the uploader, or those of their own principals that they name.

    Raises:
        PermissionDeniedError: one is not theirs, so they could give away, or slip in, what they do not hold.
    """
    held = access_scope(identity).principals
    foreign = [name for name in allow if name not in held]
    if foreign:
        raise PermissionDeniedError(f"You do not hold {', '.join(name[:80] for name in foreign[:5])}.", hint=f"You hold {', '.join(sorted(held))}.")
    return tuple(dict.fromkeys(allow)) or (f"user:{identity.user}",)


def check_apart(items: Sequence[SourceItem]) -> None:
    """
    Raises:
        InputError: two files of one request have the same id, so that one would silently replace the other.
    """
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise InputError(f"Two files of the request are named {item.name[:200]!r}.", hint="Rename one of them.")
        seen.add(item.id)


def owns(document: Document, identity: Identity, *, everyone: bool) -> bool:
    """Whether the caller may replace and delete a document that they see: seeing alone does not suffice.

    Args:
        everyone: with ``auth = none`` the local user is the machine's own and may.
    """
    uploaded = not Path(document.source).is_absolute() and document.metadata.get(UPLOADER) == identity.user
    return everyone or uploaded or f"user:{identity.user}" in document.acl


def own_id(name: str, identity: Identity, *, everyone: bool) -> str:
    """Id of an upload: its name or the id that it asks for, below the user's where there are several.

    So nobody's id meets another's, whether or not that one exists: neither can it be found out, nor taken beforehand.
    """
    # A user's own slashes are spelled otherwise: `a` with `b/c` must not be `a/b` with `c`.
    space = identity.user.replace("%", "%25").replace("/", "%2F") + "/"
    return name if everyone or (name.startswith(space) and name != space) else f"{space}{name}"


class Uploader:
    """Ingests the files of one upload for one caller."""

    def __init__(self, parts: Parts, identity: Identity) -> None:
        self._parts = parts
        self._identity = identity
        self._scope = access_scope(identity)
        self._everyone = parts.settings.api.auth == "none"
        self._limit = parts.settings.api.max_upload_bytes

    async def add(self, form: UploadForm) -> tuple[UploadedOut, ...]:
        """Ingest the files; each reports for itself.

        Raises:
            InputError: a file without a usable name; PermissionDeniedError, ConflictError: it may not go there.
            RagError: an outage; what was acknowledged stays.
        """
        acl = acl_of(form.allow, self._identity)
        search = await self._parts.search()
        items = [await self._item(search, file, form) for file in form.files]
        check_apart(items)
        event = AuditEvent.by(self._identity, "document.write", documents=tuple(item.id for item in items))
        async with changing(await self._parts.audit(), event) as noted:
            outcomes = await self._store(search, form, items, acl)
            noted.facts["failed"] = sum(outcome.status == "failed" for outcome in outcomes)
        return outcomes

    async def _store(self, search: SearchClient, form: UploadForm, items: Sequence[SourceItem], acl: tuple[str, ...]) -> tuple[UploadedOut, ...]:
        before = {item.id: await self._replaceable(search, item.id) for item in items}
        hashes = {item.id: await asyncio.to_thread(self._parts.files.put, file.file) for item, file in zip(items, form.files, strict=True)}
        outcomes: dict[str, IngestEvent] = {}
        try:
            ingestor = await self._parts.ingestor()
            await ingestor.ingest(items, tenant=self._identity.tenant, acl=acl, on_event=_collect(outcomes))
        finally:
            await self._settle(search, items, form, hashes, before)
        return tuple(_outcome(item, outcomes.get(item.id)) for item in items)

    async def _item(self, search: SearchClient, file: UploadFile, form: UploadForm) -> SourceItem:
        if (file.size or 0) > self._limit:
            raise PayloadTooLargeError(f"{file.filename} is larger than {self._limit} bytes.", setting="api.max_upload_bytes")
        data = await file.read()
        await file.seek(0)
        item = upload_item(data, file.filename or "", document_id=form.id, title=form.title, metadata={UPLOADER: self._identity.user})
        # An id that they see is that document, such as one that an operator ingested for them: they may replace it or hear 403.
        if form.id and await search.get_document(item.id, self._scope) is not None:
            return item
        identifier = own_id(item.id, self._identity, everyone=self._everyone)
        return upload_item(data, item.name, document_id=identifier, title=form.title, metadata={UPLOADER: self._identity.user})

    async def _replaceable(self, search: SearchClient, document_id: str) -> str | None:
        """The hash of the original that is there now; None where there is none."""
        document = await search.get_document(document_id, self._scope)
        if document is not None:
            if not owns(document, self._identity, everyone=self._everyone):
                raise PermissionDeniedError("A document of this id is there, and it is not yours to replace.", hint="Send another id.")
            return str(document.metadata.get(SHA256, "")) or None
        if await search.content_hashes([document_id], self._identity.tenant):
            raise ConflictError("This id is taken.", hint="Send another id.")
        return None

    async def _settle(
        self, search: SearchClient, items: Sequence[SourceItem], form: UploadForm, hashes: Mapping[str, str], before: Mapping[str, str | None]
    ) -> None:
        """Keep the originals of what is in the index now, whatever happened on the way, and forget the others."""
        files = self._parts.files
        for item, file in zip(items, form.files, strict=True):
            document = await search.get_document(item.id, self._scope)
            sha256 = hashes[item.id]
            if document is not None and document.metadata.get(SHA256) == sha256:
                async with files.lock:
                    await file.seek(0)
                    await asyncio.to_thread(files.put, file.file)
        for sha256 in {*hashes.values(), *(known for known in before.values() if known)}:
            await forget_unused(search, files, sha256)


async def forget_unused(search: SearchClient, files: FileStore, sha256: str) -> None:
    """Remove a kept original that no document of any tenant has."""
    async with files.lock:
        if files.find(sha256) is None:
            return
        page = await search.list_documents(system_scope(), filters=(AnyOf(SHA256, (sha256,)),), limit=1)
        if not page.documents:
            await asyncio.to_thread(files.remove, sha256)


async def delete_documents(parts: Parts, identity: Identity, scope: AccessScope, document_ids: Sequence[str]) -> int:
    """Delete the caller's own documents with their kept originals; returns how many were there.

    Raises:
        PermissionDeniedError: one may be seen but is not the caller's; then none is deleted.
    """
    async with changing(await parts.audit(), AuditEvent.by(identity, "document.delete", documents=tuple(document_ids))) as noted:
        noted.facts["deleted"] = count = await _delete(parts, identity, scope, document_ids)
    return count


async def _delete(parts: Parts, identity: Identity, scope: AccessScope, document_ids: Sequence[str]) -> int:
    search = await parts.search()
    everyone = parts.settings.api.auth == "none"
    found = [document for name in dict.fromkeys(document_ids) if (document := await search.get_document(name, scope)) is not None]
    foreign = [document.id for document in found if not owns(document, identity, everyone=everyone)]
    if foreign:
        raise PermissionDeniedError(f"{foreign[0][:200]} is not yours to delete.", hint="Whoever added it can.")
    count = await search.delete([document.id for document in found], scope)
    if count:
        await search.refresh()  # from now on nobody finds them, nor counts them as users of a kept original
    for sha256 in {str(document.metadata.get(SHA256, "")) for document in found}:
        await forget_unused(search, parts.files, sha256)
    return count


def _collect(outcomes: dict[str, IngestEvent]) -> Callable[[IngestEvent], None]:
    def collect(event: IngestEvent) -> None:
        if isinstance(event, Stored | Unchanged):
            outcomes[event.document_id] = event
        elif isinstance(event, Failed):
            outcomes[event.problem.document_id] = event

    return collect


def _outcome(item: SourceItem, event: IngestEvent | None) -> UploadedOut:
    named: dict[str, Any] = {"name": item.name, "document_id": item.id}
    if isinstance(event, Stored):
        return UploadedOut(**named, status="updated" if event.updated else "added", chunks=event.chunks)
    if isinstance(event, Failed):
        return UploadedOut(**named, status="failed", reason=event.problem.reason, message=event.problem.message)
    return UploadedOut(**named, status="unchanged")
