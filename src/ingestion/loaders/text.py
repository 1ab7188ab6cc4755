"""Plain text. The text stays as it is, so offsets are those of the decoded file; structure is read from blank lines."""

from __future__ import annotations

import re

from ..blocks import Block, BlockKind, ParsedDocument, Part, clean
from .decode import decode_text
from .detect import TEXT

_GAP = re.compile(r"\n(?:[^\S\n]*\n)+")
_NUMBERED = re.compile(r"(?P<number>\d{1,2}(?:\.\d{1,2}){0,4})\.?\s+\S")
_ITEM = re.compile(r"(?:[•‣▪●○*–-]|\(?\d{1,3}[.)])\s")
_HEADING_CHARS = 80


def load(data: bytes, name: str) -> ParsedDocument:
    """Read a text file.

    Raises:
        DocumentError: ``unsupported``: it holds binary data.
    """
    raw, warnings = decode_text(data)
    text = clean(raw)
    return ParsedDocument((Part(text, tuple(text_blocks(text))),), TEXT, warnings=warnings)


def text_blocks(text: str) -> list[Block]:
    """Paragraphs between blank lines; a short line alone that is all capitals, numbered or underlined is a heading."""
    blocks: list[Block] = []
    at = 0
    for match in [*_GAP.finditer(text), None]:
        end = match.start() if match else len(text)
        piece = text[at:end]
        if piece.strip():
            start = at + len(piece) - len(piece.lstrip())
            blocks.extend(_paragraph(text, start, at + len(piece.rstrip())))
        at = match.end() if match else end
    return blocks


def _paragraph(text: str, start: int, end: int) -> list[Block]:
    lines = text[start:end].split("\n")
    blocks: list[Block] = []
    first = 0
    while level := _heading_level(lines[first : first + 3]):
        if len(lines) - first <= 2:
            return [*blocks, Block("heading", start, end, level)]
        body = start + len(lines[first]) + 1 + len(lines[first + 1]) + 1
        blocks.append(Block("heading", start, body - 1, level))
        first += 2
        start = body + _indent(lines[first])
        lines[first] = lines[first].lstrip()
    rest = lines[first:]
    kind: BlockKind = "list" if _ITEM.match(rest[0].lstrip()) else "table" if all("\t" in line for line in rest) else "paragraph"
    return [*blocks, Block(kind, start, end)]


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())


def _heading_level(lines: list[str]) -> int:
    """1 to 6, or 0 for no heading. Underlines are those of Markdown's elder relatives: ``====`` above ``----``."""
    first = lines[0].strip()
    if not first or len(first) > _HEADING_CHARS:
        return 0
    if len(lines) > 1 and re.fullmatch(r"(={3,}|-{3,}|~{3,})", lines[1].strip()):
        return 1 if lines[1].strip()[0] == "=" else 2
    if len(lines) > 1 or first[-1] in ".,;:":
        return 0
    numbered = _NUMBERED.match(first)
    if numbered:
        return min(6, numbered["number"].count(".") + 1)
    return 1 if first.isupper() and len(first) > 3 else 0
