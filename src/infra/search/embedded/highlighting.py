"""Where the words of a question stand in a text. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

from ..text import UNSPACED, joined, segment_document
from .analysis import analyzer


def places(text: str, terms: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """(start, end) of each word that one of the terms of a question found, in order; neighbours in unspaced scripts are one."""
    wanted = frozenset(terms)
    return joined(_found(text, wanted)) if wanted else ()


def _found(text: str, wanted: frozenset[str]) -> Iterator[tuple[int, int]]:
    known: dict[str, bool] = {}
    for match in _words().finditer(text):
        word, start = match.group(), match.start()
        pieces = [(0, len(word))] if not UNSPACED.match(word) else [(at, at + size) for size in (1, 2) for at in range(len(word) - size + 1)]
        for first, last in pieces:
            piece = word[first:last]
            if piece not in known:
                known[piece] = not wanted.isdisjoint(analyzer().analyze(segment_document(piece)))
            if known[piece]:
                yield start + first, start + last


@lru_cache(maxsize=1)
def _words() -> re.Pattern[str]:
    """Runs of an unspaced script, or letters and digits with the marks that belong to them."""
    marks = "".join(chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)).startswith("M"))
    return re.compile(f"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})[^\\W_][{re.escape(marks)}]*)+")
