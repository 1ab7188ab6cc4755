"""The type that the lines of a PDF page are set in: a few hundred questions to PDFium for each page. Under `pdf`'s lock."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import pypdfium2.raw as pdfium_c

from .pdf import HEADING_CHARS, Style

_BOLD_WEIGHT = 600
_LINE = re.compile(r"[^\n\ufffe\x02]*(?:\n|\ufffe|\x02|$)")
_WORD = re.compile(r"\S+")


def _held(function: Any) -> Any:
    """The same function, called with the GIL held. These answer in a third of a microsecond; to let go of the GIL for
    that hands it to an embedding thread, and the reader waits to get it back."""
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    return ctypes.PYFUNCTYPE(function.restype, *function.argtypes)(address)


_char_index = _held(pdfium_c.FPDFText_GetCharIndexFromTextIndex)
_char_box = _held(pdfium_c.FPDFText_GetCharBox)
_loose_box = _held(pdfium_c.FPDFText_GetLooseCharBox)
_font_weight = _held(pdfium_c.FPDFText_GetFontWeight)
_font_info = _held(pdfium_c.FPDFText_GetFontInfo)

Handle = Any
"""PDFium's own text page; through pypdfium2's object each call takes twice the time."""


def line_styles(handle: Handle, raw: str) -> tuple[Style, ...]:
    """The type of each line of ``raw``, which has two places for a letter beyond UCS-2, as PDFium counts. A line counts as
    bold if it begins and ends so: "Overview. The plan…" is no heading."""
    styles: list[Style] = []
    for match in _LINE.finditer(raw):
        start, line = match.start(), match.group()
        if start == len(raw) and raw and raw[-1] not in "\n\ufffe\x02":
            break
        visible = line.strip("\r\n\ufffe\x02 \t\u00a0")
        if not visible:
            styles.append(Style())
            continue
        if len(visible) > HEADING_CHARS:
            styles.append(Style(_height(handle, _char_index(handle, start))))
            continue
        start += line.index(visible[0])
        first = _char_index(handle, start)
        height = _height(handle, first)
        bold = _bold(handle, first) and _bold(handle, _char_index(handle, start + len(visible) - 1)) and not _has_columns(handle, visible, start, height)
        styles.append(Style(height, bold))
    return tuple(styles)


def _has_columns(handle: Handle, line: str, start: int, height: float) -> bool:
    """Whether a line is set in columns: the bold head of a table is no heading. A gap of 1.5 letter heights is no space between words.

    Only the edges of words are looked at: where there is such a gap, PDFium puts a space.
    """
    before: float | None = None
    for word in _WORD.finditer(line):
        box = _sides(handle, start + word.start())
        if box is not None and before is not None and box[0] - before > 1.5 * height > 0:
            return True
        if word.end() - word.start() > 1:
            box = _sides(handle, start + word.end() - 1)
        before = box[1] if box is not None else before
    return False


def _sides(handle: Handle, at: int) -> tuple[float, float] | None:
    """Left and right of a letter on the page in points; None where it has no place."""
    left, right, other = ctypes.c_double(), ctypes.c_double(), ctypes.c_double()
    found = _char_box(handle, _char_index(handle, at), left, right, other, other)
    return (left.value, right.value) if found else None


def _height(handle: Handle, index: int) -> float:
    """Height of a letter's box on the page in points, to half a point: the nominal font size ignores scaling."""
    box = pdfium_c.FS_RECTF()
    if index < 0 or not _loose_box(handle, index, box):
        return 0.0
    height: float = abs(box.top - box.bottom)
    return round(height * 2) / 2


def _bold(handle: Handle, index: int) -> bool:
    if index < 0:
        return False
    if _font_weight(handle, index) >= _BOLD_WEIGHT:
        return True
    buffer = ctypes.create_string_buffer(128)
    length = _font_info(handle, index, buffer, 128, ctypes.c_int())
    name = buffer.raw[: max(0, min(length, 128) - 1)].lower()
    return b"bold" in name or b"black" in name or b"heavy" in name
