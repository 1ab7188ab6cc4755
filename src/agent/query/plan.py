"""What a model makes of a question before it is searched for. Pure: its reply is read here, and never shown to anybody.

Lines of the reply: ``QUESTION:`` and the question as it stands alone, ``PART:`` and one of several questions, ``ASK:`` and the words that
nobody can know the meaning of. A reply without any of these is the question itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TRIMMED = " \t\"'“”„«»`*<>"
MOST_LONGER = 400
"""Characters that a rewritten question may have beyond twice the original: a model that answers instead writes at length."""

MOST_UNCLEAR = 60
"""Characters of what may be called unclear."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a question is searched for.

    Attributes:
        question: as it stands alone; empty where the reply cannot be used.
        parts: the questions that it asks, none where it is one.
        unclear: words of the user's own question that stand for nothing that was said; empty where it can be searched for.
    """

    question: str
    parts: tuple[str, ...] = ()
    unclear: str = ""


def read_plan(reply: str, asked: str, *, most: int) -> Plan:
    """The plan in a model's reply, held to what was asked: at most ``most`` parts, nothing far longer than the question, and
    only words that stand in it are called unclear."""
    found: dict[str, list[str]] = {"QUESTION": [], "PART": [], "ASK": []}
    for line in reply.splitlines():
        if labelled := re.match(r"^\W*(QUESTION|PART|ASK)\W*:(.*)$", line, re.IGNORECASE):
            found[labelled.group(1).upper()].append(" ".join(labelled.group(2).split()).strip(_TRIMMED))
    if not any(found.values()):
        return Plan(_usable(reply, asked))
    question = _usable(next(iter(found["QUESTION"]), ""), asked)
    parts = tuple(dict.fromkeys(part for text in found["PART"] if (part := _usable(text, asked))))[:most]
    unclear = next((word for word in found["ASK"] if 0 < len(word) <= MOST_UNCLEAR and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", asked, re.IGNORECASE)), "")
    if unclear and not question and not parts:
        return Plan("", unclear=unclear)
    return Plan(question or " ".join(parts), parts if len(parts) > 1 and most > 1 else ())


def _usable(text: str, asked: str) -> str:
    flat = " ".join(text.split()).strip(_TRIMMED)
    return flat if len(flat) <= MOST_LONGER + 2 * len(asked) else ""
