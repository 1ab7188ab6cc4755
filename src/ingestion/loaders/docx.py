"""DOCX: python-docx opens the package and knows the styles; the body is read from its XML, because python-docx's own
paragraph text leaves out tracked insertions, content controls and text boxes.

Deleted text, field codes, headers, footers and comments are not part of the text.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...core.documents import MetadataValue
from ...errors import DocumentError
from ..blocks import ParsedDocument, Part, PartBuilder, squeeze, squeeze_lines
from ..titles import sensible
from .detect import DOCX

if TYPE_CHECKING:
    Element = Any  # lxml ships no types

MAX_UNPACKED_BYTES = 400_000_000
"""Of all members together. The largest real file seen (a 10-K with pictures) unpacks to 12 MB."""
MAX_XML_BYTES = 150_000_000
"""Of the XML members together: what lxml turns into a tree, at about ten times the size."""
_ENCRYPTED_FLAG = 0x1
_HEADING_CHARS = 100
_BOLD_LEVEL = 9
"""Below every heading that has a style (Word knows nine levels)."""

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MC_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_WRAPPERS = frozenset(_W + name for name in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag"))
# Not text of the paragraph: deletions, field codes, fallbacks that repeat a drawing, and text boxes (read as blocks of their own).
_SKIPPED = frozenset(_W + name for name in ("del", "moveFrom", "instrText", "pPr", "rPr", "txbxContent", "tbl")) | {_MC_FALLBACK}
_CHARACTERS = {_W + "tab": "\t", _W + "br": "\n", _W + "cr": "\n", _W + "noBreakHyphen": "-", _W + "ptab": "\t"}


def load(data: bytes, name: str) -> ParsedDocument:
    """Read a Word document.

    Raises:
        DocumentError: ``broken``, ``encrypted``, ``oversized`` (unpacked), ``empty``.
    """
    _check_package(data)
    import docx

    document = docx.Document(io.BytesIO(data))
    builder = PartBuilder()
    reader = _Reader(document, builder)
    for element in _blocks(document.element.body):
        reader.read(element)
    core = document.core_properties
    part = builder.build()
    if not part.text:
        raise DocumentError("The document holds no text.", reason="empty")
    author = squeeze(core.author or "")
    metadata: dict[str, MetadataValue | tuple[MetadataValue, ...]] = {"author": author} if author and author != "python-docx" else {}  # its templates' default
    title = sensible(squeeze(core.title or "")) or reader.title or _opening_heading(part)
    return ParsedDocument((part,), DOCX, title, metadata)


def _opening_heading(part: Part) -> str:
    """The heading that the document begins with; a later one ("PART I") names a part of it, not the whole."""
    first = part.blocks[0]
    return part.text[first.start : first.end] if first.kind == "heading" and first.level < _BOLD_LEVEL else ""


def _check_package(data: bytes) -> None:
    """Size and encryption, by the directory of the archive; nothing is unpacked before this."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError) as error:
        raise DocumentError(f"The file is not a whole DOCX package ({error}).", reason="broken") from error
    if any(member.flag_bits & _ENCRYPTED_FLAG for member in members):
        raise DocumentError("The document is encrypted.", reason="encrypted", hint="Remove its password and ingest it again.")
    if not any(member.filename == "word/document.xml" or member.filename.endswith("document2.xml") for member in members):
        raise DocumentError("The file is a zip archive without a Word document in it.", reason="broken")
    total = sum(member.file_size for member in members)
    xml = sum(member.file_size for member in members if member.filename.lower().endswith((".xml", ".rels")))
    if total > MAX_UNPACKED_BYTES or xml > MAX_XML_BYTES:
        raise DocumentError(
            f"The document unpacks to {total:,} bytes ({xml:,} of XML); the limits are {MAX_UNPACKED_BYTES:,} and {MAX_XML_BYTES:,}.", reason="oversized"
        )


