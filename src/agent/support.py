"""Does a sentence follow from a passage? Checked without a model: numbers, names, negation and the words they share.

A claim is compared with the sentences of the passage that match it best. It is unsupported when it holds a number or a
name that stands neither there nor in the passage's heading, puts another number or name in the place where the sentence
has one, denies what the sentence states (or the other way round), points the other way ("rose" for "fell", "before" for
"after"), or shares too few content words with it.
`benchmarks/bench_support.py` prints how often swapped facts are caught and how often true sentences are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from ..util.sentences import Span
from ..util.terms import Token
from .compared import Source, Text
from .directions import apart, opposed, restricted_to_others
from .names import is_known, looks_common, names_of
from .quantities import Quantity, quantities

Reason = Literal["number", "name", "negation", "direction", "coverage", "empty"]

MIN_COVERAGE = 0.55
"""Least share of a claim's content words that the matched sentences and the heading must hold."""
_CLOSE = 0.8
"""From this coverage on, a claim counts as the sentence itself, perhaps reworded: what differs then was swapped."""
_MAX_SENTENCES = 3
"""Sentences of a passage that one claim may draw together."""


@dataclass(frozen=True, slots=True)
class Support:
    """The verdict on one claim.

    Attributes:
        supported: every check passed.
        reasons: what failed; empty when supported.
        coverage: share of the claim's content words found, 0 to 1.
        span: character offsets in the passage of the sentence that matches best.
    """

    supported: bool
    reasons: tuple[Reason, ...]
    coverage: float
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Match:
    """The sentences of a passage that a claim is held against; ``best`` is the first of them."""

    best: Text
    text: Text
    span: Span
    coverage: float
    best_coverage: float

    @property
    def close(self) -> Text:
        """The best sentence alone where the claim repeats it, else all."""
        return self.best if self.best_coverage >= _CLOSE else self.text


def check_support(claim: str, passage: str, heading: str = "") -> Support:
    """Whether ``claim`` follows from ``passage``; ``heading`` (title and section) may hold names and numbers too."""
    return support_of(Text(claim), Source(passage, heading))


def support_of(claim: Text, source: Source) -> Support:
    """`check_support`, of texts that are held against others too."""
    wanted = _weights(claim)
    match = _match(claim, wanted, source)
    if not any(character.isalpha() for word in wanted for character in word):  # a row of figures says nothing without its head
        return Support(False, ("empty",), 0.0, match.span)
    if _flat(claim.text) == _flat(match.best.text):
        return Support(True, (), 1.0, match.span)
    replaced = _replacements(claim, match.best)
    reasons: list[Reason] = []
    if _numbers_differ(claim, match, source, replaced):
        reasons.append("number")
    if _names_differ(claim, match, source, replaced):
        reasons.append("name")
    if _polarity_differs(claim, match):
        reasons.append("negation")
    if _direction_differs(claim, match, source, replaced):
        reasons.append("direction")
    if match.coverage < MIN_COVERAGE:
        reasons.append("coverage")
    return Support(not reasons, tuple(reasons), match.coverage, match.span)


def _flat(text: str) -> str:
    return " ".join(text.split()).strip(" .;:")


def _weights(claim: Text) -> dict[str, float]:
    """Content stems; a word with a digit or a capital says more than another."""
    weights: dict[str, float] = {}
    for token in claim.tokens:
        if token.content:
            heavy = any(character.isdigit() for character in token.text) or token.text[:1].isupper()
            weights[token.stem] = max(weights.get(token.stem, 0.0), 1.5 if heavy else 1.0)
    return weights


def _match(claim: Text, wanted: dict[str, float], source: Source) -> _Match:
    """The best sentence, and further ones while they add words that are still missing."""
    sentences = source.sentences
    total = sum(wanted.values()) or 1.0
    first, stems = min(sentences, key=lambda item: (-_covered(wanted, item[1]), len(item[1])))
    chosen, seen = [first], stems
    best = _covered(wanted, stems) / total
    while len(chosen) < _MAX_SENTENCES and best < _CLOSE:
        gains = [(_covered(wanted, other - seen), span, other) for span, other in sentences if span not in chosen]
        gain, span, other = max(gains, key=lambda item: item[0], default=(0.0, first, stems))
        if gain < 1.5:
            break
        chosen.append(span)
        seen |= other
    text = source.at(*chosen)
    seen = seen | source.heading.stems | _known_numbers(claim, source.headed(text))
    return _Match(source.at(first), text, first, _covered(wanted, seen) / total, best)


def _known_numbers(claim: Text, text: Text) -> frozenset[str]:
    """Stems of the claim's numbers that the text has in any spelling."""
    known = [ours for ours in claim.quantities if any(ours.same(other) for other in text.quantities)]
    return frozenset(token.stem for ours in known for token in Text(claim.text[ours.start : ours.end]).tokens)


