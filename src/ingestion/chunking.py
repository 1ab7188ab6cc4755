"""Cutting documents into passages: by structure first, sized in tokens of the embedding model. Pure.

Order of preference for a cut: page, heading, block (paragraph, list item, table), table row or sentence, word. Passages are
exact slices of their part's text; together they cover all of its blocks, once (plus the overlap asked for). What no block
covers, such as the footer of a page, is in none.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil

from ..infra.providers.protocol import TokenSpans
from ..util.sentences import sentence_spans
from .blocks import Block, Part

CHUNKER_VERSION = 2
"""Raised when the same file would be cut differently: what was ingested before is then ingested again."""
MODEL_TOKENS = 254
"""What all-MiniLM-L6-v2 reads: 256 tokens, two of them its own."""
_TINY = 5
"""A passage below a fifth of the budget is joined to its neighbour where both fit."""
_LABEL_CHARS = 120

HeadingPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Passage:
    """One chunk before it has an identity. ``tokens`` counts the text alone, without title and section."""

    text: str
    start: int
    end: int
    page: int | None
    section: str
    tokens: int


def chunk_parts(parts: Sequence[Part], tokens: TokenSpans, budget: int, overlap: int = 0) -> list[Passage]:
    """The passages of a document, in order.

    Args:
        budget: most tokens of a passage, the overlap included.
        overlap: tokens of the passage before that are repeated, within one section.
    """
    passages: list[Passage] = []
    headings: list[tuple[int, str]] = []
    for part in parts:
        if part.text.strip():
            passages.extend(_Cutter(part, tokens, budget, min(overlap, budget // 2)).passages(headings))
    return passages


def embedding_text(title: str, section: str, text: str, prefix_spans: Callable[[str], list[tuple[int, int]]], text_tokens: int) -> str:
    """What is embedded for a passage: title and section, then its text. The text is never cut; the prefix gets what room is left.

    Questions are embedded bare.

    Args:
        prefix_spans: the tokenizer's ``spans``, or a memory of it: all passages of a section have the same prefix.
        text_tokens: tokens of ``text``.
    """
    prefix = f"{title} | {section}" if title and section else title or section
    room = MODEL_TOKENS - text_tokens
    spans = prefix_spans(prefix)
    if len(spans) > room:
        prefix = prefix[: spans[room - 1][1]] if room > 0 else ""
    return f"{prefix}\n{text}" if prefix else text


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is not cut any further, unless alone it is over the budget."""

    start: int
    end: int
    heading: bool = False
    header: str = ""


