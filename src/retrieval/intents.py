"""Intent rules: which kind of question this is, and what that changes about the search. Pure.

A rule fits by its pattern, or by one of its examples. Examples are compared by words, not by vectors: what tells kinds of
questions apart are mostly their small words ("how do I", "what does … cost"), which sentence vectors pass over; words need no
call of a model, and a rule that chooses `bm25` spares the embedding altogether.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..core.search import Filter, Intent, Mode
from ..errors import FilterError, InvalidSettingsError, Problem
from ..infra.search.comparing import check_filter
from ..util.patterns import SYNTAX, Pattern
from ..util.terms import Token, tokens
from .config import IntentCfg
from .filters import parse_filter_args

FITS = 0.8
"""Weight of an example's words that a question must have; a word that carries content weighs twice one of grammar. "How can I
reset my password?" has .88 of "how do I reset my password", "how do I reset my router" .75."""
SLACK = 4
"""Further words that may stand between those of an example."""
READ_CHARS = 2_000
"""So much of a question is looked at: what kind it is shows early."""

DEFAULT_WEIGHT = 0.5
MAX_WEIGHT = 10.0
_BOOST = re.compile(r"(?P<filter>.+?)(?:\s*\^\s*(?P<weight>[+-]?[0-9]+(?:\.[0-9]+)?))?", re.DOTALL)
BOOST_FORM = f"Write a filter, then ^ and a weight from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g}: kind=procedure ^0.5."
_NOT_ON_HITS = "content_type"

Report = Callable[[str, str], None]
"""Takes the key that is wrong, and what is."""


@dataclass(frozen=True, slots=True)
class Boost:
    """What is preferred, and by how many standard deviations of the scores; ``written`` is the line of the configuration."""

    condition: Filter
    weight: float
    written: str


