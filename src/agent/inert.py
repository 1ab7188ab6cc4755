"""Sentences as text and nothing else: no image, no link behind words, no HTML, and nothing of our own instructions. Pure.

Documents and models may write Markdown or HTML that loads an image from elsewhere, with what was read in its address. Answers
are shown by programs that we do not know, so what leaves is inert in any of them: signs that begin such constructs are taken
apart, words stay.
"""

from __future__ import annotations

import re
from functools import lru_cache

_IMAGE = re.compile(r"!\[([^\[\]]*)\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\[\]]*\])")
_LINK = re.compile(r"\[([^\[\]]*)\]\(\s*<?((?:[^()\s<>]|\([^()\s]*\))*)>?[^()]*\)")
_TELLABLE = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
_TAG = re.compile(r"<(?=[A-Za-z/!?]|\Z)")
_WORD = re.compile(r"\w+")

LEAK_WORDS = 8
"""Words in a row that a sentence may not share with the instructions; fewer occur in any two texts."""
NESTED = 8


def inert(text: str) -> str:
    """The text with images as their descriptions, links as words with their address beside, and tags with a sign that opens none."""
    for _ in range(NESTED):
        plain = _LINK.sub(_link, _IMAGE.sub(r"\1", text))
        if plain == text:
            break
        text = plain
    # Whatever was nested deeper, or lies across sentences, has its signs taken apart.
    text = text.replace("![", "! [").replace("](", "] (").replace("][", "] [").replace("]:", "] :")
    return _TAG.sub("‹", text)


def joins(before: str, text: str) -> bool:
    """Whether a sentence that follows without a space would make a link or an image of both."""
    return before[-1:] in ("]", "!") and text[:1] in ("(", "[", ":")


def _link(match: re.Match[str]) -> str:
    label, address = match[1].strip(), match[2]
    return f"{label} ({address})" if _TELLABLE.match(address) and address != label else label


class Instructions:
    """The instructions of a request, which no sentence may repeat.

    Args:
        text: the system prompt.
        fence: its code.
    """

    def __init__(self, text: str, fence: str) -> None:
        self._fence = fence.lower()
        # A run with the code in it needs no look-up; without it the prompt is the same for every request.
        self._runs = _runs_of(tuple(text.split(fence)) if fence else (text,))

    def repeated_in(self, sentence: str) -> bool:
        """Whether a sentence tells the fence's code, or eight words of the instructions in a row."""
        return self._fence in sentence.lower() or any(run in self._runs for run in _runs(sentence))


@lru_cache(maxsize=8)
def _runs_of(parts: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    """All runs of a prompt's parts. Reading them cost a request 0.3 ms."""
    return frozenset(run for part in parts for run in _runs(part))


def _runs(text: str) -> list[tuple[str, ...]]:
    words = [word.lower() for word in _WORD.findall(text)]
    return [tuple(words[at : at + LEAK_WORDS]) for at in range(len(words) - LEAK_WORDS + 1)]
