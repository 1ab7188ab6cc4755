"""What a loader makes of a file: parts (pages, or the whole document), each a text and the blocks that lie in it.

A part's text is normalised once, here; every chunk and every quote is later an exact slice of it. Blocks cover all of the
text that is not white space, in order, and do not overlap; headers and footers of pages alone lie in none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..core.documents import MetadataValue

BlockKind = Literal["heading", "paragraph", "list", "table", "code"]


@dataclass(frozen=True, slots=True)
class Block:
    """One piece of structure: ``text[start:end]`` of its part.

    Attributes:
        level: depth of a heading, from 1.
        header: the header row of a table, for those who read a later row alone; empty where the table has none.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    header: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A page (``page`` from 1), or the whole document where the format has no pages (``page`` None)."""

    text: str
    blocks: tuple[Block, ...]
    page: int | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """What a loader returns. ``title`` is empty where the document names none that makes sense."""

    parts: tuple[Part, ...]
    content_type: str
    title: str = ""
    metadata: Mapping[str, MetadataValue | tuple[MetadataValue, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


_BREAKS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# Controls, lone surrogates (no UTF-8), byte order marks and zero-width marks, noncharacters.
_UNWANTED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u200b\u2060\ufeff\ufdd0-\ufdef\ufff9-\ufffc\ufffe\uffff\ud800-\udfff]")


def clean(text: str) -> str:
    """The one normalisation of all formats: line breaks become ``\\n``, what cannot be printed or stored goes.

    Letters stay as they are (no ligatures resolved, no hyphenation undone): quotes must stand verbatim in the source.
    """
    return _UNWANTED.sub("", _BREAKS.sub("\n", text))


def squeeze(text: str) -> str:
    """White space runs become one space, as a browser shows them; soft hyphens, which it hides, go."""
    return " ".join(clean(text).replace("\u00ad", "").split())


def squeeze_lines(text: str) -> str:
    """As `squeeze`, line by line; blank lines go."""
    return "\n".join(line for line in (squeeze(raw) for raw in clean(text).split("\n")) if line)


class PartBuilder:
    """Puts a part together block by block, keeping the offsets. Blocks are a blank line apart, list items a line."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0

    def add(self, kind: BlockKind, text: str, *, level: int = 0, header: str = "") -> None:
        """Append a block; a text of nothing but white space adds nothing."""
        text = text.strip()
        if not text:
            return
        if self._blocks:
            gap = "\n" if kind == "list" and self._blocks[-1].kind == "list" else "\n\n"
            self._pieces.append(gap)
            self._length += len(gap)
        self._pieces.append(text)
        self._blocks.append(Block(kind, self._length, self._length + len(text), level, header))
        self._length += len(text)

    def add_table(self, rows: list[list[str]], *, has_header: bool = True) -> None:
        """Append a table: a line a row, cells parted by tabs, so that a reader who ignores white space finds it verbatim."""
        lines = ["\t".join(squeeze(cell) for cell in row).strip() for row in rows]
        lines = [line for line in lines if line]
        header = " | ".join(cell for cell in lines[0].split("\t") if cell) if has_header and len(lines) > 1 else ""
        self.add("table", "\n".join(lines), header=header)

    def build(self, page: int | None = None) -> Part:
        return Part("".join(self._pieces), tuple(self._blocks), page)

    @property
    def first_heading(self) -> str:
        """The text of the first heading; empty if there is none."""
        text = "".join(self._pieces)
        return next((squeeze(text[b.start : b.end]) for b in self._blocks if b.kind == "heading"), "")
