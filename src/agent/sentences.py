"""An answer that arrives in pieces, cut into sentences as soon as each is whole. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..util.sentences import sentence_spans

_NUMBER = r"(?:(?:passages?|sources?|documents?|refs?\.?)\s*)?\^?\d+"
_NUMBERS = rf"\s*{_NUMBER}(?:\s*(?:[,;&–—-]|and\b|to\b)\s*{_NUMBER})*\s*"
MARK = re.compile(rf"\s*(?:\[{_NUMBERS}\]|【{_NUMBERS}(?:†[^】\n]*)?】)", re.IGNORECASE)
"""Every form that models give their marks: ``[1]``, ``[1, 2]``, ``[1-3]``, ``[^1]``, ``[passage 1]``, ``【1】``, ``【1†source】``."""
_MARKS = re.compile(rf"{MARK.pattern}(?:(?:\s*(?:[,;&]|and\b))?{MARK.pattern})*", re.IGNORECASE)
_ONLY_MARKS = re.compile(rf"{_MARKS.pattern}[.。]?\s*", re.IGNORECASE)
_RANGE = re.compile(r"(\d+)(?:\s*(?:[–—-]|to\b)\D*(\d+))?", re.IGNORECASE)
_ENDS = frozenset(".!?…。！？｡\n")
"""Without one of them a text is one sentence."""
_DIGITS = 4
"""Longer numbers name no passage; they are left out all the same."""
_WIDEST = 50
"""Passages that a range may name; of a wider one only the ends count."""


class SentenceStream:
    """Feed it pieces of text; it gives back whole sentences, each with the marks that follow its full stop.

    Pieces keep the white space before them, so that joining them gives the text again.
    """

    def __init__(self) -> None:
        self._text = ""
        self._may_end = False

    def feed(self, piece: str) -> list[str]:
        """Sentences that are whole now: another one has begun after them."""
        self._text += piece
        self._may_end = self._may_end or not _ENDS.isdisjoint(piece)
        if not self._may_end:  # most pieces are words within a sentence: looking for ends in all of it anew cost more than checking it
            return []
        parts = _pieces(self._text)
        # A bracket that has only just opened may be a mark of the sentence before it.
        keep = 2 if parts and parts[-1].lstrip()[:1] in ("[", "【") else 1
        whole = parts[:-keep]
        if whole:
            self._text = "".join(parts[-keep:])
            self._may_end = not _ENDS.isdisjoint(self._text)
        return whole

    def flush(self) -> list[str]:
        """What is left at the end of the answer."""
        parts, self._text = _pieces(self._text), ""
        return parts


def _pieces(text: str) -> list[str]:
    """Sentences with the white space before each; marks alone belong to the sentence before."""
    starts: list[int] = []
    for start, end in sentence_spans(text):
        marks = _ONLY_MARKS.match(text, start) if starts and not _opens_a_line(text, start) else None
        if marks is None:
            starts.append(start)
        elif marks.end() < end:
            starts.append(marks.end())
    if not starts:
        return [text] if text.strip() else []
    ends = [_before_space(text, start) for start in starts[1:]] + [len(text)]
    begins = [0, *ends[:-1]]
    return [text[begin:end] for begin, end in zip(begins, ends, strict=True)]


def _opens_a_line(text: str, start: int) -> bool:
    """Whether marks with text behind them begin a line, as entries of a list of references do: they belong to that text."""
    marks = _MARKS.match(text, start)
    if marks is None or "\n" not in text[_before_space(text, start) : start]:
        return False
    return re.match(r"[^\S\n]+[^\s\[【]", text[marks.end() :]) is not None


def _before_space(text: str, start: int) -> int:
    return len(text[:start].rstrip())


def marks_of(sentence: str, texts: Iterable[str] = ()) -> tuple[str, tuple[int, ...]]:
    """A sentence without its marks, and the numbers they named, each once, in order.

    Args:
        texts: what the sentence may quote. Bracketed numbers that stand in the very words quoted are text, not marks.
    """
    marks = list(MARK.finditer(sentence))
    own = _quoted(sentence, marks, texts) if marks else 0
    at = marks[own - 1].end() if own else 0
    numbers = [number for mark in marks[own:] for number in _numbers(mark.group())]
    return sentence[:at] + _MARKS.sub("", sentence[at:]), tuple(dict.fromkeys(numbers))


def _quoted(sentence: str, marks: list[re.Match[str]], texts: Iterable[str]) -> int:
    """How many of the first marks belong to a sentence of ``texts`` that this one repeats."""
    if not _MARKS.sub("", sentence).strip(" .。"):
        return 0
    flat = [_flat(text) for text in texts if "[" in text or "【" in text]
    for count in range(len(marks), 0, -1) if flat else ():
        at = marks[count - 1].end()
        quote = _flat(sentence[:at] + _MARKS.sub("", sentence[at:])).rstrip(" .!?…。")
        if any(quote in text for text in flat):
            return count
    return 0


def _flat(text: str) -> str:
    """On one line, without Markdown's signs of emphasis."""
    return " ".join(text.replace("*", "").split())


def _numbers(mark: str) -> list[int]:
    found: list[int] = []
    for first, last in _RANGE.findall(mark):
        ends = [int(digits) for digits in (first, last) if 0 < len(digits) <= _DIGITS]
        wide = len(ends) == 2 and 0 < ends[1] - ends[0] < _WIDEST
        found += range(ends[0], ends[1] + 1) if wide else ends
    return found
