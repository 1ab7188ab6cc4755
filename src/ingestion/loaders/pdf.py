"""PDF, by pypdfium2: a part for each page, its text as PDFium gives it, with its hard line breaks.

PDFium is not thread-safe, so one lock guards every call. It runs inside this process: a file that crashes it takes the
process along. What was acknowledged before stays whole (each document is one transaction), but such a file has to be moved
away by hand. Pages and characters are bounded (`MAX_PAGES`, the registry's `MAX_TEXT_CHARS`), bytes by the configuration.

Headings are not marked in most PDFs. They are inferred from type alone: short lines, larger or bolder than the body.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from ...core.documents import MetadataValue
from ...errors import DocumentError
from ...util.sentences import is_table_row, starts_item
from ..blocks import Block, BlockKind, ParsedDocument, Part, clean, squeeze
from ..titles import sensible, with_stem
from .detect import PDF

if TYPE_CHECKING:
    Pdfium = Any  # pypdfium2 ships no types

MAX_PAGES = 20_000
_LOCK = threading.Lock()
_PASSWORD_ERRORS = frozenset({4, 5})
"""FPDF_ERR_PASSWORD and FPDF_ERR_SECURITY (fpdfview.h)."""
HEADING_CHARS = 120
_LARGER = 1.12
"""A heading's type is at least this much larger than the body's, or bold."""
_AMOUNT = re.compile(r"[$€£]\s?\(?\d|\d,\d{3}|\d%")
"""Totals in tables are bold, too; headings name no amounts."""
_BEYOND_UCS2 = re.compile("[\U00010000-\U0010ffff]")
_NO_AUTHOR = frozenset({"", "python-docx", "anonymous", "unknown", "user", "admin"})
_RUNNING_SHARE = 0.25
"""A heading-like line that stands on more than this share of the pages is a running header."""
_EDGE_LINES = 4
"""Lines at either end of a page that may be its header or footer."""
_PAGE_NUMBER = re.compile(r"\d{1,5}")


@dataclass(frozen=True, slots=True)
class Style:
    """Type of a line: height of its letters in points, and whether it is bold. Zero height: unknown."""

    height: float = 0.0
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was read: its text and the type of each of its lines."""

    text: str
    styles: tuple[Style, ...]
    has_pictures: bool = False


def load(data: bytes, name: str) -> ParsedDocument:
    """Read a PDF.

    Raises:
        DocumentError: ``broken``, ``encrypted``, ``no-text-layer``, ``empty``, ``oversized`` (pages).
    """
    with _LOCK:
        pages, info = _read(data)
    empty = [number for number, page in enumerate(pages, 1) if not page.text.strip()]
    scanned = [number for number in empty if pages[number - 1].has_pictures]
    if len(empty) == len(pages):
        if not scanned:
            raise DocumentError("The document's pages are blank.", reason="empty")
        raise DocumentError("No page has a text layer: the document is a scan.", reason="no-text-layer", hint="Run it through OCR and ingest the result.")
    warnings = (f"no text layer on {len(scanned)} of {len(pages)} pages: {_numbers(scanned)}",) if scanned else ()
    metadata: dict[str, MetadataValue | tuple[MetadataValue, ...]] = {"pages": len(pages)}
    author = squeeze(info.get("Author", ""))
    if author.lower() not in _NO_AUTHOR:
        metadata["author"] = author
    levels = heading_levels(pages)
    running = running_lines(pages)
    edges = page_edges(pages)
    parts = tuple(Part(page.text, tuple(page_blocks(page, levels, running, edges[number - 1])), number) for number, page in enumerate(pages, 1))
    return ParsedDocument(parts, PDF, with_stem(sensible(squeeze(info.get("Title", ""))), name), metadata, warnings)


def _numbers(pages: Sequence[int]) -> str:
    return ", ".join(map(str, pages[:20])) + (" …" if len(pages) > 20 else "")


# ---- reading: all under the lock ----


def _read(data: bytes) -> tuple[list[Page], dict[str, str]]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) in _PASSWORD_ERRORS:
            raise DocumentError("The document is encrypted.", reason="encrypted", hint="Remove its password and ingest it again.") from error
        raise DocumentError(f"PDFium cannot open the document: {str(error).rstrip('.')}.", reason="broken") from error
    try:
        count = len(document)
        if count == 0:
            raise DocumentError("The document has no pages.", reason="broken")
        if count > MAX_PAGES:
            raise DocumentError(f"The document has {count:,} pages; {MAX_PAGES:,} are the limit.", reason="oversized")
        return [_read_page(document, number) for number in range(count)], document.get_metadata_dict(skip_empty=True)
    finally:
        document.close()


