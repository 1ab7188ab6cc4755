"""Sentences of a model become sentences of an answer: marks checked against passages, numbered anew, quotes found. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.chat import Citation
from ..core.retrieval import Passage
from ..infra.providers.passages import NO_ANSWER
from ..util.terms import tokens
from .compared import Source, Text
from .inert import inert, joins
from .sentences import marks_of
from .support import Support, support_of

_END = re.compile(r"[.!?…。！？]*[\"'”’)]*\s*$")


@dataclass(frozen=True, slots=True)
class Backing:
    """A passage that a sentence rests on, and where in it."""

    passage: Passage
    support: Support


class CitationChecker:
    """Checks the sentences of one answer in order and numbers what they cite.

    A citation is a quote: two sentences that rest on the same sentence of a passage share a number, numbers run from 1 in
    the order of first use.

    Args:
        passages: what the model was given; its marks name their numbers.
        strict: leave out sentences that no passage supports; otherwise believe the model's marks.
        earlier: what the answer cites already, where this is a further reply of the model.
    """

    def __init__(self, passages: Sequence[Passage], *, strict: bool = True, earlier: Sequence[Citation] = ()) -> None:
        self._passages = {passage.n: passage for passage in passages}
        self._sources = {passage.n: Source(passage.hit.text, heading_of(passage)) for passage in passages}
        self._strict = strict
        self._citations: dict[tuple[str, str], Citation] = {(citation.chunk_id, citation.quote): citation for citation in earlier}
        self._begun = False
        self._declined = False
        self._before = ""
        self.dropped = 0
        """Sentences left out because no passage supports them."""

    @property
    def citations(self) -> tuple[Citation, ...]:
        return tuple(self._citations.values())

    def check(self, raw: str) -> str | None:
        """A model's sentence as the answer says it: inert, with its marks as ``[n]``; None where it is left out."""
        text, numbers = marks_of(raw, [passage.hit.text for passage in self._passages.values()])
        body = text.strip()
        if not body or self._declines(body, numbers):
            return None
        marked = [self._passages[number] for number in numbers if number in self._passages]
        backing = self._backing(body, marked)
        if not backing and (self._strict or body.startswith(NO_ANSWER)):
            self.dropped += not _says_nothing(body)
            return None
        marks = "".join(f"[{n}]" for n in dict.fromkeys(self._number(item) for item in backing))
        body = inert(body)
        lead = raw[: len(raw) - len(raw.lstrip())] or (" " if joins(self._before, body) else "")
        self._before = _with_marks(body, marks)
        return f"{lead}{self._before}"

    def _declines(self, body: str, numbers: Sequence[int]) -> bool:
        """Whether this is the sentinel, or comes after a reply began with it. A document may hold the word too: a quote has marks."""
        alone = not numbers and body.partition("\n")[0].strip(" .`*\"'“”") == NO_ANSWER
        self._declined = self._declined or (alone and not self._begun)
        self._begun = True
        return alone or self._declined

    def _backing(self, claim: str, marked: Sequence[Passage]) -> list[Backing]:
        """The passages that support a claim: those it names, those taken together, else the best of all others."""
        said = Text(claim)
        named = [self._back(said, passage) for passage in marked]
        good = [item for item in named if item.support.supported]
        if good or (not self._strict and named):
            return good or named
        if len(named) > 1 and _together(said, marked):
            return named
        others = [self._back(said, passage) for passage in self._passages.values() if passage not in marked]
        good = [item for item in others if item.support.supported]
        return sorted(good, key=lambda item: -item.support.coverage)[:1]

    def _back(self, claim: Text, passage: Passage) -> Backing:
        return Backing(passage, support_of(claim, self._sources[passage.n]))

    def _number(self, backing: Backing) -> int:
        hit, (start, end) = backing.passage.hit, backing.support.span
        key = (hit.chunk_id, hit.text[start:end])
        if key not in self._citations:
            self._citations[key] = Citation(
                n=len(self._citations) + 1,
                chunk_id=hit.chunk_id,
                document_id=hit.document_id,
                title=hit.title,
                source=hit.source,
                quote=hit.text[start:end],
                score=hit.score,
                page=hit.page,
                section=hit.section,
            )
        return self._citations[key].n


def heading_of(passage: Passage) -> str:
    """Title and section on one line, as prompts show them."""
    return " — ".join(part for part in (passage.hit.title, passage.hit.section) if part)


def _together(claim: Text, passages: Sequence[Passage]) -> bool:
    text = "\n\n".join(passage.hit.text for passage in passages)
    return support_of(claim, Source(text, " ".join(heading_of(passage) for passage in passages))).supported


def _says_nothing(body: str) -> bool:
    return body.startswith(NO_ANSWER) or not any(token.content for token in tokens(body))


def _with_marks(body: str, marks: str) -> str:
    """ "Due in 14 days." and "[1]" become "Due in 14 days [1]."."""
    if not marks:
        return body
    end = _END.search(body)
    at = end.start() if end else len(body)
    return f"{body[:at]} {marks}{body[at:].rstrip()}"
