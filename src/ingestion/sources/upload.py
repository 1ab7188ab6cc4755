"""Bytes that somebody handed over: an upload to the API."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.documents import MetadataValue
from ...errors import InputError
from .item import SourceItem

_MAX_ID_CHARS = 1024


def upload_item(
    data: bytes,
    name: str,
    *,
    document_id: str = "",
    source: str = "",
    title: str = "",
    metadata: Mapping[str, MetadataValue | tuple[MetadataValue, ...]] | None = None,
) -> SourceItem:
    """The item of an uploaded file.

    Args:
        name: its file name; folders in it are dropped.
        document_id: by default the file's name, so that uploading it again replaces it.

    Raises:
        InputError: no usable name or id.
    """
    base = name.replace("\\", "/").rsplit("/", 1)[-1].strip()
    identity = (document_id or base).strip()
    if not base or base in (".", "..") or not base.isprintable():
        raise InputError("The upload has no usable file name.", hint="Send the name of the file with its extension.")
    if not identity or len(identity) > _MAX_ID_CHARS or not identity.isprintable():
        raise InputError(f"A document's id is 1 to {_MAX_ID_CHARS} printable characters.")
    return SourceItem(identity, source or base, base, len(data), lambda: data, title, {"file_name": base, **(metadata or {})})