def _covered(wanted: dict[str, float], stems: frozenset[str]) -> float:
    return sum(weight for word, weight in wanted.items() if word in stems)


_Replaced = Sequence[tuple[str, str]]


def _numbers_differ(claim: Text, match: _Match, source: Source, replaced: _Replaced) -> bool:
    known = [*match.text.quantities, *source.heading.quantities]
    if any(not quantity.weak and not _holds(known, quantity) for quantity in claim.quantities):
        return True
    return any(_numbers_clash(before, after) for before, after in replaced)


def _holds(known: list[Quantity], wanted: Quantity) -> bool:
    """Whether a quantity is among the known ones; where its value has a unit there, a bare number of that value is another one."""
    alike = [quantity for quantity in known if quantity.value == wanted.value]
    united = [quantity for quantity in alike if quantity.kind]
    return any(wanted.same(quantity) for quantity in united or alike)


def _numbers_clash(theirs: str, ours: str) -> bool:
    """Whether both sides of a replacement are numbers, and not the same ones."""
    left, right = quantities(theirs), quantities(ours)
    return bool(left and right) and not any(a.same(b) for a in left for b in right)


def _names_differ(claim: Text, match: _Match, source: Source, replaced: _Replaced) -> bool:
    ours = names_of(claim.text, source.text)
    if any(not is_known(name, source.name_parts, source.text) for name in ours):
        return True
    theirs = source.names_at(match.span)
    if any(_names_clash(before, after, ours, theirs) for before, after in replaced):
        return True
    return match.best_coverage >= 0.5 and _opener_swapped(claim, match.best, source.whole)


def _names_clash(before: str, after: str, ours: set[str], theirs: set[str]) -> bool:
    """Whether the claim puts a name where the sentence has another one, which the claim does not mention at all."""
    added = [name for name in ours if name in after and name not in before]
    removed = [name for name in theirs if name in before and name not in after and name not in ours]
    return bool(added and removed)


def _opener_swapped(claim: Text, sentence: Text, passage: Text) -> bool:
    """Whether the claim begins with another name than the sentence that it otherwise repeats."""
    ours, theirs = claim.tokens, sentence.tokens
    if not ours or not theirs or ours[0].stem == theirs[0].stem or not (ours[0].content and theirs[0].content):
        return False
    mine, yours = ours[0], theirs[0]
    if not (mine.text[:1].isupper() and yours.text[:1].isupper()) or mine.stem in passage.stems:
        return False
    if [token.stem for token in theirs[1:5]] != [token.stem for token in ours[1:5]]:
        return False
    return not looks_common(mine.text) and not looks_common(yours.text)


def _replacements(claim: Text, sentence: Text) -> list[tuple[str, str]]:
    """Stretches where the claim, laid beside the sentence, has other words in the same place: (sentence's, claim's)."""
    left, right = sentence.tokens, claim.tokens
    matcher = SequenceMatcher(None, [token.stem for token in left], [token.stem for token in right], autojunk=False)
    if matcher.ratio() < 0.5:
        return []
    changed = ((a, b, c, d) for tag, a, b, c, d in matcher.get_opcodes() if tag == "replace" and max(b - a, d - c) <= 6)
    return [(_slice(sentence.text, left, a, b), _slice(claim.text, right, c, d)) for a, b, c, d in changed]


def _slice(text: str, words: Sequence[Token], first: int, last: int) -> str:
    """The text of some words, with a sign of money, percent or joined digits beside them."""
    start, end = words[first].start, words[last - 1].end
    while start > 0 and text[start - 1] in "$€£-.," and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and text[end] in "%€":
        end += 1
    return text[start:end].lstrip(".,-")


def _polarity_differs(claim: Text, match: _Match) -> bool:
    """Whether one of claim and sentence denies a word that the other states."""
    ours, theirs = claim.terms, match.close.terms
    signs: dict[str, set[bool]] = {}
    for term in theirs:
        signs.setdefault(term.base, set()).add(term.negated)
    mine: dict[str, set[bool]] = {}
    for term in ours:
        mine.setdefault(term.base, set()).add(term.negated)
    if any(term.target and term.base in signs and term.negated not in signs[term.base] for term in ours):
        return True
    if any(term.target and term.base in mine and term.negated not in mine[term.base] for term in theirs):
        return True
    close = match.best_coverage >= _CLOSE
    return close and claim.denies != match.best.denies and (claim.denies or len(ours) >= 0.8 * len(match.best.terms))


def _direction_differs(claim: Text, match: _Match, source: Source, replaced: _Replaced) -> bool:
    """Whether claim and sentence point opposite ways, as wholes or where one has other words in the place of the other's."""
    theirs = match.close
    if apart(claim.poles, theirs.poles) or any(opposed(before, after) for before, after in replaced):
        return True
    return restricted_to_others(claim.text, theirs.text, lambda: source.headed(theirs).stems)


__all__ = ["MIN_COVERAGE", "Quantity", "Reason", "Support", "check_support", "support_of"]