@dataclass(slots=True)
class _Segment:
    """Consecutive blocks of one section."""

    path: HeadingPath
    blocks: list[Block] = field(default_factory=list)

    @property
    def bare(self) -> bool:
        return all(block.kind == "heading" for block in self.blocks)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A passage in the making: what it covers, of which sections (with their share of tokens), below which table header."""

    start: int
    end: int
    paths: tuple[tuple[HeadingPath, int], ...]
    header: str = ""
    tokens: int = 0


class _Cutter:
    """Cuts one part."""

    def __init__(self, part: Part, tokens: TokenSpans, budget: int, overlap: int) -> None:
        self._part = part
        self._text = part.text
        self._tokens = tokens
        self._budget = budget
        self._overlap = overlap
        self._room = budget - overlap
        spans = tokens.spans(part.text)
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]

    def passages(self, headings: list[tuple[int, str]]) -> list[Passage]:
        """The passages; ``headings`` is the open heading path, carried from page to page and updated here."""
        segments = _segments(self._part, headings)
        if not segments:
            return []
        start, end = segments[0].blocks[0].start, segments[-1].blocks[-1].end
        drafts: list[_Draft]
        if self._count(start, end) <= self._room:
            paths = tuple((segment.path, self._count(segment.blocks[0].start, segment.blocks[-1].end)) for segment in segments if not segment.bare)
            drafts = [_Draft(start, end, paths or ((segments[-1].path, 1),))]
        else:
            drafts = self._merged([draft for segment in segments for draft in self._segment(segment)])
        fitted = [piece for draft in drafts for piece in self._fit(draft)]
        return [self._passage(draft, fitted[index - 1] if index else None) for index, draft in enumerate(fitted)]

    def _count(self, start: int, end: int) -> int:
        """Tokens that touch ``text[start:end]``; exact where the cuts lie between words."""
        return max(0, bisect_left(self._starts, end) - bisect_right(self._ends, start))

    def _segment(self, segment: _Segment) -> Iterator[_Draft]:
        """One section, packed into passages of about equal size."""
        first, last = segment.blocks[0].start, segment.blocks[-1].end
        total = self._count(first, last)
        target = total / max(1, ceil(total / self._room))
        pack: list[_Unit] = []
        for unit in (unit for block in segment.blocks for unit in self._units(block)):
            if pack and not self._takes(pack, unit, target):
                kept = _without_trailing_headings(pack)
                yield self._draft(kept, segment.path)
                pack = pack[len(kept) :]
                if pack and self._count(pack[0].start, unit.end) > self._room:
                    yield self._draft(pack, segment.path)
                    pack = []
            pack.append(unit)
        if pack:
            yield self._draft(pack, segment.path)

    def _takes(self, pack: list[_Unit], unit: _Unit, target: float) -> bool:
        """Whether the passage may grow by this unit: it must fit, and a full passage stops at its fair share."""
        if self._count(pack[0].start, unit.end) > self._room:
            return False
        return pack[-1].heading or self._count(pack[0].start, pack[-1].end) < target

    def _draft(self, pack: list[_Unit], path: HeadingPath) -> _Draft:
        start, end = pack[0].start, pack[-1].end
        return _Draft(start, end, ((path, self._count(start, end)),), pack[0].header)

    def _units(self, block: Block) -> Iterator[_Unit]:
        if self._count(block.start, block.end) <= self._room:
            yield _Unit(block.start, block.end, block.kind == "heading")
            return
        header = ""
        for start, end in self._finer(block):
            for piece in self._words(start, end):
                yield _Unit(*piece, header=header)
            header = block.header

    def _finer(self, block: Block) -> list[tuple[int, int]]:
        """Rows of a table, lines of code, sentences of anything else."""
        text = self._text[block.start : block.end]
        if block.kind not in ("table", "code"):
            return [(block.start + start, block.start + end) for start, end in sentence_spans(text)]
        spans: list[tuple[int, int]] = []
        at = block.start
        for line in text.split("\n"):
            if line.strip():
                spans.append((at, at + len(line)))
            at += len(line) + 1
        return spans

    def _words(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The span itself if it fits, else pieces of whole words; of whole tokens where a word alone is too long."""
        while self._count(start, end) > self._room:
            first = bisect_right(self._ends, start)
            cut = self._starts[first + self._room]
            yield start, (cut := self._word_cut(start, cut))
            start = cut
        yield start, end

    def _word_cut(self, start: int, cut: int) -> int:
        """The last white space before ``cut``, if there is any after ``start``."""
        at = cut
        while at > start and not self._text[at - 1].isspace():
            at -= 1
        return at if self._text[start:at].strip() else max(cut, start + 1)

    def _merged(self, drafts: list[_Draft]) -> list[_Draft]:
        """Tiny passages joined to the one before, or the one after, where both fit."""
        merged: list[_Draft] = []
        for draft in drafts:
            before = merged[-1] if merged else None
            if before is not None and self._joins(before, draft):
                merged[-1] = _Draft(before.start, draft.end, before.paths + draft.paths, before.header)
            else:
                merged.append(draft)
        return merged

    def _joins(self, before: _Draft, draft: _Draft) -> bool:
        smaller = min(self._count(before.start, before.end), self._count(draft.start, draft.end))
        return smaller * _TINY < self._room and self._count(before.start, draft.end) <= self._room

    def _fit(self, draft: _Draft) -> Iterator[_Draft]:
        """The draft trimmed, and held to the budget where it was cut inside a word, which may change the word's tokens."""
        start, end = self._trim(draft.start, draft.end)
        while start < end:
            stop, count = end, self._exact(start, end)
            while count > self._room and stop - start > 1:
                spans = self._tokens.spans(self._text[start:stop])
                stop = self._word_cut(start, min(stop - 1, start + spans[self._room][0]))
                count = len(self._tokens.spans(self._text[start:stop]))
            piece = self._trim(start, stop)
            if piece[0] < piece[1]:
                yield _Draft(*piece, draft.paths, draft.header, count)
            start, _ = self._trim(stop, end)

    def _exact(self, start: int, end: int) -> int:
        """Tokens of the slice by itself. Between white space they are those of the whole text: tokens never reach over it."""
        before = start == 0 or self._text[start - 1].isspace()
        after = end == len(self._text) or self._text[end].isspace()
        return self._count(start, end) if before and after else len(self._tokens.spans(self._text[start:end]))

    def _trim(self, start: int, end: int) -> tuple[int, int]:
        while start < end and self._text[start].isspace():
            start += 1
        while end > start and self._text[end - 1].isspace():
            end -= 1
        return start, end

    def _passage(self, draft: _Draft, before: _Draft | None) -> Passage:
        start, count = draft.start, draft.tokens
        if self._overlap and before is not None and before.paths[-1][0] == draft.paths[0][0]:
            start = self._overlapped(before, draft)
            count = self._exact(start, draft.end)
        return Passage(self._text[start : draft.end], start, draft.end, self._part.page, section_label(draft.paths, draft.header), count)

    def _overlapped(self, before: _Draft, draft: _Draft) -> int:
        """Where the passage starts with its overlap: at a word of the passage before, within the budget."""
        first = max(bisect_right(self._ends, before.start), bisect_right(self._ends, draft.start) - self._overlap)
        start = self._starts[first] if first < len(self._starts) else draft.start
        while start < draft.start and not (start == 0 or self._text[start - 1].isspace()):
            start += 1
        start, _ = self._trim(start, draft.start)
        fits = self._exact(start, draft.end) <= self._budget
        return start if fits and start < draft.start else draft.start


