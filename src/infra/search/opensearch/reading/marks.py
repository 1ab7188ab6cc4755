"""Marks that the server puts around found words, and their places in the text. Pure."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from ...text import joined

_PRIVATE = "\ue000"
_TRIMMED = "".join(map(chr, range(0x21)))
"""What the server's highlighter takes off both ends of a text."""


@dataclass(frozen=True, slots=True)
class Marks:
    """A pair that no text holds."""

    pair: tuple[str, str]

    @classmethod
    def new(cls) -> Marks:
        nonce = secrets.token_hex(6)
        return cls((f"{_PRIVATE}{nonce}<", f"{_PRIVATE}{nonce}>"))

    def places(self, marked: str, text: str) -> tuple[tuple[int, int], ...]:
        """(start, end) of each marked run of ``text``; empty where the server marked another text."""
        begin, end = self.pair
        places, plain, length = [], [], 0
        for part in re.split(f"({re.escape(begin)}.*?{re.escape(end)})", marked, flags=re.DOTALL):
            inside = part.startswith(begin)
            word = part[len(begin) : -len(end)] if inside else part
            if inside:
                places.append((length, length + len(word)))
            plain.append(word)
            length += len(word)
        seen = "".join(plain)
        if seen == text:
            return joined(places)
        if seen != text.strip(_TRIMMED):
            return ()
        before = len(text) - len(text.lstrip(_TRIMMED))
        return joined((start + before, stop + before) for start, stop in places)
