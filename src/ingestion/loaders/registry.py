"""Content type to loader. A loader takes the bytes and the file's name and returns a `ParsedDocument`, or raises `DocumentError`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from ...errors import DocumentError
from ..blocks import ParsedDocument
from .detect import DOCX, HTML, MARKDOWN, PDF, TEXT, detect

Loader = Callable[[bytes, str], ParsedDocument]

MAX_TEXT_CHARS = 50_000_000
"""Longest text of one document; its chunks would be some 70,000. More is almost always a data dump or a bomb."""

# Modules, not functions: a parser's library is imported when the first file of its format comes.
_MODULES = {PDF: "pdf", DOCX: "docx", HTML: "html", MARKDOWN: "markdown", TEXT: "text"}
_added: dict[str, Loader] = {}


def register_loader(content_type: str, loader: Loader) -> None:
    """Add a loader for a further content type, or replace one."""
    _added[content_type] = loader


def loader_for(content_type: str) -> Loader:
    """The loader of a content type.

    Raises:
        DocumentError: ``unsupported``.
    """
    if content_type in _added:
        return _added[content_type]
    if content_type not in _MODULES:
        raise DocumentError(f"{content_type} is not a format that can be read.", reason="unsupported")
    loader: Loader = import_module(f".{_MODULES[content_type]}", __package__).load
    return loader


def load(data: bytes, name: str) -> ParsedDocument:
    """Read one file of whatever format.

    Raises:
        DocumentError: whatever stands in its way, in the words of ``DocumentReason``. A parser's own exceptions count as ``broken``.
    """
    try:
        parsed = loader_for(detect(data, name))(data, name)
    except DocumentError:
        raise
    except Exception as error:  # a parser may fail in any way on a broken file; the other files must go on
        raise DocumentError(f"The file cannot be parsed ({type(error).__name__}: {str(error)[:200].rstrip('. ')}).", reason="broken") from error
    length = sum(len(part.text) for part in parsed.parts)
    if not any(part.text.strip() for part in parsed.parts):
        raise DocumentError("The document holds no text.", reason="empty")
    if length > MAX_TEXT_CHARS:
        raise DocumentError(f"The document's text is {length:,} characters long; {MAX_TEXT_CHARS:,} are the limit.", reason="oversized")
    return parsed
