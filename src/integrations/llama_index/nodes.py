"""Between LlamaIndex's nodes and our documents. Pure.

A node that is added becomes a document of its own with one chunk: so its metadata can be filtered by, and adding, replacing
and deleting one is one transaction that touches no other. What filters cannot ask for travels along as JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, TextNode
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from ...core.documents import Chunk, Document, MetadataValue, chunk_id
from ...core.identity import Identity
from ...core.search import Hit
from ...errors import InputError
from ..shapes import plain

REF, NODE, OWNER = "ref_doc_id", "_node_content", "uploaded_by"
"""Names in a document's metadata: LlamaIndex's document, the node as JSON without text and vector, and who added it."""
_PLACES = ("title", "source", "section", "page")
"""Metadata that have a place of their own in our documents, by which filters and citations know them."""
_SHOWN = ("title", "page", "section")
"""What a model is shown of a passage that was not ingested by LlamaIndex."""


def space_of(identity: Identity) -> str:
    """What the ids of a user's nodes begin with, as of uploads: so nobody's node meets another's."""
    return identity.user.replace("%", "%25").replace("/", "%2F") + "/llama-index/"


def document_of(node: BaseNode, identity: Identity, acl: tuple[str, ...]) -> tuple[Document, Chunk]:
    """A node as a document with one chunk.

    Raises:
        InputError: it is no text, or its metadata hold what can neither be kept nor filtered by.
    """
    if type(node) is not TextNode and node.class_name() not in ("TextNode", "Document"):
        raise InputError(f"Node {node.node_id!r} is of the kind {node.class_name()}; only text can be kept.")
    text = node.get_content()
    metadata = _flat(node)
    places = {name: metadata.get(name) for name in _PLACES}
    page = places["page"] if isinstance(places["page"], int) and not isinstance(places["page"], bool) else None
    named = {name: str(places[name] or "") for name in ("title", "source", "section")}
    body = _json(node, text)
    identifier = f"{space_of(identity)}{node.node_id}"
    document = Document(
        id=identifier,
        tenant=identity.tenant,
        title=named["title"] or str(metadata.get("file_name", "")),
        source=named["source"] or str(metadata.get("file_name", "")) or str(node.ref_doc_id or ""),
        content_type="text/plain",
        content_hash=hashlib.sha256(f"{text}\0{body}\0{sorted(acl)}".encode("utf-8", "surrogatepass")).hexdigest(),
        acl=acl,
        metadata={**metadata, REF: node.ref_doc_id or node.node_id, OWNER: identity.user, NODE: body},
    )
    chunk = Chunk(chunk_id(identity.tenant, identifier, 0, text), identifier, identity.tenant, 0, text, page=page, section=named["section"], end=len(text))
    return document, chunk


def _json(node: BaseNode, text: str) -> str:
    """The node without its text and vector.

    Raises:
        InputError: something of it is no Unicode text, or nothing that JSON has.
    """
    try:
        text.encode()
        return node.model_dump_json(exclude={"embedding", "text", "text_resource", "image_resource", "audio_resource", "video_resource"})
    except (UnicodeEncodeError, PydanticSerializationError):
        raise InputError(f"Node {node.node_id!a} holds what cannot be written as text, such as half of a surrogate pair.") from None


def _flat(node: BaseNode) -> dict[str, MetadataValue | tuple[MetadataValue, ...]]:
    kept: dict[str, MetadataValue | tuple[MetadataValue, ...]] = {}
    for name, value in node.metadata.items():
        items = value if isinstance(value, (list, tuple)) else [value]
        if value is None or not items:
            continue
        if not all(isinstance(item, (str, int, float)) for item in items):
            raise InputError(
                f"Node {node.node_id!r}: {name!r} in its metadata holds neither text, number nor truth value, nor a list of them.",
                hint="Write it as text, such as JSON.",
            )
        kept[str(name)] = tuple(value) if isinstance(value, (list, tuple)) else value
    return kept


def node_of_hit(hit: Hit) -> TextNode:
    """What was found as a node. A passage that LlamaIndex did not add has its own id and the document's."""
    added = _restored(hit.metadata, hit.text)
    if added is not None:
        return added
    about = {name: value for name in ("title", "source", "page", "section", "document_id") if (value := getattr(hit, name)) not in (None, "")}
    return _foreign(hit.chunk_id, hit.document_id, hit.text, {**plain(hit.metadata), **about})


def node_of_chunk(document: Document, chunk: Chunk) -> TextNode:
    """The same of a chunk that was asked for by id."""
    added = _restored(document.metadata, chunk.text)
    if added is not None:
        return added
    known = {"title": document.title, "source": document.source, "page": chunk.page, "section": chunk.section, "document_id": document.id}
    about = {name: value for name, value in known.items() if value not in (None, "")}
    return _foreign(chunk.id, document.id, chunk.text, {**plain(document.metadata), **about})


def _restored(metadata: Mapping[str, Any], text: str) -> TextNode | None:
    try:
        node = TextNode.model_validate_json(str(metadata[NODE]))
    except (KeyError, ValidationError, TypeError):
        return None
    node.set_content(text)
    return node


def _foreign(identifier: str, document_id: str, text: str, metadata: dict[str, Any]) -> TextNode:
    hidden = [name for name in metadata if name not in _SHOWN]
    return TextNode(
        id_=identifier,
        text=text,
        metadata=metadata,
        excluded_llm_metadata_keys=hidden,
        excluded_embed_metadata_keys=hidden,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document_id)},
    )