@dataclass(frozen=True, slots=True)
class Example:
    """A phrase: its stems with their weights, and how many words it has."""

    written: str
    weights: dict[str, float] = field(hash=False)
    words: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One `[intent:NAME]`, ready to be compared with questions."""

    name: str
    pattern: Pattern | None
    examples: tuple[Example, ...]
    mode: Mode | None
    filters: tuple[Filter, ...]
    boosts: tuple[Boost, ...]
    written_filters: tuple[tuple[str, str], ...]
    """Field and line of each filter."""


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that a question falls under, and the pattern or example that says so."""

    rule: Rule
    matched: str
    fit: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What the rule makes of a request. ``intent`` is the account for the caller; None where no rule fits."""

    mode: Mode | None
    filters: tuple[Filter, ...]
    boosts: tuple[Boost, ...] = ()
    intent: Intent | None = None


def compile_rules(intents: Sequence[tuple[str, IntentCfg]]) -> tuple[Rule, ...]:
    """The rules that are switched on, by name.

    Raises:
        InvalidSettingsError: lists every pattern, filter and boost that cannot be used.
    """
    problems: list[Problem] = []
    rules = [(_compile(name, cfg, problems), cfg.enabled) for name, cfg in sorted(intents, key=lambda pair: pair[0])]
    if problems:
        raise InvalidSettingsError(problems)
    return tuple(rule for rule, enabled in rules if enabled)


def best_match(query: str, rules: Sequence[Rule]) -> Match | None:
    """The rule that fits a question best: by pattern before by example, longer examples first, then by name."""
    if not rules:
        return None
    text = query[:READ_CHARS]
    words = tokens(text) if any(rule.examples for rule in rules) else []
    found: list[tuple[float, float, Match]] = []
    for rule in rules:
        if rule.pattern is not None and rule.pattern.is_in(text):
            found.append((1.0, math.inf, Match(rule, rule.pattern.written, 1.0)))
            continue
        fits = [(_fit(example, words), example) for example in rule.examples]
        found.extend((fit, example.words, Match(rule, example.written, round(fit, 3))) for fit, example in fits if fit >= FITS)
    # The first of equals: `max` keeps it, and rules stand by name.
    return max(found, key=lambda item: item[:2])[2] if found else None


def plan(match: Match | None, mode: Mode | None, filters: Sequence[Filter]) -> Plan:
    """What is searched. What the request itself asks for outranks the rule: its mode, and its filters field by field."""
    if match is None:
        return Plan(mode, tuple(filters))
    rule, asked = match.rule, {item.field for item in filters}
    added = tuple(item for item in rule.filters if item.field not in asked)
    chosen = rule.mode if mode is None else None
    intent = Intent(
        name=rule.name,
        matched=match.matched,
        fit=match.fit,
        mode=chosen,
        filters=tuple(written for name, written in rule.written_filters if name not in asked),
        boosts=tuple(boost.written for boost in rule.boosts),
    )
    return Plan(chosen or mode, (*filters, *added), rule.boosts, intent)


def _compile(name: str, cfg: IntentCfg, problems: list[Problem]) -> Rule:
    def report(key: str, message: str) -> None:
        problems.append(Problem(message, key=f"intent:{name}.{key}".removesuffix(".")))

    pattern = None
    try:
        pattern = Pattern.of(cfg.pattern) if cfg.pattern else None
    except ValueError as error:
        report("pattern", f"is no regular expression that can be used: {error}. {SYNTAX}")
    examples = tuple(_example(text) for text in cfg.examples)
    for example in examples:
        if not example.weights:
            report("examples", f"{example.written!r} has no word.")
    if not cfg.pattern and not cfg.examples:
        report("", "has neither a pattern nor examples, so no question can fall under it.")
    if not (cfg.mode or cfg.filters or cfg.boosts):
        report("", "changes nothing; give a mode, filters or boosts.")
    filters, written = _filters(cfg.filters, report)
    return Rule(name, pattern, examples, cfg.mode, filters, _boosts(cfg.boosts, report), written)


def _filters(lines: Sequence[str], report: Report) -> tuple[tuple[Filter, ...], tuple[tuple[str, str], ...]]:
    try:
        filters = parse_filter_args(lines)
        for item in filters:
            check_filter(item)
        return filters, tuple((parse_filter_args([line])[0].field, line) for line in lines)
    except FilterError as error:
        report("filters", f"{error.message} {error.hint}".rstrip())
        return (), ()


def _boosts(lines: Sequence[str], report: Report) -> tuple[Boost, ...]:
    boosts: list[Boost] = []
    for line in lines:
        try:
            boosts.append(_boost(line))
        except FilterError as error:
            report("boosts", f"{error.message} {error.hint}".rstrip())
    return tuple(boosts)


def _boost(line: str) -> Boost:
    match = _BOOST.fullmatch(line)
    if match is None:
        raise FilterError(f"Boost {line!r} cannot be read.", hint=BOOST_FORM)
    weight = float(match["weight"]) if match["weight"] else DEFAULT_WEIGHT
    if not 0 < abs(weight) <= MAX_WEIGHT:
        raise FilterError(f"Boost {line!r} has a weight of {weight:g}.", hint=BOOST_FORM)
    condition = parse_filter_args([match["filter"]])[0]
    if condition.field == _NOT_ON_HITS:
        raise FilterError(f"Boost {line!r} asks for {_NOT_ON_HITS}, which is no field of a hit.", hint="Filter by it, or prefer a field of the metadata.")
    check_filter(condition)
    return Boost(condition, weight, line)


def _example(text: str) -> Example:
    words = tokens(text)
    return Example(text, {token.stem: _weight(token) for token in words}, len(words))


def _weight(token: Token) -> float:
    return 1.0 if token.content else 0.5


def _fit(example: Example, words: Sequence[Token]) -> float:
    """Largest share of the example's weight that stands within as many words as it has, and SLACK."""
    places = [(place, token.stem) for place, token in enumerate(words) if token.stem in example.weights]
    total, best, held, within, first = sum(example.weights.values()), 0.0, 0.0, Counter[str](), 0
    for place, stem in places:
        held += example.weights[stem] if not within[stem] else 0.0
        within[stem] += 1
        while place - places[first][0] >= example.words + SLACK:
            gone = places[first][1]
            within[gone] -= 1
            held -= example.weights[gone] if not within[gone] else 0.0
            first += 1
        best = max(best, held)
    return best / total if total else 0.0
