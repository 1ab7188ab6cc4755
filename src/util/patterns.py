"""Regular expressions that users write, matched in time in proportion to the text whatever they are.

They are matched by Rust's regular expressions: Python's took minutes for ``(\\w+\\s?)+\\?$`` and one long word, and nothing
else was answered meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema

SYNTAX = "The syntax is that of Rust, without look-around and back-references."
_PIECE = re.compile(r"[^\s,;(){}<>\[\]\"'=&|]++")
_AROUND = r"[\s,;(){}<>\[\]\"'=&|.:!?]*"
WIDEST = 8
"""Further pieces that the longest of several matches at one place is looked for in, to each side."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that is looked for in any case, in time in proportion to the text."""

    written: str
    _engine: SchemaValidator

    @classmethod
    def of(cls, written: str) -> Pattern:
        """
        Raises:
            ValueError: no such expression, one with look-around or back-references, or one too large; says which.
        """
        try:
            # pydantic's own engine, Rust's: no dependency more.
            return cls(written, SchemaValidator(core_schema.str_schema(pattern=f"(?i){written}", regex_engine="rust-regex")))
        except SchemaError as error:
            raise ValueError(str(error).splitlines()[-1].strip().removeprefix("SchemaError: ").removeprefix("error: ").rstrip(".")) from None

    def is_in(self, text: str) -> bool:
        try:
            self._engine.validate_python(text.encode("utf-8", "replace").decode("utf-8"))
        except ValidationError:
            return False
        return True


class Places:
    """Where a pattern stands in a text, in whole pieces: what lies between spaces, commas, brackets, quotation marks and equals signs.

    The engine only tells whether a text has a match, so places are narrowed down by asking for parts of it. A match is covered
    whole; a piece of which it is a part is covered whole as well.

    Raises:
        ValueError: as `Pattern.of`; or a pattern that fits a text of nothing, and so fits everywhere.
    """

    def __init__(self, written: str) -> None:
        self._pattern = Pattern.of(written)
        self._whole = Pattern.of(rf"\A{_AROUND}(?:{written}){_AROUND}\z")
        if self._pattern.is_in(""):
            raise ValueError("it fits a text of nothing, and so everywhere")

    def of(self, text: str) -> Iterator[tuple[int, int]]:
        """Starts and ends, in order."""
        pieces = [found.span() for found in _PIECE.finditer(text)]
        at = 0
        while at < len(pieces):
            last = self._first_end(text, pieces, at)
            if not last:
                return
            first = self._last_start(text, pieces, at, last)
            first, last = self._widened(text, pieces, at, first, last)
            yield pieces[first][0], pieces[last - 1][1]
            at = last

    def _first_end(self, text: str, pieces: list[tuple[int, int]], at: int) -> int:
        """The fewest pieces from ``at`` on that hold a match, as the number behind the last; 0 where none do."""
        step, without = 1, at
        while True:
            upto = min(at + step, len(pieces))
            if self._pattern.is_in(_part(text, pieces, at, upto)):
                break
            if upto == len(pieces):
                return 0
            step, without = step * 2, upto
        while upto - without > 1:
            middle = (upto + without) // 2
            if self._pattern.is_in(_part(text, pieces, at, middle)):
                upto = middle
            else:
                without = middle
        return upto

    def _last_start(self, text: str, pieces: list[tuple[int, int]], at: int, last: int) -> int:
        held, without = at, last
        while without - held > 1:
            middle = (held + without) // 2
            if self._pattern.is_in(_part(text, pieces, middle, last)):
                held = middle
            else:
                without = middle
        return held

    def _widened(self, text: str, pieces: list[tuple[int, int]], at: int, first: int, last: int) -> tuple[int, int]:
        """The longest match that holds this one: expressions such as ``C( [0-9]+)+`` fit less as well."""
        for start in range(max(at, first - WIDEST), first + 1):
            for end in range(min(len(pieces), last + WIDEST), last - 1, -1):
                if self._whole.is_in(_part(text, pieces, start, end)):
                    return start, end
        return first, last


def _part(text: str, pieces: list[tuple[int, int]], first: int, last: int) -> str:
    """Pieces with what stands on both sides of them, so that anchors and edges of words hold as in the whole text."""
    start = pieces[first - 1][1] if first else 0
    end = pieces[last][0] if last < len(pieces) else len(text)
    return text[start:end]
