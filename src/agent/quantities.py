"""Numbers of a text as values that compare: "1,000", "1000" and "one thousand" are one quantity, "5%", "5 kg" and "5 g" are not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import MAX_EMAX, Context, Decimal

from .units import CURRENCY, UNIT, agree, unit_of

_UNITS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
    )
}
_TENS = {word: (i + 2) * 10 for i, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())}
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_SUFFIX = {"k": 10**3, "m": 10**6, "mn": 10**6, "bn": 10**9, "b": 10**9} | {word: value for word, value in _SCALES.items() if value > 12}
_ORDINALS = {
    word: value
    for value, word in enumerate("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth".split(), 1)
}
_MODAL = ("May",)
_MONTHS = {
    name: value
    for value, names in enumerate(
        [
            "january jan januar",
            "february feb februar",
            "march mar märz",
            "april apr",
            "may mai",
            "june jun juni",
            "july jul juli",
            "august aug",
            "september sept sep",
            "october oct oktober",
            "november nov",
            "december dec dezember",
        ],
        1,
    )
    for name in names.split()
}
_WORD_NUMBER = "|".join(sorted([*_UNITS, *_TENS, *_SCALES], key=len, reverse=True))

_ISO = re.compile(r"(?<![\w.-])(\d{4})-(\d{2})-(\d{2})(?![\w-])")
_TIME = re.compile(r"(?<![\w.:])(\d{1,2})(?:[:.](\d{2}))?\s?([ap])\.?m\b\.?|(?<![\w.:])([01]?\d|2[0-3]):([0-5]\d)(?::[0-5]\d)?(?![\w:])", re.IGNORECASE)
_DIGITS = re.compile(
    rf"(?<![\w])(?<!\w\.)(?P<sign>[-−])?(?P<currency>{CURRENCY})?\s?(?P<number>\d{{1,3}}(?:[,\u00a0\u202f]\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)*)"
    # "5 m" are metres, "5m" and "$5 m" millions
    r"(?P<ordinal>(?:st|nd|rd|th)\b)?(?:\s?(?P<suffix>thousand|million|billion|trillion|bn|mn|[kK]|[bB])\b|(?P<millions>[mM]|(?(currency)\s[mM]|(?!)))\b(?![²³]))?"
    rf"(?:{UNIT})?",
)
_WORDS = re.compile(
    rf"\b(?:(?:a|an)(?=\s+(?:hundred|thousand|million|billion|dozen)\b)\s+)?(?:{_WORD_NUMBER})(?:(?:[\s-]+|\s+and\s+)(?:{_WORD_NUMBER}))*\b"
    rf"(?:{UNIT})?",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"\b(?:an?|per|each|every)(?=\s)" + UNIT, re.IGNORECASE)
_ORDINAL = re.compile(rf"\b(?:{'|'.join(_ORDINALS)})\b", re.IGNORECASE)
_ANY_DIGIT = re.compile(r"\d")
_LETTERS = re.compile(r"[a-z]+")
_MONTH = re.compile(rf"\b(?:{'|'.join(name.capitalize() for name in sorted(_MONTHS, key=len, reverse=True))})\b")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and where it stands.

    ``value`` is text in one normal form, so that versions ("4.2.1") compare too; times are minutes after midnight.
    ``kind`` is ``percent``, ``ordinal``, ``time`` (of a day), ``month``, a unit or currency of `units`, or empty for a bare number.
    ``weak`` marks words that often are no number ("one", "first", "second"): their absence elsewhere proves nothing.
    """

    value: str
    kind: str
    start: int
    end: int
    weak: bool = False

    def same(self, other: Quantity) -> bool:
        """Equal values of kinds that agree; a bare number agrees with every kind, two different units never agree."""
        return self.value == other.value and agree(self.kind, other.kind)


def quantities(text: str) -> list[Quantity]:
    """The numbers of ``text`` in order; a number inside a code such as "F-204" is part of the code and not listed."""
    taken: list[tuple[int, int]] = []
    found: list[Quantity] = []
    words = frozenset(_LETTERS.findall(text.casefold()))
    digits = _ANY_DIGIT.search(text) is not None
    for finder, needed in _FINDERS:
        if not (digits if needed is None else words & needed):
            continue
        found += [quantity for quantity in finder(text) if all(quantity.end <= start or quantity.start >= end for start, end in taken)]
        taken = [(quantity.start, quantity.end) for quantity in found]
    return sorted(found, key=lambda quantity: quantity.start)


