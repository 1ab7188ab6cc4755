"""What a sentence denies: which of its words stand under a negation, whether by "not" or by a word such as "prohibited"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..util.terms import Token, stem, tokens

_CUES = frozenset(
    """
    not no never none nobody nothing neither nor cannot without unless except excepting nowhere hardly barely
    kein keine keinen keiner nicht nie niemals ohne
    """.split()
)
# Words that mean the denial of another word: both sides compare as the base, with opposite signs.
_OPPOSITES = {
    "allow": "prohibit forbid ban disallow bar prevent prohibition",
    "able": "unable inability",
    "legal": "illegal unlawful",
    "possible": "impossible",
    "fail": "",
    "include": "exclude exclusion",
    "accept": "reject refuse decline",
    "always": "",
}
_SAME = {"permit": "allow", "permissible": "allow", "inclusion": "include", "including": "include", "lawful": "legal", "permission": "allow"}
_PREFIXED = re.compile(
    r"^(?:un(?=able|avail|eligib|authori|paid|limit|restrict|necess|safe|like|insur|employ|cover|use|change|known|accept|reasonab|qualif|approv|tax|support)"
    r"|in(?=eligib|valid|active|complete|correct|accura|adequa|sufficien|appropriat|dependent|effective|voluntar|secure)"
    r"|im(?=possib|proper|permiss)|ir(?=relevan|regular|responsib)|dis(?=allow|qualif|continu|approv|connect|satisf|honest)|non-?)",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[,;:.!?()–—]|\b(?:but|although|though|while|whereas|because|if|when|that|which|who|and|or|aber|wenn|dass)\b", re.IGNORECASE)
_NOT_A_CUE = re.compile(
    r"\bnot (?:only|just|merely|necessarily)\b|\bwhether or not\b|\bno\.\s*(?=\d)|\bno one else\b|\bif not\b"
    r"|\b(?:no|not) (?:more|less|fewer|longer|later|earlier) than\b",
    re.IGNORECASE,
)
_REACH = 4
"""Content words that one negation covers at most, within its clause."""


def _lexicon() -> tuple[dict[str, str], dict[str, str]]:
    negative = {stem(word): stem(base) for base, words in _OPPOSITES.items() for word in words.split()}
    same = {stem(word): stem(base) for word, base in _SAME.items()}
    return negative, same


@dataclass(frozen=True, slots=True)
class Term:
    """One content word: its base, whether it is denied, and whether the denial is aimed at it first of all."""

    base: str
    negated: bool
    target: bool
    start: int


def terms(sentence: str, words: Sequence[Token] | None = None) -> list[Term]:
    """The content words of a sentence with their polarity, in order.

    Args:
        words: its tokens, where they are known already.
    """
    negative, same = _lexicon_cached()
    words = tokens(sentence) if words is None else words
    covered, targets = _scopes(sentence, words)
    found: list[Term] = []
    for index, token in enumerate(words):
        if not token.content or _is_cue(token):
            continue
        base, denied = _base(token, negative, same)
        found.append(Term(base, denied != (index in covered), denied or index in targets, token.start))
    return found


def has_negation(sentence: str, words: Sequence[Token], found: Iterable[Term]) -> bool:
    """Whether any word of the sentence is denied, or denies; its tokens and `terms` are given."""
    return bool(_cues(sentence, words)) or any(term.negated for term in found)


_cache: list[tuple[dict[str, str], dict[str, str]]] = []


def _lexicon_cached() -> tuple[dict[str, str], dict[str, str]]:
    if not _cache:
        _cache.append(_lexicon())
    return _cache[0]


def _base(token: Token, negative: dict[str, str], same: dict[str, str]) -> tuple[str, bool]:
    if token.stem in negative:
        return negative[token.stem], True
    match = _PREFIXED.match(token.text)
    if match and len(token.text) - match.end() >= 3:
        return same.get(rest := stem(token.text[match.end() :]), rest), True
    return same.get(token.stem, token.stem), False


def _is_cue(token: Token) -> bool:
    folded = token.text.casefold().replace("’", "'")
    return folded in _CUES or folded.endswith("n't")


def _cues(sentence: str, words: Sequence[Token]) -> list[int]:
    masked = [(match.start(), match.end()) for match in _NOT_A_CUE.finditer(sentence)]
    return [index for index, token in enumerate(words) if _is_cue(token) and not any(start <= token.start < end for start, end in masked)]


def _scopes(sentence: str, words: Sequence[Token]) -> tuple[set[int], set[int]]:
    """Indices of the words that negations cover, an odd number of times, and of those that each is aimed at."""
    covered: set[int] = set()
    targets: set[int] = set()
    for cue in _cues(sentence, words):
        reach = _reach(sentence, words, cue)
        covered ^= set(reach)
        targets |= set(reach[:1])
    return covered, targets


def _reach(sentence: str, words: Sequence[Token], cue: int) -> list[int]:
    """The content words after a cue up to the end of its clause; where there is none, the one before it ("may not, however")."""
    found: list[int] = []
    for index in range(cue + 1, len(words)):
        between = sentence[words[index - 1].end : words[index].end]
        if found and (_CLAUSE_END.search(between) or _is_cue(words[index])):
            break
        if not found and re.search(r"[.;!?]", sentence[words[index - 1].end : words[index].start]):
            break
        if words[index].content and not _is_cue(words[index]):
            found.append(index)
            if len(found) == _REACH:
                break
    if found:
        return found
    before = [index for index in range(cue) if words[index].content]
    return before[-1:]
