"""Text as a pattern sees it: digits, spaces, dashes and letters of other shapes as ASCII's, invisible characters left out, places remembered."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_DASHES = frozenset("‐‑‒–—―−﹘﹣")
_INVISIBLE = frozenset({"\u034f", "\u115f", "\u1160", "\u3164", "\uffa0", *(chr(code) for code in range(0xFE00, 0xFE10))})


_JOINERS = "\u200c\u200d"
"""They change how their neighbours look: words of Persian, and emoji of several parts."""


def is_blank(text: str) -> bool:
    """Whether nobody would see anything of it."""
    return all(char.isspace() or char == "\u2800" or char in _INVISIBLE or unicodedata.category(char) in ("Cc", "Cf", "Cs") for char in text)


def one_line(text: str) -> str:
    """A text as lists show it: on one line, without what steers a terminal or turns the direction of what follows; empty where nothing would be seen."""
    kept = (" " if unicodedata.category(char) == "Cc" else char for char in text if char in _JOINERS or unicodedata.category(char) not in ("Cf", "Cs"))
    line = " ".join("".join(kept).split())
    return "" if is_blank(line) else line


@lru_cache(maxsize=4096)
def _as_ascii(code: int) -> int | None:
    """What one character is compared as; None where nobody sees it."""
    char = chr(code)
    if char in _DASHES:
        return ord("-")
    if char in _INVISIBLE or unicodedata.category(char) == "Cf":
        return None
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return ord("0") + int(digit)
    if char.isspace() and char not in "\n\r\u2028\u2029\x85":
        return ord(" ")
    same = unicodedata.normalize("NFKC", char)
    return ord(same) if len(same) == 1 else code


class _Table(dict[int, int | None]):
    def __missing__(self, code: int) -> int | None:
        return code if code < 128 else _as_ascii(code)


_TABLE = _Table()


def as_seen(text: str) -> tuple[str, list[int] | None]:
    """The text to look in, and for each of its characters (and its end) the place in ``text``; None where places are the same."""
    if text.isascii():
        return text, None
    seen = text.translate(_TABLE)
    if len(seen) == len(text):
        return seen, None
    return seen, [*(place for place, char in enumerate(text) if _TABLE[ord(char)] is not None), len(text)]
