"""Filterable values as terms of the one keyword field `facets`, so that no metadata ever grows the mapping. Pure.

A term is ``field 0x1f kind value``; the bare ``field 0x1f`` says that the field is there. Kinds sort as SQLite sorts
them, and values within a kind sort as they compare, so that a range of terms is a range of values. (Texts that agree in
their first 8,000 bytes are equal only if they are, and sort among each other by a hash.)
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator
from typing import Any, Final

from ....core.documents import Chunk, Document
from .. import comparing
from ..comparing import BOOLEAN, NUMBER, TEXT, facet_value

_SEPARATOR: Final = "\x1f"
_KINDS: Final = {BOOLEAN: "b", NUMBER: "n", TEXT: "t"}
_NOT_UNICODE: Final = "u"
"""A text with lone surrogates, which no server takes; after every other text, as bytes are in SQLite."""
_MAX_FIELD_BYTES: Final = 512
_MAX_TEXT_BYTES: Final = 8_000
"""Lucene's longest term has 32,766."""
_SIGN: Final = 1 << 63


def document_terms(document: Document) -> list[str]:
    """All that filters can ask about a document, on its record and on each of its chunks."""
    return list(_terms(comparing.facets(document)))


def own_terms(chunk: Chunk) -> list[str]:
    """What is a chunk's alone: its page and section. A chunk carries the terms of its document, too."""
    own = [("page", *facet_value(chunk.page))] if chunk.page is not None else []
    return list(_terms(iter([*own, *([("section", TEXT, chunk.section)] if chunk.section else [])])))


def _terms(facets: Iterator[tuple[str, int, Any]]) -> Iterator[str]:
    known = set()
    for field, kind, value in facets:
        if field not in known:
            known.add(field)
            yield exists_term(field)
        if kind in _KINDS:
            yield value_term(field, kind, value)


def exists_term(field: str) -> str:
    """On everything that has a value of the field."""
    data = field.encode("utf-8", "surrogatepass")
    if len(data) > _MAX_FIELD_BYTES or _SEPARATOR in field or field.startswith("#") or not _is_unicode(field):
        return f"#{hashlib.blake2b(data, digest_size=16).hexdigest()}{_SEPARATOR}"
    return f"{field}{_SEPARATOR}"


def value_term(field: str, kind: int, value: Any) -> str:
    """On everything whose field has this value (`comparing.Comparable`)."""
    return f"{exists_term(field)}{_kind(kind, value)}{_spelling(kind, value)}"


def kind_limits(field: str, kind: int) -> tuple[str, str]:
    """All values of a kind lie from the first of these terms up to, and without, the second."""
    last = _NOT_UNICODE if kind == TEXT else _KINDS[kind]
    return f"{exists_term(field)}{_KINDS[kind]}", f"{exists_term(field)}{chr(ord(last) + 1)}"


def _kind(kind: int, value: Any) -> str:
    return _NOT_UNICODE if kind == TEXT and not _is_unicode(value) else _KINDS[kind]


def _spelling(kind: int, value: Any) -> str:
    if kind == BOOLEAN:
        return str(value)
    return _number(value) if kind == NUMBER else _text(value)


def _number(value: int | float) -> str:
    """Hexadecimal digits that sort as 64-bit integers and floats do, mixed and exactly.

    First the nearest float, its bits turned so that they sort; then what an integer has beyond it (up to 512 either way).
    """
    near = float(value) + 0.0  # no negative zero
    (bits,) = struct.unpack(">Q", struct.pack(">d", near))
    turned = bits ^ (2 * _SIGN - 1) if bits & _SIGN else bits | _SIGN
    rest = value - int(near) if isinstance(value, int) and math.isfinite(near) else 0
    return f"{turned:016x}{rest + 0x8000:04x}"


def _text(value: str) -> str:
    data = value.encode("utf-8", "surrogatepass")
    if not _is_unicode(value):
        head = data[: _MAX_TEXT_BYTES // 2].hex()
        return head if len(data) <= _MAX_TEXT_BYTES // 2 else f"{head}{_digest(data)}"
    # Longer than any text that stands for itself, so it equals none of them.
    return value if len(data) <= _MAX_TEXT_BYTES else f"{data[:_MAX_TEXT_BYTES].decode('utf-8', 'ignore')}{_digest(data)}"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
