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
