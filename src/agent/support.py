"""Does a sentence follow from a passage? Checked without a model: numbers, names, negation and the words they share.

A claim is compared with the sentences of the passage that match it best. It is unsupported when it holds a number or a
name that stands neither there nor in the passage's heading, puts another number or name in the place where the sentence
has one, denies what the sentence states (or the other way round), points the other way ("rose" for "fell", "before" for
"after"), or shares too few content words with it.
`benchmarks/bench_support.py` prints how often swapped facts are caught and how often true sentences are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from ..util.sentences import sentence_spans
from ..util.terms import STOP_WORDS, Token, tokens
from .directions import opposed, restricted_to_others
from .polarity import has_negation, terms
from .quantities import Quantity, quantities
from .units import unit_of

Reason = Literal["number", "name", "negation", "direction", "coverage", "empty"]

MIN_COVERAGE = 0.55
"""Least share of a claim's content words that the matched sentences and the heading must hold."""
_CLOSE = 0.8
"""From this coverage on, a claim counts as the sentence itself, perhaps reworded: what differs then was swapped."""
_MAX_SENTENCES = 3
"""Sentences of a passage that one claim may draw together."""

_NAME = re.compile(r"[^\W_]+(?:[-_/.'’&][^\W_]+)*")
_OPENER = re.compile(r"(?:^|[.!?:•]|(?:^|\n)\s*[-–*]\s|\n)\s*$")


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

    best: str
    text: str
    span: tuple[int, int]
    coverage: float
    best_coverage: float


def check_support(claim: str, passage: str, heading: str = "") -> Support:
    """Whether ``claim`` follows from ``passage``; ``heading`` (title and section) may hold names and numbers too."""
    wanted = _weights(claim)
    match = _match(claim, wanted, passage, heading)
    if not any(character.isalpha() for word in wanted for character in word):  # a row of figures says nothing without its head
        return Support(False, ("empty",), 0.0, match.span)
    if _flat(claim) == _flat(match.best):
        return Support(True, (), 1.0, match.span)
    reasons: list[Reason] = []
    if _numbers_differ(claim, match, heading):
        reasons.append("number")
    if _names_differ(claim, passage, match, heading):
        reasons.append("name")
    if _polarity_differs(claim, match):
        reasons.append("negation")
    if _direction_differs(claim, match, heading):
        reasons.append("direction")
    if match.coverage < MIN_COVERAGE:
        reasons.append("coverage")
    return Support(not reasons, tuple(reasons), match.coverage, match.span)


def _flat(text: str) -> str:
    return " ".join(text.split()).strip(" .;:")


def _weights(text: str) -> dict[str, float]:
    """Content stems; a word with a digit or a capital says more than another."""
    weights: dict[str, float] = {}
    for token in tokens(text):
        if token.content:
            heavy = any(character.isdigit() for character in token.text) or token.text[:1].isupper()
            weights[token.stem] = max(weights.get(token.stem, 0.0), 1.5 if heavy else 1.0)
    return weights


def _match(claim: str, wanted: dict[str, float], passage: str, heading: str) -> _Match:
    """The best sentence, and further ones while they add words that are still missing."""
    spans = sentence_spans(passage) or [(0, len(passage))]
    sentences = [(span, {token.stem for token in tokens(passage[span[0] : span[1]])}) for span in spans]
    total = sum(wanted.values()) or 1.0
    (first, stems), *_ = sorted(sentences, key=lambda item: (-_covered(wanted, item[1]), len(item[1])))
    chosen, seen = [first], set(stems)
    best = _covered(wanted, stems) / total
    while len(chosen) < _MAX_SENTENCES and best < _CLOSE:
        gains = [(_covered(wanted, other - seen), span, other) for span, other in sentences if span not in chosen]
        gain, span, other = max(gains, key=lambda item: item[0], default=(0.0, first, stems))
        if gain < 1.5:
            break
        chosen.append(span)
        seen |= other
    text = "\n".join(passage[a:b] for a, b in chosen)
    seen |= {token.stem for token in tokens(heading)} | _known_numbers(claim, f"{text}\n{heading}")
    return _Match(passage[first[0] : first[1]], text, first, _covered(wanted, seen) / total, best)


def _known_numbers(claim: str, text: str) -> set[str]:
    """Stems of the claim's numbers that the text has in any spelling."""
    theirs = quantities(text)
    known = [ours for ours in quantities(claim) if any(ours.same(other) for other in theirs)]
    return {token.stem for ours in known for token in tokens(claim[ours.start : ours.end])}


