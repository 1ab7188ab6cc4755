"""Where sentences begin and end, without a model: Unicode-aware, for English, German and CJK text, tables and wrapped lines.

Rules, not statistics: the spans cover every character that is not white space, in order, and never overlap. A full stop
ends a sentence unless an abbreviation, an initial, a list number or an ordinal explains it. A line break ends one where
the line is a table row, a bullet follows, or the line was ended early on purpose (wrapped lines fill their width).
"""

from __future__ import annotations

import re
from itertools import pairwise

Span = tuple[int, int]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Never the end of a sentence: something has to follow.
_ABBREVIATIONS = _set("""
    mr mrs ms dr prof st mt vs cf viz fig figs eq eqs sec ch vol pp approx dept est ed eds gen col lt sgt capt rev hon
    e.g i.e z.b d.h u.a bzw ca evtl ggf inkl exkl vgl abs art mio mrd hr fr str tel zzgl bsp sog o.g o.ä s.o s.u v.a
    """)
# Followed by a number they abbreviate, otherwise they are words that end a sentence.
_BEFORE_NUMBER = _set("no nos nr p s art abs jan feb mar apr jun jul aug sep sept oct nov dec ziff kap")
# May stand at the end: only a word that usually opens a sentence proves it.
_MAYBE_LAST = _set("inc ltd co corp llc plc jr sr etc usw al a.m p.m u.s u.k u.n e.u ph.d d.c gmbh")
_OPENERS = _set("""
    the this that these those it its in on at as we our he she they their there if when while for from by with to after before
    however such under during both each all no any you your who what where how an a
    der die das dies diese dieser dieses es er sie wir ihr ein eine im in am bei wenn für mit nach vor auf aus
    """)
_MONTHS = _set(
    "januar februar märz april mai juni juli august september oktober november dezember jänner january february march may june july october december"
)

# A run of marks is tried once, from its first: tried from each of them, 100,000 dots before a letter took a minute.
_END = re.compile(
    r"""(?P<cjk>[。！？｡]+[」』”’）】]*)
      | (?P<mark>(?<![.!?…])[.!?…]++)["'”’»)\]]*+(?=\s|$)""",
    re.VERBOSE,
)
_BULLET = re.compile(r"\s*(?:[•‣▪■●○◦·\uf0b7–—*-]\s|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,4})[.)]\s)")
_BLANK = re.compile(r"\n(?:[^\S\n]*\n)+")
_LAST_WORD = re.compile(r"[^\s(\[„“\"'‘]+$")
_NEXT_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"[(\-–+]?[$€£]?[(\-–+]?\d[\d.,:/%]*\)?%?$")
_DIGIT = re.compile(r"\d")
_EARLY = 0.62
"""A line shorter than this share of its paragraph's longest line was ended on purpose (ragged-right text stays above .7)."""


def sentence_spans(text: str) -> list[Span]:
    """Character offsets (start, end) of each sentence, table row or list item of ``text``, white space around it left out."""
    spans: list[Span] = []
    for start, end in _segments(text):
        spans.extend(_sentences(text, start, end))
    return spans


def split_sentences(text: str) -> list[str]:
    """The sentences themselves, each an exact slice of ``text``."""
    return [text[start:end] for start, end in sentence_spans(text)]


def is_table_row(line: str) -> bool:
    """Cells separated by tabs, or a line of which at least two words and a third of all are numbers."""
    if "\t" in line.strip():
        return True
    if not _DIGIT.search(line):
        return False
    words = line.split()
    numbers = sum(1 for word in words if _NUMBER.match(word))
    return numbers >= 2 and numbers * 3 >= len(words)


def _ends_in_number(line: str) -> bool:
    """Two such lines in a row are rows of a table with one column of figures."""
    words = line.split()
    return 2 <= len(words) <= 12 and _NUMBER.match(words[-1]) is not None


def starts_item(line: str) -> bool:
    """The line begins with a bullet, a number or a letter of a list."""
    return _BULLET.match(line) is not None


def _segments(text: str) -> list[Span]:
    """Runs of lines that belong together."""
    segments: list[Span] = []
    for paragraph in _paragraphs(text):
        lines = _lines(text, *paragraph)
        widest = max(end - start for start, end in lines)
        begin = lines[0][0]
        for (start, end), (next_start, next_end) in pairwise(lines):
            if _breaks(text[start:end], text[next_start:next_end], widest):
                segments.append((begin, end))
                begin = next_start
        segments.append((begin, lines[-1][1]))
    return segments


def _paragraphs(text: str) -> list[Span]:
    """Runs of lines that are not blank; none is empty."""
    cuts = [(match.start(), match.end()) for match in _BLANK.finditer(text)]
    starts = [0, *(end for _, end in cuts)]
    ends = [*(start for start, _ in cuts), len(text)]
    return [_trim(text, start, end) for start, end in zip(starts, ends, strict=True) if text[start:end].strip()]


def _lines(text: str, start: int, end: int) -> list[Span]:
    """The lines of a paragraph; each holds something."""
    lines: list[Span] = []
    at = start
    while at < end:
        stop = text.find("\n", at, end)
        stop = end if stop < 0 else stop
        if text[at:stop].strip():
            lines.append((at, stop))
        at = stop + 1
    return lines


def _breaks(line: str, following: str, widest: int) -> bool:
    """Whether the line break between two lines also ends a sentence."""
    if starts_item(following) or is_table_row(line) or is_table_row(following):
        return True
    opening = following.lstrip()[:1]
    if opening.islower() or line.rstrip()[-1:] in ",;-–—(":
        return False
    return len(line) < widest * _EARLY or (_ends_in_number(line) and _ends_in_number(following))


def _sentences(text: str, start: int, end: int) -> list[Span]:
    spans: list[Span] = []
    begin = start
    for match in _END.finditer(text, start, end):
        if match.end() >= end or match.start() < begin:
            continue
        if match["cjk"] or _ends(text, begin, match, end):
            spans.append((begin, match.end()))
            begin = match.end()
    spans.append((begin, end))
    return [span for span in (_trim(text, *span) for span in spans) if span[0] < span[1]]


def _trim(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


def _ends(text: str, begin: int, match: re.Match[str], end: int) -> bool:
    """Whether this punctuation ends a sentence, judged by the words on both sides."""
    after = text[match.end() : min(end, match.end() + 40)].lstrip()
    if after[:1].islower():
        return False
    if match["mark"] != ".":
        return True
    found = _LAST_WORD.search(text, max(begin, match.start() - 40), match.start())
    word = found.group().lower() if found else ""
    if word.isdigit():
        return not _is_ordinal(text[begin : match.start()] if match.start() - begin < 10 else "", word, after)
    return not _is_abbreviation(word, after)


def _is_ordinal(before: str, word: str, after: str) -> bool:
    """A list number ("1. Scope") or a German date ("3. Mai"), not the end of "in 1999."."""
    name = _NEXT_WORD.match(after)
    return len(word) <= 2 and (before.strip() == word or (name is not None and name.group().lower() in _MONTHS))


def _is_abbreviation(word: str, after: str) -> bool:
    if word in _BEFORE_NUMBER:
        return after[:1].isdigit()
    if word in _ABBREVIATIONS:
        return True
    if word in _MAYBE_LAST or re.fullmatch(r"(?:[^\W\d_]\.)+[^\W\d_]", word):
        name = _NEXT_WORD.match(after)
        return not (name is not None and name.group().lower() in _OPENERS)
    return len(word) == 1 and word.isalpha()
