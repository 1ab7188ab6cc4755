"""Pairs of claim and passage for the check of support, made from sentences of the real collections, seeded.

True pairs: a sentence of the passage, or a light rewording of it that keeps its facts. False pairs: the same sentence with
one number, one name, one unit, one direction ("before" for "after") or the negation swapped. The swaps know nothing of the
check: names are recognised by being written with a capital in the middle of sentences all over a collection, and their
replacement comes from another document.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

COLLECTIONS = ("contoso-hr", "aws-docs-small", "mtrag-un-pooled", "scifact", "xquad-en")

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_CAPITAL = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}\b")
_NUMBER = re.compile(r"(?<![\w.,/-])\d{1,3}(?:,\d{3})+(?![\w,])|(?<![\w.,/-])\d+(?:\.\d+)?(?![\w,/-]|\.\d)")
_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten", 12: "twelve", 20: "twenty", 30: "thirty"}
_SPELLED = re.compile(rf"\b(?:{'|'.join(_WORDS.values())})\b")
_AUXILIARY = re.compile(r"\b(is|are|was|were|can|may|must|will|should|does|do|did|has|have|could|would) (?!not\b|been\b|no\b)(?=[a-z])")
_CONTRACTED = {"do not": "don't", "does not": "doesn't", "is not": "isn't", "are not": "aren't", "cannot": "can't", "will not": "won't", "did not": "didn't"}
_SYNONYMS = {
    "employees": "staff",
    "must": "have to",
    "provide": "offer",
    "provides": "offers",
    "use": "employ",
    "obtain": "get",
    "begin": "start",
    "help": "assist",
    "show": "demonstrate",
    "large": "big",
    "important": "significant",
    "additional": "further",
    "about": "approximately",
    "ensure": "make sure",
    "require": "need",
    "requires": "needs",
    "also": "in addition",
    "however": "but",
    "choose": "select",
    "receive": "get",
    "purchase": "buy",
}
_UNITS = [
    ["seconds", "minutes", "hours", "days", "weeks", "months", "years"],
    ["second", "minute", "hour", "day", "week", "month", "year"],
    ["mg", "g", "kg"],
    ["mm", "cm", "km", "miles", "feet", "inches"],
    ["KB", "MB", "GB", "TB"],
    ["percent", "percentage points", "dollars", "euros"],
]
_UNIT = re.compile(r"(?<=\d )(?:[a-z]+ points|[A-Za-z]+)\b|(?<=\d-)(?:minute|hour|day|week|month|year)\b|(?<=\d)%|[$€£](?=\d)")
_DIRECTIONS = [
    ("increase", "decrease"),
    ("increases", "decreases"),
    ("increased", "decreased"),
    ("rise", "fall"),
    ("rises", "falls"),
    ("rose", "fell"),
    ("grew", "shrank"),
    ("gain", "loss"),
    ("gained", "lost"),
    ("above", "below"),
    ("more than", "less than"),
    ("higher", "lower"),
    ("highest", "lowest"),
    ("before", "after"),
    ("minimum", "maximum"),
    ("at least", "at most"),
    ("must", "may"),
    ("enable", "disable"),
    ("enabled", "disabled"),
    ("opened", "closed"),
]


@dataclass(frozen=True, slots=True)
class Pair:
    kind: str
    claim: str
    passage: str
    heading: str
    true: bool


def load_pairs(data: Path, seed: int = 7, per_kind: int = 60) -> list[Pair]:
    """About ``per_kind`` pairs of each kind from each collection that lies in ``data``."""
    pairs: list[Pair] = []
    for name in COLLECTIONS:
        path = data / name / "corpus.jsonl"
        if path.is_file():
            pairs += _of_collection(path, random.Random(f"{seed}-{name}"), per_kind)
    return pairs


def _of_collection(path: Path, rng: random.Random, per_kind: int) -> list[Pair]:
    documents = [json.loads(line) for line in path.open(encoding="utf-8")]
    passages = [(doc.get("title", ""), passage) for doc in documents for passage in _passages(doc["text"])]
    rng.shuffle(passages)
    names = _collection_names(passages)
    makers: dict[str, Callable[[str], str | None]] = {
        "verbatim": lambda s: s,
        "contraction": _contract,
        "parenthesis": _drop_parenthesis,
        "number format": _reformat_number,
        "reordered": _reorder,
        "synonym": lambda s: _synonym(s, rng),
        "prefixed": lambda s: f"According to the document, {s[0].lower() if s[1:2].islower() else s[0]}{s[1:]}",
        "swapped number": lambda s: _swap_number(s, rng),
        "swapped name": lambda s: _swap_name(s, names, rng),
        "swapped negation": lambda s: _swap_negation(s, rng),
        "swapped unit": lambda s: _swap_unit(s, rng),
        "swapped direction": lambda s: _swap_direction(s, rng),
    }
    counts: Counter[str] = Counter()
    found: list[Pair] = []
    for title, passage in passages:
        for sentence in _sentences(passage):
            kinds = [kind for kind in makers if counts[kind] < per_kind]
            rng.shuffle(kinds)
            made = next(((kind, claim) for kind in kinds if (claim := makers[kind](sentence))), None)
            if made is None:
                continue
            kind, claim = made
            if kind.startswith("swapped") and claim.casefold() in passage.casefold():
                continue
            counts[kind] += 1
            found.append(Pair(kind, claim, passage, title, not kind.startswith("swapped")))
            break
    return found


def _passages(text: str, size: int = 900) -> Iterator[str]:
    """Runs of sentences of about ``size`` characters, as chunks are."""
    piece = ""
    for sentence in _SENTENCE.split(text):
        if piece and len(piece) + len(sentence) > size:
            yield piece
            piece = ""
        piece = f"{piece} {sentence}" if piece else sentence
    if piece.strip():
        yield piece


def _sentences(passage: str) -> list[str]:
    """Sentences of running text: 8 to 45 words, ended by a full stop, not cut by headings or tables."""
    lines = [" ".join(sentence.split()) for sentence in _SENTENCE.split(passage) if "\n\n" not in sentence and "|" not in sentence and "#" not in sentence]
    return [line for line in lines if 8 <= len(line.split()) <= 45 and line.endswith(".") and line[0].isupper() and line.count("*") < 2]


def _collection_names(passages: list[tuple[str, str]]) -> list[str]:
    """Words that are nearly always written with a capital, in the middle of sentences too."""
    capital: Counter[str] = Counter(word for _, passage in passages for word in _CAPITAL.findall(passage))
    lower: Counter[str] = Counter(word for _, passage in passages for word in re.findall(r"\b[a-z]{3,}\b", passage))
    return sorted(word for word, count in capital.items() if count >= 3 and lower[word.lower()] * 20 <= count)


def _contract(sentence: str) -> str | None:
    for long, short in _CONTRACTED.items():
        if re.search(rf"\b{long}\b", sentence):
            return re.sub(rf"\b{long}\b", short, sentence)
        if re.search(rf"\b{short}\b", sentence):
            return re.sub(rf"\b{short}\b", long, sentence)
    return None


def _drop_parenthesis(sentence: str) -> str | None:
    short = re.sub(r"\s*\([^()]*\)", "", sentence)
    return short if short != sentence and len(short.split()) >= 6 else None


def _reformat_number(sentence: str) -> str | None:
    found = re.search(r"\b\d{1,3}(?:,\d{3})+\b", sentence)
    if found:
        return sentence.replace(found.group(), found.group().replace(",", ""))
    for value, word in _WORDS.items():
        if value > 2 and re.search(rf"\b{word}\b", sentence):
            return re.sub(rf"\b{word}\b", str(value), sentence)
        if re.search(rf"(?<![\w.,/$-]){value}(?= [a-z]{{3,}})(?!\s?%)", sentence):
            return re.sub(rf"(?<![\w.,/$-]){value}(?= [a-z]{{3,}})", word, sentence, count=1)
    return None


def _reorder(sentence: str) -> str | None:
    """ "If A, B." becomes "B if A.", "In A, B." becomes "B in A."."""
    match = re.match(r"((?:If|When|In|For|After|Before|During|By|With|To|Because|Although|While|As)\b[^,]{8,120}), ([a-z][^.;]{20,})\.$", sentence)
    if not match:
        return None
    first, second = match.groups()
    return f"{second[0].upper()}{second[1:]}, {first[0].lower()}{first[1:]}."


def _synonym(sentence: str, rng: random.Random) -> str | None:
    present = [word for word in _SYNONYMS if re.search(rf"\b{word}\b", sentence)]
    if not present:
        return None
    word = rng.choice(present)
    return re.sub(rf"\b{word}\b", _SYNONYMS[word], sentence, count=1)


def _swap_number(sentence: str, rng: random.Random) -> str | None:
    digits = list(_NUMBER.finditer(sentence))
    if digits:
        match = rng.choice(digits)
        value = float(match.group().replace(",", ""))
        other = value + rng.choice([1, 2, 3, 5, 10]) * (1 if value < 1900 or value > 2100 else rng.choice([-1, 1]))
        text = f"{other:,.0f}" if "," in match.group() else (str(int(other)) if other == int(other) else f"{other:.2f}".rstrip("0"))
        return sentence[: match.start()] + text + sentence[match.end() :]
    words = list(_SPELLED.finditer(sentence))
    if not words:
        return None
    match = rng.choice(words)
    other_word = rng.choice([word for word in _WORDS.values() if word != match.group()])
    return sentence[: match.start()] + other_word + sentence[match.end() :]


def _swap_name(sentence: str, names: list[str], rng: random.Random) -> str | None:
    known = set(names)
    present = [match for match in re.finditer(r"\b[A-Z][a-z]{2,}\b", sentence) if match.group() in known]
    if not present or len(names) < 10:
        return None
    match = rng.choice(present)
    other = rng.choice([name for name in names if name != match.group()])
    return sentence[: match.start()] + other + sentence[match.end() :]


def _swap_unit(sentence: str, rng: random.Random) -> str | None:
    """Another unit of the same measure behind a number, or another currency before it."""
    found: list[tuple[re.Match[str], list[str]]] = []
    for match in _UNIT.finditer(sentence):
        unit = match.group()
        family = (
            ["$", "€", "£"]
            if unit in "$€£"
            else [" percentage points", " dollars", " kg"]
            if unit == "%"
            else next((units for units in _UNITS if unit in units), [])
        )
        found += [(match, [other for other in family if other != unit])] if family else []
    if not found:
        return None
    match, others = rng.choice(found)
    return sentence[: match.start()] + rng.choice(others) + sentence[match.end() :]


def _swap_direction(sentence: str, rng: random.Random) -> str | None:
    ways = [*_DIRECTIONS, *((second, first) for first, second in _DIRECTIONS)]
    found = [(match, other) for word, other in ways for match in re.finditer(rf"\b{word}\b", sentence)]
    if not found:
        return None
    match, other = rng.choice(found)
    return sentence[: match.start()] + other + sentence[match.end() :]


def _swap_negation(sentence: str, rng: random.Random) -> str | None:
    """Drop a negation where there is one, else put "not" after an auxiliary of the main clause."""
    removals = [
        (r"\b(do|does|did) not ", ""),
        (r"\b(is|are|was|were|may|must|will|should|has|have|could|would) not ", r"\1 "),
        (r"\bcannot\b", "can"),
        (r"\b(is|are|was|were)n't\b", r"\1"),
        (r"\b(?:don't|doesn't) ", ""),
        (r"\bwithout\b", "with"),
        (r"\bnever\b", "always"),
        (r"\bunless\b", "if"),
        (r"\b(is|are|was|were) no\b", r"\1 a"),
        (r"\bprohibited\b", "allowed"),
        (r"\bunable to\b", "able to"),
    ]
    for pattern, replacement in removals:
        if re.search(pattern, sentence):
            return re.sub(pattern, replacement, sentence, count=1)
    places = list(_AUXILIARY.finditer(sentence))
    if not places:
        return None
    match = rng.choice(places[:2])
    return f"{sentence[: match.end()]}not {sentence[match.end() :]}"
