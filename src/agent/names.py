"""Names and codes in a text: which words are some, and whether another text knows them. Pure."""

from __future__ import annotations

import re

from ..util.terms import STOP_WORDS
from .quantities import quantities
from .units import unit_of

_NAME = re.compile(r"[^\W_]+(?:[-_/.'’&][^\W_]+)*")
_SENTENCE_ENDS, _BULLETS = frozenset(".!?:•"), frozenset("-–*")


def names_of(text: str, passage: str = "") -> set[str]:
    """Names and codes of a text: a capital that no sentence start explains, inner capitals, letters joined to digits.

    The first word of a sentence counts where ``passage`` writes it with a capital in the middle of one.
    """
    found: set[str] = set()
    for word in _NAME.finditer(text):
        name = word.group()
        if name.islower() and name.isalpha():  # most words: neither a name nor a code
            continue
        capital = name[:1].isupper() and not _plain_word(name)
        opener = capital and _opens(text, word.start())
        if _is_code(name) or (capital and not opener) or (opener and (_name_within(name, passage) or _is_owner(name))):
            found.add(name)
    return {name for name in found if not _is_unit(name, text)}


def _opens(text: str, at: int) -> bool:
    """Whether what stands there begins a text, a line, a sentence or a bullet of a list."""
    before = text[:at]
    said = before.rstrip()
    if not said or said[-1] in _SENTENCE_ENDS or "\n" in before[len(said) :]:
        return True
    if said[-1] not in _BULLETS or len(said) == len(before):
        return False
    lead = said[:-1].rstrip()
    return not lead or "\n" in said[len(lead) : -1]


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
    return owner != name and not looks_common(owner)


def _name_within(name: str, passage: str) -> bool:
    return any(not _opens(passage, match.start()) for match in re.finditer(rf"\b{re.escape(name)}\b", passage))


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


def name_parts(text: str) -> set[str]:
    return {
        part.casefold().removesuffix("'s").removesuffix("’s") for word in _NAME.finditer(text) for part in (word.group(), *re.split(r"[-_/.'’&]", word.group()))
    }


def is_known(name: str, parts: set[str], text: str) -> bool:
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


_COMMON_ENDING = re.compile(r"(?:ing|tion|sion|ment|ness|ity|ers|ors|ees|ies|ly|ants|ents|als|ous|ive|able|ful|ings|tions|ments|ance|ence|ages|ed|yone|body)$")
_COMMON = frozenset(
    """
    people staff workers users customers clients patients members teams children women men students parents data results
    studies work time system systems services service products product costs cost prices price rates rate tax taxes plan plans
    company business firm group team person user customer worker employee member manager patient child woman man student
    water food health money card file files key keys access code page pages list form forms test tests type types
    """.split()
)


def looks_common(word: str) -> bool:
    folded = word.casefold()
    return folded in _COMMON or bool(_COMMON_ENDING.search(folded))
