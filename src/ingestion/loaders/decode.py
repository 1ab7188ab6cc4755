"""Bytes to text: byte order mark, declared encoding, UTF-8, else a guess that is reported. Pure."""

from __future__ import annotations

import codecs

from ...errors import DocumentError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAX_CONTROLS = 0.02
"""Share of control characters above which a file is not text. Text has next to none; random bytes have 10%."""


def decode_text(data: bytes) -> tuple[str, tuple[str, ...]]:
    """The text, and warnings about how it was decoded.

    Raises:
        DocumentError: ``unsupported``: the bytes are not text.
    """
    text, warnings = _decode(data)
    sample = text[:100_000]
    controls = sum(1 for char in sample if char < " " and char not in "\t\n\r\x0b\x0c\x1a\x1b")
    if "\x00" in sample or controls > len(sample) * _MAX_CONTROLS:
        raise DocumentError("The file is not text: it holds binary data.", reason="unsupported")
    return text, warnings


def _decode(data: bytes) -> tuple[str, tuple[str, ...]]:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, "replace"), ()
    guess = _utf16_without_bom(data)
    if guess:
        return data.decode(guess, "replace"), (f"no byte order mark; read as {guess}",)
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 (byte {error.start}); read as Windows-1252"
    try:
        return data.decode("cp1252"), (reason,)
    except UnicodeDecodeError:
        return data.decode("latin-1"), (reason.replace("Windows-1252", "Latin-1"),)


def _utf16_without_bom(data: bytes) -> str | None:
    """Western text in UTF-16 has a zero in every other byte."""
    sample = data[:4096]
    half = len(sample) // 2
    if half < 2:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > half * 0.6 and even < half * 0.1:
        return "utf-16-le"
    return "utf-16-be" if even > half * 0.6 and odd < half * 0.1 else None
