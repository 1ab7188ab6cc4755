"""An answer that arrives in pieces, cut into sentences as soon as each is whole. Pure."""

from __future__ import annotations

import re

from ..util.sentences import sentence_spans

MARK = re.compile(r"\s*\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")
_ONLY_MARKS = re.compile(rf"(?:{MARK.pattern})+[.。]?\s*")


class SentenceStream:
    """Feed it pieces of text; it gives back whole sentences, each with the marks that follow its full stop.

    Pieces keep the white space before them, so that joining them gives the text again.
    """

    def __init__(self) -> None:
        self._text = ""

    def feed(self, piece: str) -> list[str]:
        """Sentences that are whole now: another one has begun after them."""
        self._text += piece
        parts = _pieces(self._text)
        # A bracket that has only just opened may be a mark of the sentence before it.
        keep = 2 if parts and parts[-1].lstrip()[:1] == "[" else 1
        whole = parts[:-keep]
        self._text = "".join(parts[-keep:]) if whole else self._text
        return whole

    def flush(self) -> list[str]:
        """What is left at the end of the answer."""
        parts, self._text = _pieces(self._text), ""
        return parts


def _pieces(text: str) -> list[str]:
    """Sentences with the white space before each; marks alone belong to the sentence before."""
    starts: list[int] = []
    for start, end in sentence_spans(text):
        marks = _ONLY_MARKS.match(text, start) if starts else None
        if marks is None:
            starts.append(start)
        elif marks.end() < end:
            starts.append(marks.end())
    if not starts:
        return [text] if text.strip() else []
    ends = [_before_space(text, start) for start in starts[1:]] + [len(text)]
    begins = [0, *ends[:-1]]
    return [text[begin:end] for begin, end in zip(begins, ends, strict=True)]


def _before_space(text: str, start: int) -> int:
    return len(text[:start].rstrip())


def marks_of(sentence: str) -> tuple[str, tuple[int, ...]]:
    """A sentence without its marks, and the numbers they named, each once, in order."""
    numbers = [int(number) for group in MARK.findall(sentence) for number in re.split(r"\s*[,;]\s*", group)]
    return MARK.sub("", sentence), tuple(dict.fromkeys(numbers))
