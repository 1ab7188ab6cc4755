"""Texts as the check of support looks at them: each view of one is worked out when it is first asked for, and once.

A claim is held against several passages, each passage against many claims: what is known of a passage stays for the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from ..util.sentences import Span, sentence_spans
from ..util.terms import Token, tokens
from .directions import Poles, poles_of
from .names import name_parts, names_of
from .polarity import Term, has_negation, terms
from .quantities import Quantity, quantities


class Text:
    """A claim, a sentence, or several."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def tokens(self) -> Sequence[Token]:
        return tokens(self.text)

    @cached_property
    def stems(self) -> frozenset[str]:
        return frozenset(token.stem for token in self.tokens)

    @cached_property
    def quantities(self) -> Sequence[Quantity]:
        return quantities(self.text)

    @cached_property
    def terms(self) -> Sequence[Term]:
        return terms(self.text, self.tokens)

    @cached_property
    def denies(self) -> bool:
        return has_negation(self.text, self.tokens, self.terms)

    @cached_property
    def poles(self) -> Poles:
        return poles_of(self.text)


class Source:
    """What a claim is held against: a passage, and its heading (title and section)."""

    def __init__(self, passage: str, heading: str = "") -> None:
        self.text = passage
        self.heading = Text(heading)
        self._chosen: dict[tuple[Span, ...], Text] = {}
        self._around: dict[str, Text] = {}
        self._names: dict[Span, set[str]] = {}

    @cached_property
    def sentences(self) -> Sequence[tuple[Span, frozenset[str]]]:
        """Where each sentence stands, and its stems; the whole where there is none."""
        spans = sentence_spans(self.text) or [(0, len(self.text))]
        return [(span, self.at(span).stems) for span in spans]

    def at(self, *spans: Span) -> Text:
        """Some sentences of the passage, a line each."""
        if spans not in self._chosen:
            self._chosen[spans] = Text("\n".join(self.text[start:end] for start, end in spans))
        return self._chosen[spans]

    def headed(self, chosen: Text) -> Text:
        """Some sentences and the heading."""
        if chosen.text not in self._around:
            self._around[chosen.text] = Text(f"{chosen.text}\n{self.heading.text}")
        return self._around[chosen.text]

    @cached_property
    def whole(self) -> Text:
        """The passage and its heading."""
        return Text(f"{self.text}\n{self.heading.text}")

    @cached_property
    def name_parts(self) -> set[str]:
        return name_parts(self.whole.text)

    def names_at(self, span: Span) -> set[str]:
        """The names of one sentence."""
        if span not in self._names:
            self._names[span] = names_of(self.at(span).text, self.text)
        return self._names[span]