def _read_page(document: Pdfium, number: int) -> Page:
    import pypdfium2

    from .pdf_type import line_styles

    try:
        page = document[number]
    except pypdfium2.PdfiumError as error:
        raise DocumentError(f"Page {number + 1} cannot be read: {str(error).rstrip('.')}.", reason="broken") from error
    try:
        textpage = page.get_textpage()
        try:
            raw = textpage.get_text_range()
            if len(raw) != textpage.count_chars():
                # The plain call is limited to UCS-2: letters beyond it count twice, and may come out wrong.
                whole = textpage.get_text_bounded()
                raw = whole if _BEYOND_UCS2.search(whole) else raw
            styles = line_styles(textpage.raw, _BEYOND_UCS2.sub("..", raw))
        finally:
            textpage.close()
        pictures = not raw.strip() and any(True for _ in page.get_objects(max_depth=3))
    finally:
        page.close()
    text = page_text(raw)
    return Page(text, styles if len(styles) == text.count("\n") + 1 else (), pictures)


def page_text(raw: str) -> str:
    """PDFium's text as it is on the page: a hyphen at the end of a line, which PDFium turns into U+FFFE or U+0002 and
    joins, becomes hyphen and line break again; a soft hyphen that was drawn is a hyphen."""
    text = raw.replace("\r\n", "\n").replace("\ufffe", "-\n").replace("\x02", "-\n").replace("\u00ad", "-")
    return clean(text)


# ---- structure: pure ----


def heading_levels(pages: Sequence[Page]) -> dict[Style, int]:
    """The styles that headings of this document are set in, to their level: larger type first, bold before plain.

    Empty where the document is set in one style throughout or its styles are unknown. A style of one page alone, such as
    a cover's, is no heading of a longer document: its text would stand above every later section.
    """
    weights: Counter[Style] = Counter()
    places: dict[Style, set[int]] = {}
    for number, page in enumerate(pages):
        for line, style in zip(page.text.split("\n"), page.styles, strict=False):
            weights[style] += len(line.strip())
            if style.height and _could_be_heading(line):
                places.setdefault(style, set()).add(number)
    weights.pop(Style(), None)
    total = weights.total()
    if not total:
        return {}
    heights: Counter[float] = Counter()
    for style, weight in weights.items():
        heights[style.height] += weight
    body = heights.most_common(1)[0][0]
    fewest = 2 if len(pages) > 3 else 1
    found = [style for style, where in places.items() if len(where) >= fewest and weights[style] < total * 0.3 and _stands_out(style, body)]
    ranked = sorted(found, key=lambda style: (-style.height, not style.bold))
    return {style: min(rank, 6) for rank, style in enumerate(ranked, 1)}


def _stands_out(style: Style, body: float) -> bool:
    return style.height >= body * _LARGER or (style.bold and style.height >= body * 0.95)


def _could_be_heading(line: str) -> bool:
    """Short, with letters, without the end of a sentence or half a bracket, and no row of figures."""
    text = line.strip()
    if not 3 <= len(text) <= HEADING_CHARS or text[-1] in ".,;" or text[0] == "(" or text.count("(") != text.count(")"):
        return False
    letters = sum(map(str.isalpha, text))
    return letters * 2 >= len(text.replace(" ", "")) and not is_table_row(text) and not _AMOUNT.search(text)


def running_lines(pages: Sequence[Page]) -> frozenset[str]:
    """Lines that stand on so many pages that they are headers or footers of the page."""
    seen: Counter[str] = Counter()
    for page in pages:
        seen.update({" ".join(line.split()) for line in page.text.split("\n") if line.strip()})
    limit = max(3, len(pages) * _RUNNING_SHARE)
    return frozenset(line for line, count in seen.items() if count >= limit)


