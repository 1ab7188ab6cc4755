"""Which way a sentence points: up or down, before or after, at least or at most, must or may. Opposites that no "not" marks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from ..util.terms import tokens

Poles = Mapping[str, AbstractSet[str]]
"""Of each axis that a text points on, the poles that it names."""

# Each axis and its two poles.
_AXES = {
    "change": (
        "increas(?:e|es|ed|ing)|rises?|rose|risen|rising|grows?|grew|grown|growing|growth|rais(?:e|es|ed|ing)|climb(?:s|ed|ing)?|gain(?:s|ed|ing)?|went up",
        "decreas(?:e|es|ed|ing)|falls?|fell|fallen|falling|drop(?:s|ped|ping)?|declin(?:e|es|ed|ing)|reduc(?:e|es|ed|ing|tions?)|shrinks?|shrank"
        "|lower(?:s|ed|ing)|diminish(?:es|ed|ing)?|went down|los(?:e|es|t|ing)",
    ),
    "result": ("gains?|profits?|surplus(?:es)?", "loss(?:es)?|deficits?"),
    "amount": (
        r"more|above|greater|higher|over(?= [$€£]?\d)|exceed(?:s|ed|ing)?|in excess of|(?:no|not) (?:less|fewer) than",
        r"less|fewer|below|lower|smaller|under(?= [$€£]?\d)|(?:no|not) more than",
    ),
    "level": ("high|highest|upper|top", "low|lowest|lower|bottom"),
    "bound": (
        "minimum|min|at least|(?:no|not) (?:less|fewer) than|or (?:more|above)",
        "maximum|max|at most|(?:no|not) more than|not exceed(?:ing)?|up to|or (?:less|fewer|below)",
    ),
    "order": ("before|prior to|earlier|(?:no|not) later than", "after|afterwards|later|following|(?:no|not) earlier than"),
    "duty": ("must|shall|ha(?:s|ve|d) to|required to|obliged to|mandatory|obligatory|compulsory", "may|might|optional|optionally|voluntary|allowed to|free to"),
    "opening": ("open(?:s|ed|ing)?", "clos(?:e|es|ed|ing)|shuts?"),
    "beginning": ("start(?:s|ed|ing)?|beg[iau]ns?|beginning", "end(?:s|ed|ing)?|finish(?:es|ed|ing)?|stop(?:s|ped|ping)?|expire[sd]?"),
    "switch": ("enabl(?:e|es|ed|ing)", "disabl(?:e|es|ed|ing)"),
    "trade": ("buys?|bought|buying|purchas(?:e|es|ed|ing)", "sells?|sold|selling"),
    "border": ("import(?:s|ed|ing)?", "export(?:s|ed|ing)?"),
    "place": ("inside|within", "outside"),
    "rank": ("first|earliest", "last|latest|final"),
}
# "May" with a capital is a month, or opens a question.
_PATTERNS = {axis: re.compile(rf"\b(?:(?P<one>{one})|(?P<other>{other}))\b", re.IGNORECASE if axis != "duty" else 0) for axis, (one, other) in _AXES.items()}
_DENIED = re.compile(r"\b(?:no|not|never|nor|neither|without|cannot|\w+n['’]t)\s+(?:\w+\s+){0,2}$", re.IGNORECASE)
_ONLY = re.compile(r"\b(?:only|solely|exclusively)\b", re.IGNORECASE)


def opposed(one: str, other: str) -> bool:
    """Whether two texts point opposite ways on any axis: each has one pole of it, and not the other's."""
    return apart(poles_of(one), poles_of(other))


def apart(ours: Poles, theirs: Poles) -> bool:
    """`opposed`, of texts whose poles are known."""
    return any(axis in theirs and not poles & theirs[axis] for axis, poles in ours.items())


def poles_of(text: str) -> Poles:
    """The poles that a text names, by axis."""
    return {axis: poles for axis, pattern in _PATTERNS.items() if (poles := _poles(pattern, text))}


def _poles(pattern: re.Pattern[str], text: str) -> set[str]:
    """The poles that a text names; a denied one says nothing certain ("did not rise" is no fall) and is left to `polarity`."""
    return {match.lastgroup or "" for match in pattern.finditer(text) if not _DENIED.search(text[max(0, match.start() - 40) : match.start()])}


def restricted_to_others(claim: str, text: str, known: Callable[[], AbstractSet[str]]) -> bool:
    """Whether both restrict something with "only", and the claim to what ``known`` (stems) does not hold: "students only"."""
    if not (_ONLY.search(claim) and _ONLY.search(text)):
        return False
    stems, words = known(), tokens(claim)
    for match in _ONLY.finditer(claim):
        before = [token.stem for token in words if token.content and token.end <= match.start()][-1:]
        after = [token.stem for token in words if token.content and token.start >= match.end()][:1]
        beside = {*before, *after} if re.match(r"\W*\w", claim[match.end() :]) and not _ends_clause(claim, match.end()) else {*before}
        if beside and not beside & stems:
            return True
    return False


def _ends_clause(text: str, at: int) -> bool:
    return re.match(r"\s*[.,;:!?)]", text[at:]) is not None