def _covered(wanted: dict[str, float], stems: set[str]) -> float:
    return sum(weight for word, weight in wanted.items() if word in stems)


def _numbers_differ(claim: str, match: _Match, heading: str) -> bool:
    ours, theirs = quantities(claim), quantities(match.text)
    known = [*theirs, *quantities(heading)]
    if any(not quantity.weak and not _holds(known, quantity) for quantity in ours):
        return True
    return any(_numbers_clash(before, after) for before, after in _replacements(claim, match.best))


def _holds(known: list[Quantity], wanted: Quantity) -> bool:
    """Whether a quantity is among the known ones; where its value has a unit there, a bare number of that value is another one."""
    alike = [quantity for quantity in known if quantity.value == wanted.value]
    united = [quantity for quantity in alike if quantity.kind]
    return any(wanted.same(quantity) for quantity in united or alike)


def _numbers_clash(theirs: str, ours: str) -> bool:
    """Whether both sides of a replacement are numbers, and not the same ones."""
    left, right = quantities(theirs), quantities(ours)
    return bool(left and right) and not any(a.same(b) for a in left for b in right)


def _names_differ(claim: str, passage: str, match: _Match, heading: str) -> bool:
    known = _name_parts(f"{passage}\n{heading}")
    ours = _names(claim, passage)
    if any(not _known(name, known, passage) for name in ours):
        return True
    theirs = _names(match.best, passage)
    if any(_names_clash(before, after, ours, theirs) for before, after in _replacements(claim, match.best)):
        return True
    return match.best_coverage >= 0.5 and _opener_swapped(claim, match.best, f"{passage}\n{heading}")


def _names_clash(before: str, after: str, ours: set[str], theirs: set[str]) -> bool:
    """Whether the claim puts a name where the sentence has another one, which the claim does not mention at all."""
    added = [name for name in ours if name in after and name not in before]
    removed = [name for name in theirs if name in before and name not in after and name not in ours]
    return bool(added and removed)


def _names(text: str, passage: str = "") -> set[str]:
    """Names and codes of a text: a capital that no sentence start explains, inner capitals, letters joined to digits.

    The first word of a sentence counts where ``passage`` writes it with a capital in the middle of one.
    """
    found: set[str] = set()
    for word in _NAME.finditer(text):
        name = word.group()
        capital = name[:1].isupper() and not _plain_word(name)
        opener = capital and bool(_OPENER.search(text[: word.start()]))
        if _is_code(name) or (capital and not opener) or (opener and (_name_within(name, passage) or _is_owner(name))):
            found.add(name)
    return {name for name in found if not _is_unit(name, text)}


def _is_unit(name: str, text: str) -> bool:
    """Whether a word that looks like a code ("GBP", "kWh") is a unit wherever it occurs: with its number it is a quantity."""
    if not unit_of(name):
        return False
    places = [match.span() for match in re.finditer(rf"\b{re.escape(name)}\b", text)]
    spans = [(quantity.start, quantity.end) for quantity in quantities(text)]
    return all(any(first <= start and end <= last for first, last in spans) for start, end in places)


def _is_owner(name: str) -> bool:
    """A possessive ("Northmoor's") at the start of a sentence, unless it looks like a common noun's."""
    owner = re.sub(r"['’]s$", "", name)
    return owner != name and not _looks_common(owner)


def _name_within(name: str, passage: str) -> bool:
    return any(not _OPENER.search(passage[: match.start()]) for match in re.finditer(rf"\b{re.escape(name)}\b", passage))


def _is_code(name: str) -> bool:
    letters = [character for character in name if character.isalpha()]
    digits = any(character.isdigit() for character in name)
    if digits:
        return len(letters) > 0 and name[0].isalpha() and not quantities(name)
    return len(letters) > 1 and any(character.isupper() for character in name[1:] if character.isalpha()) and not _plain_word(name)


def _plain_word(name: str) -> bool:
    """A word that is written with a capital for other reasons than being a name: grammar, months (they are numbers), "I"."""
    folded = name.casefold().replace("’", "'")
    return folded in STOP_WORDS or len(folded) == 1 or folded in _NEVER_NAMES or bool([q for q in quantities(name) if q.kind in ("month", "ordinal", "")])


_NEVER_NAMES = frozenset("not no never none without unless except cannot don't yes".split())


