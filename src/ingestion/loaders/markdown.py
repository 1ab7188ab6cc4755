"""Markdown, by markdown-it-py (CommonMark and tables). The document's text is what a reader sees: marks and link targets are gone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

from ...core.documents import MetadataValue
from ..blocks import ParsedDocument, PartBuilder, clean, squeeze, squeeze_lines
from .decode import decode_text
from .detect import MARKDOWN

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[^\S\n]*\n(.*?)\n(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)", re.DOTALL)
# A comment without an end runs to the end, and a tag holds no `<`: else each of many open ones would be searched to the end.
_TAG = re.compile(r"<!--(?:.*?-->|.*)|</?[a-zA-Z][^<>]*>", re.DOTALL)
_MAX_NESTING = 100
"""Levels of lists (two each) and quotes. The parser's own 20 lose what follows a list ten deep; its time for unclosed brackets
grows with the limit (20,000 of them: 0.9 s at 100)."""


def load(data: bytes, name: str) -> ParsedDocument:
    """Read a Markdown file; simple front matter (YAML: scalars and lists of them) becomes metadata.

    Raises:
        DocumentError: ``unsupported``: it holds binary data.
    """
    raw, warnings = decode_text(data)
    source = raw.replace("\r\n", "\n").replace("\r", "\n")
    front = _FRONT_MATTER.match(source)
    metadata: dict[str, MetadataValue | tuple[MetadataValue, ...]] = {}
    if front:
        parsed = parse_front_matter(front[1])
        if parsed is None:
            warnings = (*warnings, "the front matter is not simple YAML; left out")
        metadata = dict(parsed or {})
        source = source[front.end() :]
    builder = PartBuilder()
    tokens = _parser().parse(source)
    if _cut_short(tokens):
        warnings = (*warnings, f"lists or quotes are nested more than {_MAX_NESTING} levels deep; what is deeper, and may follow it, is left out")
    _Reader(builder).read(tokens)
    title = metadata.pop("title", "")
    return ParsedDocument((builder.build(),), MARKDOWN, squeeze(str(title)) or builder.first_heading, metadata, warnings)


def parse_front_matter(text: str) -> Mapping[str, MetadataValue | tuple[MetadataValue, ...]] | None:
    """Scalars and lists of scalars of a YAML mapping, dates as ISO text; None if it is not a mapping. What is deeper is left out."""
    import yaml

    try:
        loaded = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if not isinstance(loaded, dict):
        return None
    values = {str(key): _metadata_value(value) for key, value in loaded.items()}
    return {key: value for key, value in values.items() if value is not None}


def _metadata_value(value: object) -> MetadataValue | tuple[MetadataValue, ...] | None:
    if isinstance(value, list):
        items = [_metadata_value(item) for item in value]
        return tuple(item for item in items if item is not None and not isinstance(item, tuple))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (bool, int, float)):
        return value
    return squeeze(value) if isinstance(value, str) else None


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable(["table", "strikethrough"])


def _cut_short(tokens: list[Token]) -> bool:
    """Whether the parser stopped at its limit: it reads nothing inside a container that stands on the last level."""
    return any(token.level >= _MAX_NESTING - 1 and token.type in ("list_item_open", "blockquote_open") for token in tokens)


class _Reader:
    """Walks the flat token list; lists and quotes need no nesting here, only where an item begins."""

    def __init__(self, builder: PartBuilder) -> None:
        self._builder = builder
        self._bullets: list[str] = []
        self._marker = ""
        self._rows: list[list[str]] = []
        self._opening: Token | None = None
        self._handlers: dict[str, Callable[[Token], None]] = {
            "inline": self._inline,
            "fence": self._code,
            "code_block": self._code,
            "html_block": self._html,
            "list_item_open": self._item,
            "table_open": self._table_open,
            "tr_open": self._row_open,
            "table_close": self._table_close,
        }

    def read(self, tokens: list[Token]) -> None:
        for index, token in enumerate(tokens):
            self._opening = tokens[index - 1] if index else None
            if token.type in ("bullet_list_open", "ordered_list_open"):
                self._bullets.append(token.type)
            elif token.type in ("bullet_list_close", "ordered_list_close"):
                self._bullets.pop()
            handler = self._handlers.get(token.type)
            if handler is not None:
                handler(token)

    def _item(self, token: Token) -> None:
        self._marker = f"{token.info}{token.markup} " if token.info else "• "

    def _table_open(self, token: Token) -> None:
        self._rows = []

    def _row_open(self, token: Token) -> None:
        self._rows.append([])

    def _table_close(self, token: Token) -> None:
        self._builder.add_table(self._rows)

    def _inline(self, token: Token) -> None:
        text = _inline_text(token)
        opening = self._opening.type if self._opening else ""
        if opening in ("th_open", "td_open"):
            self._rows[-1].append(squeeze(text))
        elif opening == "heading_open":
            self._builder.add("heading", squeeze(text), level=int(self._opening.tag[1:]) if self._opening else 1)
        elif self._bullets:
            self._builder.add("list", self._marker + squeeze_lines(text))
            self._marker = ""
        else:
            self._builder.add("paragraph", squeeze_lines(text))

    def _code(self, token: Token) -> None:
        lines = (line.rstrip() for line in clean(token.content).split("\n"))
        self._builder.add("code", "\n".join(lines))

    def _html(self, token: Token) -> None:
        self._builder.add("paragraph", squeeze_lines(_TAG.sub(" ", token.content)))


def _inline_text(token: Token) -> str:
    pieces: list[str] = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            pieces.append(child.content)
        elif child.type == "softbreak":
            pieces.append(" ")
        elif child.type == "hardbreak":
            pieces.append("\n")
        elif child.type == "image":
            pieces.append(child.content)
        elif child.type == "html_inline" and child.content.lower().startswith("<br"):
            pieces.append("\n")
    return "".join(pieces)