def _dates(text: str) -> list[Quantity]:
    found: list[Quantity] = []
    for match in _ISO.finditer(text):
        kinds = ("", "month", "")
        found += [Quantity(_plain(Decimal(match[i])), kind, match.start(i), match.end(i)) for i, kind in enumerate(kinds, 1)]
    return found


def _times(text: str) -> list[Quantity]:
    found = []
    for match in _TIME.finditer(text):
        if match[3]:
            hour = int(match[1]) % 12 + (12 if match[3].lower() == "p" else 0)
            minutes = hour * 60 + int(match[2] or 0)
        else:
            minutes = int(match[4]) * 60 + int(match[5])
        found.append(Quantity(str(minutes), "time", match.start(), match.end()))
    return found


def _months(text: str) -> list[Quantity]:
    """Months by name. Case matters, "may" and "march" are verbs; "May" opens questions, so it is weak."""
    return [
        Quantity(str(_MONTHS[match.group().casefold()]), "month", match.start(), match.end(), weak=match.group() in _MODAL) for match in _MONTH.finditer(text)
    ]


def _digits(text: str) -> list[Quantity]:
    found = []
    for match in _DIGITS.finditer(text):
        if not match["currency"] and _inside_code(text, match.start("number")):
            continue
        raw = re.sub(r"[,\u00a0\u202f]", "", match["number"])
        scale = _SUFFIX["m"] if match["millions"] else _SUFFIX.get((match["suffix"] or "").lower(), 1)
        value = raw if raw.count(".") > 1 else _plain(Context(prec=len(raw) + 15).multiply(Decimal(raw), scale))
        sign = "-" if match["sign"] and not text[: match.start("sign")].rstrip()[-1:].isdigit() else ""
        found.append(Quantity(sign + value, _kind(match), match.start(), match.end()))
    return found


def _inside_code(text: str, start: int) -> bool:
    """Whether letters are joined to the digits: "F-204", "v2.1", "A4", but not "30-day" or "5kg"."""
    return re.search(r"[A-Za-z][-_/]?$", text[max(0, start - 2) : start]) is not None


def _number_words(text: str) -> list[Quantity]:
    found = []
    for match in _WORDS.finditer(text):
        words = re.findall(r"[a-z]+", match.group().lower())
        parts = [word for word in words if word in _UNITS or word in _TENS or word in _SCALES]
        kind = unit_of(match["unit"])
        found.append(Quantity(_plain(_spelled(parts)), kind, match.start(), match.end(), weak=parts == ["one"] and not kind))
    return found


_UNTRAPPED = Context(prec=60, Emax=MAX_EMAX, traps=[])
"""Nobody spells out more digits; "trillion" repeated for pages must not raise."""


def _spelled(parts: list[str]) -> Decimal:
    total, group = Decimal(0), Decimal(0)
    for word in parts:
        if word in _SCALES:
            group = _UNTRAPPED.multiply(group if group >= 1 else Decimal(1), _SCALES[word])
            if _SCALES[word] >= 1000:
                total, group = _UNTRAPPED.add(total, group), Decimal(0)
        else:
            group = _UNTRAPPED.add(group, _UNITS.get(word, 0) + _TENS.get(word, 0))
    return _UNTRAPPED.add(total, group)


def _ordinal_words(text: str) -> list[Quantity]:
    return [Quantity(str(_ORDINALS[match.group().lower()]), "ordinal", match.start(), match.end(), weak=True) for match in _ORDINAL.finditer(text)]


def _articles(text: str) -> list[Quantity]:
    """ "a day", "per year": one of them, for a claim that says "one day"."""
    return [Quantity("1", unit_of(match["unit"]), match.start(), match.end(), weak=True) for match in _ARTICLE.finditer(text)]


_FINDERS = (
    (_dates, None),
    (_times, None),
    (_months, frozenset(_MONTHS) | {"m"}),  # of "märz"
    (_digits, None),
    (_number_words, frozenset({*_UNITS, *_TENS, *_SCALES})),
    (_ordinal_words, frozenset(_ORDINALS)),
    (_articles, frozenset({"a", "an", "per", "each", "every"})),
)
"""Each with the words without one of which it finds nothing; None: without a digit. Most sentences have none of most."""


def _kind(match: re.Match[str]) -> str:
    if match["ordinal"]:
        return "ordinal"
    return unit_of(match["currency"] or match["unit"])


def _plain(value: Decimal) -> str:
    """Exact, without exponent, leading zeros, or zeros behind the point."""
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text.lstrip("0") or "0"