def page_edges(pages: Sequence[Page]) -> list[frozenset[int]]:
    """For each page, the numbers of its lines that are its header or footer: lines at its edge that many other pages have there, too.

    A page number in a line counts as the same where it grows with the pages; other figures must be equal, so rows of tables stay.
    """
    edges = [_edges(page, number) for number, page in enumerate(pages)]
    seen = Counter(key for edge in edges for key in {key for lines in edge for _, keys in lines for key in keys})
    common = {key for key, count in seen.items() if count >= max(3, len(pages) * _RUNNING_SHARE)}
    # Only from the edge inwards: what stands between the page's own lines belongs to the page.
    found = [frozenset(line for lines in edge for line, _ in takewhile(lambda item: not common.isdisjoint(item[1]), lines)) for edge in edges]
    # Pages that all say the same few lines are no document of footers alone.
    says_more = any(line.strip() and number not in lines for page, lines in zip(pages, found, strict=True) for number, line in enumerate(page.text.split("\n")))
    return found if says_more else [frozenset()] * len(pages)


_Edge = list[tuple[int, set[str]]]


def _edges(page: Page, number: int) -> tuple[_Edge, _Edge]:
    """The first lines of a page and its last ones, the outermost first: their number and what they are compared by."""
    lines = page.text.split("\n")

    def first(places: Iterable[int]) -> _Edge:
        return [(place, _edge_keys(" ".join(lines[place].split()), number)) for place in islice((at for at in places if lines[at].strip()), _EDGE_LINES)]

    return first(range(len(lines))), first(reversed(range(len(lines))))


def _edge_keys(line: str, page: int) -> set[str]:
    """The line itself, and with each of its numbers written as its distance to the page's."""
    return {line} | {f"{line[: match.start()]}\0{int(match.group()) - page}\0{line[match.end() :]}" for match in _PAGE_NUMBER.finditer(line)}


@dataclass(slots=True)
class _Run:
    """Lines that will be one block."""

    kind: BlockKind
    start: int
    end: int
    style: Style | None = None
    lines: int = 1


def page_blocks(page: Page, levels: dict[Style, int], running: frozenset[str] = frozenset(), left_out: frozenset[int] = frozenset()) -> list[Block]:
    """Headings by their type, list items by their bullets, tables as runs of rows of figures, paragraphs by their short last line.

    Args:
        running: lines that are no headings wherever they stand.
        left_out: numbers of lines that no block covers, so that no passage holds them; offsets stay those of the page's text.
    """
    lines = page.text.split("\n")
    styles = page.styles or (Style(),) * len(lines)
    widest = max(map(len, lines), default=0)
    runs: list[_Run] = []
    at = 0
    previous = ""
    for number, (line, style) in enumerate(zip(lines, styles, strict=True)):
        start, end = at + len(line) - len(line.lstrip()), at + len(line.rstrip())
        at += len(line) + 1
        if start >= end or number in left_out:
            previous = ""
            continue
        is_heading = style in levels and _could_be_heading(line) and " ".join(line.split()) not in running
        kind: BlockKind = "heading" if is_heading else "table" if is_table_row(line) else "list" if starts_item(line) else "paragraph"
        run = runs[-1] if runs else None
        if run is not None and _continues(run, kind, style, line, previous, widest):
            run.end, run.lines = end, run.lines + 1
        else:
            runs.append(_Run(kind, start, end, style))
        previous = line.strip()
    return [Block(run.kind, run.start, run.end, levels.get(run.style or Style(), 0) if run.kind == "heading" else 0) for run in _joined_tables(runs, page.text)]


def _continues(run: _Run, kind: BlockKind, style: Style, line: str, previous: str, widest: int) -> bool:
    """Whether a line belongs to the block before it."""
    if "heading" in (run.kind, kind):
        return run.kind == kind and run.style == style and run.lines < 3 and not starts_item(line)
    if "table" in (run.kind, kind):
        return run.kind == kind
    if kind == "list" or not previous:
        return False
    return not (previous[-1] in ".!?:" and len(previous) < widest * 0.62)


def _joined_tables(runs: list[_Run], text: str) -> list[_Run]:
    """Tables parted only by a short label line ("Operating expenses:") are one table."""
    joined: list[_Run] = []
    for run in runs:
        if len(joined) >= 2 and run.kind == "table" and joined[-2].kind == "table" and _is_label(joined[-1], text):
            joined.pop()
            joined[-1].end = run.end
        elif joined and run.kind == joined[-1].kind == "table":
            joined[-1].end = run.end
        else:
            joined.append(run)
    return joined


def _is_label(run: _Run, text: str) -> bool:
    return run.kind == "paragraph" and run.lines == 1 and run.end - run.start <= 60 and text[run.end - 1] != "."