def section_label(paths: Sequence[tuple[HeadingPath, int]], header: str = "") -> str:
    """The heading path that all sections of a passage share; if they share none, that of the largest. A table's header row follows."""
    shared = paths[0][0]
    for path, _ in paths[1:]:
        shared = shared[: next((i for i, (a, b) in enumerate(zip(shared, path, strict=False)) if a != b), min(len(shared), len(path)))]
    chosen = shared or max(paths, key=lambda item: item[1])[0]
    return " > ".join([*chosen, header[:_LABEL_CHARS]] if header else chosen)


def _segments(part: Part, headings: list[tuple[int, str]]) -> list[_Segment]:
    """Blocks grouped by section. A heading without text of its own goes with the section that follows it."""
    segments: list[_Segment] = []
    for block in part.blocks:
        if block.kind == "heading":
            while headings and headings[-1][0] >= block.level:
                headings.pop()
            headings.append((block.level, " ".join(part.text[block.start : block.end].split())[:_LABEL_CHARS]))
            path = tuple(label for _, label in headings)
            if segments and segments[-1].bare:
                segments[-1].path = path
            else:
                segments.append(_Segment(path))
        elif not segments:
            segments.append(_Segment(tuple(label for _, label in headings)))
        segments[-1].blocks.append(block)
    return segments


def _without_trailing_headings(pack: list[_Unit]) -> list[_Unit]:
    """A heading stays with what follows it, unless there is nothing else in the passage."""
    count = len(pack)
    while count and pack[count - 1].heading:
        count -= 1
    return pack[:count] if count else pack
