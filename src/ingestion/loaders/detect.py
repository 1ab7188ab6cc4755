"""Which format a file is: by its first bytes, then by its name. Pure."""

from __future__ import annotations

import re

from ...errors import DocumentError

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
HTML = "text/html"
MARKDOWN = "text/markdown"
TEXT = "text/plain"

EXTENSIONS = {
    ".pdf": PDF,
    ".docx": DOCX,
    ".docm": DOCX,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".mdown": MARKDOWN,
    ".txt": TEXT,
    ".text": TEXT,
}
"""What a walk through a folder picks up; case does not matter."""

_SOMETHING = re.compile(rb"[^\x00 \t\r\n\xef\xbb\xbf\xff\xfe]")
"""Any byte but white space and byte order marks. `bytes.strip` would copy the file."""
# Possessive: a comment ends at its first `-->`. Tried again, 40 comments before plain text took 2^40 steps, with the GIL held.
_HTML_START = re.compile(rb"\s*+(?:<\?xml[^>]*+>\s*+)?+(?:(?><!--.*?-->)\s*+)*+<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_BINARY = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "a database"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def extension(name: str) -> str:
    """The lower-case extension with its dot; empty if there is none."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "." + base.rsplit(".", 1)[1].lower() if "." in base[1:] else ""


def detect(data: bytes, name: str) -> str:
    """The content type of a file.

    Raises:
        DocumentError: ``empty``, ``encrypted``, ``broken`` or ``unsupported``, with what it is instead.
    """
    if not _SOMETHING.search(data):
        raise DocumentError("The file is empty.", reason="empty")
    by_name = EXTENSIONS.get(extension(name))
    by_content = _by_content(data, by_name)
    if by_content:
        return by_content
    if by_name in (PDF, DOCX):
        kind = "PDF" if by_name == PDF else "DOCX"
        raise DocumentError(f"The file is named {extension(name)} but does not begin like a {kind} file.", reason="broken")
    if by_name is None:
        raise DocumentError(f"{extension(name) or 'A file without extension'} is not a format that can be read.", reason="unsupported", hint=_SUPPORTED)
    if _HTML_START.match(data[:4096]) and by_name == TEXT:
        return HTML
    return by_name


_SUPPORTED = "PDF, DOCX, HTML, Markdown and plain text can be read."


def _by_content(data: bytes, by_name: str | None) -> str | None:
    """What the bytes alone prove; None for text, whose kind its name tells."""
    if b"%PDF-" in data[:1024]:
        return PDF
    if data.startswith(b"PK\x03\x04"):
        return _zip(data, by_name)
    if data.startswith(_OLE):
        _refuse_ole(data)
    for magic, kind in _BINARY:
        if data.startswith(magic):
            raise DocumentError(f"The file is {kind}.", reason="unsupported", hint=_SUPPORTED)
    if by_name is None and _HTML_START.match(data[:4096]):
        return HTML
    return None


def _zip(data: bytes, by_name: str | None) -> str:
    """Names of members stand uncompressed in a zip file, in its local headers and in the directory at its end."""
    if by_name == DOCX or b"word/document.xml" in data:
        return DOCX
    raise DocumentError("The file is a zip archive, not a document that can be read.", reason="unsupported", hint=_SUPPORTED)


def _refuse_ole(data: bytes) -> None:
    if "EncryptedPackage".encode("utf-16-le") in data:
        raise DocumentError("The document is encrypted.", reason="encrypted", hint="Remove its password and ingest it again.")
    raise DocumentError("The file is in the binary Office format of before 2007.", reason="unsupported", hint="Save it as .docx.")
