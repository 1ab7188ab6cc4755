"""A question taken apart: its own words, its topic in brackets, and what an answer must hold to answer at all. Pure."""

from __future__ import annotations

import re

_QUANTITY = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred|thousand|million|half|quarter|no|none)\b",
    re.IGNORECASE,
)
_MONEY = re.compile(r"[$€£¥]\s?\d|\d\s?(?:[$€£¥%]|(?:dollars?|euros?|pounds?|cents?|pence|USD|EUR|GBP)\b)|\b(?:free|no charge)\b", re.IGNORECASE)
_TIME = re.compile(
    r"\d|\b(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday|january|february|march|april|june|july|august|september|october|november|december"
    r"|daily|weekly|monthly|annually|immediately|hours?|days?|weeks?|months?|years?|before|after|within|until)\b",
    re.IGNORECASE,
)
_PERSON = re.compile(r"(?<=\S )[A-Z][\w-]+|\b(?:manager|team|department|director|officer|employee|customer|engineer|owner|committee|head|line)\b")
_FORMS = [
    (re.compile(r"\bhow (?:much) (?:does|do|is|are|will|would|money)\b|\b(?:price|cost|fee|charge|tariff|rate)s?\b", re.IGNORECASE), _MONEY),
    (
        re.compile(
            r"\bhow (?:many|much|long|often|far|high|large|big|old|tall|heavy|soon|late|early|fast)\b|\b(?:percentage|number of|limit|maximum|minimum)\b",
            re.IGNORECASE,
        ),
        _QUANTITY,
    ),
    (re.compile(r"\bwhen\b|\bwhat (?:time|date|day|year)\b|\bdeadline\b", re.IGNORECASE), _TIME),
    (re.compile(r"\bwho(?:m|se)?\b", re.IGNORECASE), _PERSON),
]


def asked_form(question: str) -> re.Pattern[str] | None:
    """What an answer must hold to answer at all: a number, an amount, a time, somebody; None where the question does not say."""
    return next((answer for asked, answer in _FORMS if asked.search(question)), None)


def counted_form(question: str) -> re.Pattern[str] | None:
    """`asked_form` where it is a figure or a time: any line with a capital may name somebody."""
    form = asked_form(question)
    return None if form is _PERSON else form


_TOPIC = re.compile(r"\s*\(([^()]*)\)\s*$")


def own_and_topic(question: str) -> tuple[str, str]:
    """A question, and the topic of its conversation that stands in brackets after it (empty where there is none)."""
    found = _TOPIC.search(question)
    own = question[: found.start()] if found else ""
    return (own, found.group(1)) if found and own.strip() else (question, "")


_OPENER = (
    r"(?:how|what|when|where|which|who|whom|whose|why|wie|was|wann|wo|wer|wen|wem|welche[rsmn]?|warum|wieso|wohin)\b"
    r"|(?:is|are|was|were|do|does|did|can|could|must|should|shall|will|would|may|has|have|kann|darf|muss|ist|sind|gibt)"
    r" (?:i|we|you|they|he|she|it|this|that|there|the|a|an|my|our|your|any|ich|wir|man|er|sie|es|der|die|das|ein|eine)\b"
)
_BOUNDARY = re.compile(rf"(?:(?<=[?)])\s+|\n+|;\s+|,?\s+(?:and|und)(?:\s+also|\s+auch)?\s+|,\s+)(?={_OPENER})", re.IGNORECASE)
_ONE_THING = re.compile(
    r"\b(?:between|difference|compare[ds]?|comparing|relationship|relation|both|if|when|whether|zwischen|unterschied|vergleich\w*|wenn|ob)\b", re.IGNORECASE
)
_WORD = re.compile(r"\w+")


def parts_of(question: str) -> tuple[str, ...]:
    """The questions that a message asks one after the other ("How many days do I get, and who approves them?"), at least one.

    A part begins with a question word, or with a verb and its subject, and has two words more than that. What relates two things ("the
    difference between how ... and how ...") and what hangs on a condition stays whole.
    """
    found: list[str] = []
    start = 0
    for boundary in _BOUNDARY.finditer(question):
        before, after = question[start : boundary.start()], question[boundary.end() :]
        fresh = boundary.group().strip() == "" or ";" in boundary.group()  # the sentence before has ended
        if len(_WORD.findall(before)) < 3 or len(_WORD.findall(after)) < 3 or (not fresh and (_ONE_THING.search(before) or boundary.group().strip() == ",")):
            continue
        found.append(before.strip())
        start = boundary.end()
    return (*found, question[start:].strip()) if found else (question,)