def _blocks(body: Element) -> Iterator[Element]:
    """Paragraphs and tables in document order, through content controls and tracked insertions."""
    stack = [iter(body)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif element.tag in (_W + "p", _W + "tbl"):
            yield element
        elif element.tag in _WRAPPERS:
            stack.append(iter(element))


def _walk(root: Element) -> Iterator[Element]:
    """The elements of a paragraph that are its text, depth first."""
    stack = [iter(root)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif element.tag not in _SKIPPED:
            yield element
            stack.append(iter(element))


def _paragraph_text(paragraph: Element) -> str:
    pieces: list[str] = []
    for element in _walk(paragraph):
        if element.tag == _W + "t":
            pieces.append(element.text or "")
        elif element.tag in _CHARACTERS:
            pieces.append(_CHARACTERS[element.tag])
    return "".join(pieces)


class _Reader:
    def __init__(self, document: Any, builder: PartBuilder) -> None:
        self._builder = builder
        self.title = ""
        styles = {style.style_id: style for style in document.styles if style.type == 1}  # 1: WD_STYLE_TYPE.PARAGRAPH
        self._style_of = lru_cache(maxsize=None)(lambda style_id: _style_kind(styles.get(style_id)))

    def read(self, element: Element) -> None:
        if element.tag == _W + "tbl":
            self._table(element)
        else:
            self._paragraph(element)
            for box in element.iter(_W + "txbxContent"):
                if not any(parent.tag == _MC_FALLBACK for parent in box.iterancestors()):
                    for inner in _blocks(box):
                        self.read(inner)

    def _paragraph(self, paragraph: Element) -> None:
        text = squeeze_lines(_paragraph_text(paragraph))
        if not text:
            return
        kind, level = self._kind(paragraph, text)
        if kind == "heading":
            text = squeeze(text)
            if level == 0:
                self.title = self.title or text
            self._builder.add("heading", text, level=max(level, 1))
        elif kind == "list":
            self._builder.add("list", text if text.startswith("•") else f"• {text}")
        else:
            self._builder.add("paragraph", text)

    def _kind(self, paragraph: Element, text: str) -> tuple[str, int]:
        """Heading by outline level or style, list item by numbering, else text. A title is a heading of level 0."""
        properties = paragraph.find(_W + "pPr")
        if properties is None:
            properties = paragraph
        outline = properties.find(_W + "outlineLvl")
        if outline is not None and (outline.get(_W + "val") or "9") < "9":
            return "heading", int(outline.get(_W + "val")) + 1
        style = properties.find(_W + "pStyle")
        kind, level = self._style_of(style.get(_W + "val")) if style is not None else ("paragraph", 0)
        if kind == "paragraph" and properties.find(_W + "numPr") is not None:
            return "list", 0
        if kind == "paragraph" and len(text) <= _HEADING_CHARS and text[-1] not in ".,;:" and _all_bold(paragraph):
            return "heading", _BOLD_LEVEL
        return kind, level

    def _table(self, table: Element) -> None:
        """A table of one column is a frame around paragraphs; any other is rows of cells."""
        rows = [list(_children(row, "tc")) for row in _children(table, "tr")]
        if max((len(row) for row in rows), default=0) < 2:
            for row in rows:
                for cell in row:
                    for inner in _blocks(cell):
                        self.read(inner)
            return
        self._builder.add_table([[_cell_text(cell) for cell in row] for row in rows])


def _children(parent: Element, name: str) -> Iterator[Element]:
    """Rows of a table or cells of a row, through content controls."""
    for element in parent:
        if element.tag == _W + name:
            yield element
        elif element.tag in _WRAPPERS:
            yield from _children(element, name)


def _cell_text(cell: Element) -> str:
    """All paragraphs of a cell, those of tables inside it too."""
    return " ".join(_paragraph_text(paragraph) for paragraph in cell.iter(_W + "p"))


def _all_bold(paragraph: Element) -> bool:
    """Every run with text is set in bold by hand: how people who know no styles make headings."""
    runs = [run for run in paragraph.iter(_W + "r") if any((found.text or "").strip() for found in run.iter(_W + "t"))]
    marks = [run.find(f"{_W}rPr/{_W}b") for run in runs]
    return bool(marks) and all(mark is not None and mark.get(_W + "val") not in ("0", "false") for mark in marks)


def _style_kind(style: Any) -> tuple[str, int]:
    """What a paragraph style makes of a paragraph, by its name or that of a style it is based on."""
    for _ in range(10):
        if style is None:
            break
        name = (style.name or "").lower()
        if name == "title":
            return "heading", 0
        if name.startswith("heading ") and name[8:].strip().isdigit():
            return "heading", min(int(name[8:]), 9)
        if name.startswith(("list bullet", "list number", "list paragraph")):
            return ("list", 0) if not name.startswith("list paragraph") else ("paragraph", 0)
        style = style.base_style
    return "paragraph", 0
