"""Documents as resources: ``rag://documents/ID``, the id percent-encoded as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import quote, unquote

from ...core.documents import Document
from ...core.identity import Identity, access_scope
from ...errors import NotFoundError, PayloadTooLargeError
from ...infra.search.protocol import DocumentPage
from ...telemetry.audit import AuditEvent, reading
from .tools import part, passages_text, whole

if TYPE_CHECKING:
    from ...infra.resource_manager import ResourceManager
    from ...infra.search.protocol import SearchClient

PREFIX = "rag://documents/"
TEMPLATE = f"{PREFIX}{{document_id}}"
PAGE = 100
"""Documents of one page of the list."""
MAX_READ_CHARS = 1_000_000
"""Characters of one resource. Clients read a resource as a whole; longer ones are read with the tool `fetch`, part by part."""


def uri_of(document_id: str) -> str:
    """The URI of a document."""
    return f"{PREFIX}{quote(document_id, safe='')}"


def id_of(uri: str) -> str:
    """The document's id in a URI.

    Raises:
        NotFoundError: the URI is none of a document, or its id is not UTF-8.
    """
    try:
        found = unquote(uri.removeprefix(PREFIX), errors="strict") if uri.startswith(PREFIX) else ""
    except UnicodeDecodeError:
        found = ""
    if not found:
        raise NotFoundError("There is no such resource.", hint=f"Documents have URIs such as {TEMPLATE}, the id percent-encoded as a whole.")
    return found


async def list_documents(resources: ResourceManager, identity: Identity, cursor: str | None) -> DocumentPage:
    """One page of the documents that the caller may see, by id.

    Raises:
        QueryError: the cursor is none of ours.
    """
    engine = cast("SearchClient", await part(resources, "search"))
    async with reading(await part(resources, "audit"), AuditEvent.by(identity, "document.list")) as noted:
        page = await engine.list_documents(access_scope(identity), limit=PAGE, cursor=cursor)
        noted.documents = tuple(document.id for document in page.documents)
    return page


async def read_document(resources: ResourceManager, identity: Identity, uri: str) -> tuple[Document, str]:
    """A document and its text, as its passages hold it.

    Raises:
        NotFoundError: there is no such resource, or the caller may not see it.
        PayloadTooLargeError: it is longer than a resource may be.
    """
    document, chunks = await whole(resources, id_of(uri), identity)
    size = sum(len(chunk.text) for chunk in chunks)
    if size > MAX_READ_CHARS:
        hint = "Read it part by part with the tool `fetch`."
        raise PayloadTooLargeError(f"The document has {size} characters; {MAX_READ_CHARS} at most are read at once.", hint=hint)
    return document, passages_text(chunks)