def _name_parts(text: str) -> set[str]:
    return {
        part.casefold().removesuffix("'s").removesuffix("’s") for word in _NAME.finditer(text) for part in (word.group(), *re.split(r"[-_/.'’&]", word.group()))
    }


def _known(name: str, parts: set[str], text: str) -> bool:
    """Whether a name occurs: as it is, by each of its parts, without a plural s, or as the initials of a longer one."""
    folded = name.casefold().removesuffix("'s").removesuffix("’s")
    if folded in parts or folded.rstrip("s") in parts or f"{folded}s" in parts:
        return True
    if not any(character.isdigit() for character in folded) and all(piece in parts for piece in re.split(r"[-_/.'’&]", folded) if piece):
        return True
    return name.isupper() and len(name) > 1 and _initials(name, text)


def _initials(name: str, text: str) -> bool:
    pattern = r"[\s-]+(?:(?:of|and|the|for|in)\s+)?".join(rf"{letter}\w+" for letter in name)
    return re.search(rf"\b{pattern}", text) is not None


def _opener_swapped(claim: str, sentence: str, passage: str) -> bool:
    """Whether the claim begins with another name than the sentence that it otherwise repeats."""
    ours, theirs = tokens(claim), tokens(sentence)
    if not ours or not theirs or ours[0].stem == theirs[0].stem or not (ours[0].content and theirs[0].content):
        return False
    mine, yours = ours[0], theirs[0]
    if not (mine.text[:1].isupper() and yours.text[:1].isupper()) or _occurs(mine, passage):
        return False
    if [token.stem for token in theirs[1:5]] != [token.stem for token in ours[1:5]]:
        return False
    return not _looks_common(mine.text) and not _looks_common(yours.text)


def _occurs(token: Token, text: str) -> bool:
    return any(other.stem == token.stem for other in tokens(text))


_COMMON_ENDING = re.compile(r"(?:ing|tion|sion|ment|ness|ity|ers|ors|ees|ies|ly|ants|ents|als|ous|ive|able|ful|ings|tions|ments|ance|ence|ages|ed|yone|body)$")
_COMMON = frozenset(
    """
    people staff workers users customers clients patients members teams children women men students parents data results
    studies work time system systems services service products product costs cost prices price rates rate tax taxes plan plans
    company business firm group team person user customer worker employee member manager patient child woman man student
    water food health money card file files key keys access code page pages list form forms test tests type types
    """.split()
)


def _looks_common(word: str) -> bool:
    folded = word.casefold()
    return folded in _COMMON or bool(_COMMON_ENDING.search(folded))


def _replacements(claim: str, sentence: str) -> list[tuple[str, str]]:
    """Stretches where the claim, laid beside the sentence, has other words in the same place: (sentence's, claim's)."""
    left, right = tokens(sentence), tokens(claim)
    matcher = SequenceMatcher(None, [token.stem for token in left], [token.stem for token in right], autojunk=False)
    if matcher.ratio() < 0.5:
        return []
    return [
        (_slice(sentence, left, a, b), _slice(claim, right, c, d)) for tag, a, b, c, d in matcher.get_opcodes() if tag == "replace" and max(b - a, d - c) <= 6
    ]


def _slice(text: str, words: list[Token], first: int, last: int) -> str:
    """The text of some words, with a sign of money, percent or joined digits beside them."""
    start, end = words[first].start, words[last - 1].end
    while start > 0 and text[start - 1] in "$€£-.," and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and text[end] in "%€":
        end += 1
    return text[start:end].lstrip(".,-")


def _polarity_differs(claim: str, match: _Match) -> bool:
    """Whether one of claim and sentence denies a word that the other states."""
    theirs = terms(match.best if match.best_coverage >= _CLOSE else match.text)
    ours = terms(claim)
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
    return close and has_negation(claim) != has_negation(match.best) and (has_negation(claim) or len(ours) >= 0.8 * len(terms(match.best)))


def _direction_differs(claim: str, match: _Match, heading: str) -> bool:
    """Whether claim and sentence point opposite ways, as wholes or where one has other words in the place of the other's."""
    theirs = match.best if match.best_coverage >= _CLOSE else match.text
    if opposed(claim, theirs) or any(opposed(before, after) for before, after in _replacements(claim, match.best)):
        return True
    return restricted_to_others(claim, theirs, (token.stem for token in tokens(f"{theirs}\n{heading}")))


__all__ = ["MIN_COVERAGE", "Quantity", "Reason", "Support", "check_support"]
