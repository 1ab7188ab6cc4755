"""The sentences of a passage that can stand in an answer by themselves: whole sentences, list items, rows of figures.

Titles, headings, lead-ins, headers and footers of pages and heads of tables repeat a question's words without answering it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...util.sentences import is_table_row, sentence_spans, starts_item
from ...util.terms import Token, content_stems, tokens
from .forms import counted_form
from .passages import PromptContent, PromptPassage

READ = 6
"""Passages that are read."""
MAX_CHARS = 700
"""A longer sentence is cut at its clauses."""
_PROSE_WORDS = 8
_PROSE_SHARE = 0.3
"""A line without a full stop is prose, cut off by the end of a page, if it has that many words and that share of
them carries grammar; headings have fewer."""

_SENTENCE_END = re.compile(r"""(?:[.!。！…]['’»)\]]*|[”"])$""")
_BULLET = re.compile(r"^(?:[•‣▪■●○◦·\uf0b7–—*#>-]+\s+|\(?\d{1,2}[.)]\s+(?=\S))+")
_QUESTION_LABEL = re.compile(r"^(?:Q|Question|Frage)\s*\d*\s*[:.]\s+", re.IGNORECASE)
_ANSWER_LABEL = re.compile(r"^(?:A|Answer|Antwort)\s*\d*\s*[:.]\s+", re.IGNORECASE)
_CONTROL = re.compile(
    r"\S\s+[·•|¦]\s+\S.*\s[·•|¦]\s+\S|\S\s+[|¦]\s+(?:page\s+)?\d+$|^(?:page|seite)\s+\d+\b|©|\(c\)\s+\d{4}|\ball rights reserved\b"
    r"|^(?:item|part|section|note|chapter|exhibit|appendix|figure|table)\s+\w{1,4}\W*$",
    re.IGNORECASE,
)
"""Labels in a row, as heads of documents and footers of pages have them, notices of copyright, and a section's number alone."""
_CLAUSE = re.compile(r"(?<=[;:,—])\s")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sentence of a passage, as the answer would say it; ``asked`` is the question that the passage asks right before it."""

    passage: int
    order: int
    text: str
    heading: str
    asked: str = ""

    @property
    def embedded(self) -> str:
        """What the embedding model reads of it."""
        said = f"{self.asked} {self.text}" if self.asked else self.text
        return f"{self.heading}: {said}" if self.heading else said


@dataclass(frozen=True, slots=True)
class _Line:
    """A sentence of a passage: on one line, and what it was before."""

    raw: str
    text: str

    @property
    def is_row(self) -> bool:
        return is_table_row(self.raw)


def sentences_of(content: PromptContent) -> list[Candidate]:
    """Sentences that can stand in an answer, passage by passage; white space collapsed, bullets left out, each text once.

    Lines that are neither sentence nor item nor row of figures count only where the passages hold nothing else.
    """
    read = [(passage, _lines(passage)) for passage in content.passages[:READ]]
    found = _unique(candidate for passage, lines in read for candidate in _candidates(passage, lines, content.question, loose=False))
    return found or _unique(candidate for passage, lines in read for candidate in _candidates(passage, lines, content.question, loose=True))


def _unique(candidates: Iterator[Candidate]) -> list[Candidate]:
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(f"{candidate.asked}\n{candidate.text}".casefold(), candidate)
    return list(first.values())


def _lines(passage: PromptPassage) -> list[_Line]:
    raw = [passage.text[start:end] for start, end in sentence_spans(passage.text)]
    return [_Line(piece, _clean(piece)) for line in raw for piece in clauses(line)]


def clauses(sentence: str) -> list[str]:
    """A sentence of more than `MAX_CHARS` in pieces, cut after a clause where there is one; each is a slice of it."""
    pieces: list[str] = []
    while len(sentence) > MAX_CHARS:
        cuts = [match.start() for match in _CLAUSE.finditer(sentence, MAX_CHARS // 3, MAX_CHARS)]
        cut = cuts[-1] if cuts else sentence.rfind(" ", 1, MAX_CHARS)
        cut = cut if cut > 0 else MAX_CHARS
        pieces.append(sentence[:cut].rstrip())
        sentence = sentence[cut:].lstrip()
    return [*pieces, sentence]


def _candidates(passage: PromptPassage, lines: list[_Line], question: str, *, loose: bool) -> Iterator[Candidate]:
    parts = re.split(r" — | > ", passage.heading)
    labels, heading, asked = {flat(part) for part in parts}, parts[-1].strip(), ""
    for order, line in enumerate(lines):
        if line.text.endswith("?"):
            asked = _QUESTION_LABEL.sub("", line.text)
            continue
        said = _ANSWER_LABEL.sub("", line.text) if asked else line.text
        if asked and not content_stems(said):
            continue  # "Yes." alone says nothing: what follows is the answer
        following = lines[order + 1] if order + 1 < len(lines) else None
        if flat(said) not in labels and (_is_sayable(line, said, question, asked=bool(asked), loose=loose) and not _is_table_head(line, following)):
            yield Candidate(passage.n, order, said, heading, asked)
        asked = ""


def _is_sayable(line: _Line, text: str, question: str, *, asked: bool, loose: bool) -> bool:
    """Says something by itself: a sentence, the answer to a question right before it, an item, a row of figures, cut-off prose."""
    words = tokens(text)
    if text[-1:] == ":" or (_CONTROL.search(text) and not line.is_row):
        return False
    if asked:
        return True
    if len(words) < 2 or (len(words) < 4 and not re.search(r"\d", text)):
        return False
    if line.is_row:
        return re.search(r"\d", text) is not None and any(len(word.text) > 1 and word.text.isalpha() for word in words)
    form = counted_form(question)
    return loose or ends_as_sentence(text) or starts_item(line.raw) or _is_prose(words) or (form is not None and form.search(text) is not None)


def ends_as_sentence(text: str) -> bool:
    """Ends in a full stop or the like, perhaps before closing brackets, or in a closing quotation mark."""
    return _SENTENCE_END.search(text) is not None


def _is_prose(words: list[Token]) -> bool:
    return len(words) >= _PROSE_WORDS and sum(not word.content for word in words) >= _PROSE_SHARE * len(words)


def _is_table_head(line: _Line, following: _Line | None) -> bool:
    return "\t" in line.raw and not re.search(r"\d", line.raw) and following is not None and following.is_row


def flat(text: str) -> str:
    """Words of a text, stemmed, for telling whether two texts are the same."""
    return " ".join(token.stem for token in tokens(text))


def _clean(text: str) -> str:
    """On one line, without the bullet or number of a list, or Markdown's signs of emphasis around words."""
    line = " ".join(text.split())
    return re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"\1", _BULLET.sub("", line))
