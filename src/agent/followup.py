"""What a follow-up question leaves unsaid, added by rules. Pure.

A question that stands by itself stays as it is. One that leans on the conversation ("and how many can I carry over?",
"who approves it?") gets the content words of what was talked about, so that search and the check of evidence see them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..core.chat import Turn
from ..util.terms import Token, tokens

MAX_CARRIED = 8
"""Content words of earlier questions that are added to a follow-up; the latest come first."""
SHORT = 2
"""A question with no more content words than this says too little by itself.

On MT-RAG dev (163 questions, most of them follow-ups) nDCG@10 is .834 for the last turn alone, .867 with 1, .881 with 2, .890
with 3; but three words ("read gas meter") often begin another topic."""

_REFERENCE = re.compile(
    r"\b(?:it|its|itself|they|them|their|theirs|he|him|his|she|her|hers|these|those|this|former|latter|such|er|sie|es|ihn|ihm|ihr|ihre|dies\w*|dazu|davon|dafür)\b"
    r"|\b(?:about|of|for|to|with|on|in|is|does|was|did|do) that\b|\bthat (?:is|was|does|do|did|has|can|will|be|mean|work|apply|\?)|\bthat\s*[?.!]?\s*$"
    r"|\b(?:the|that|which|another|other|any other|no other) ones?\b|\bthe (?:same|other|others|rest|first|second|last|next)\b"
    r"|\b(?:instead|otherwise|anything else|what else|who else)\b",
    re.IGNORECASE,
)
_OPENING = re.compile(r"^\W*(?:and|but|or|so|also|then|what about|how about|what if|und|aber|oder)\b", re.IGNORECASE)
_EXPLETIVE = re.compile(
    r"\b(?:is|was|does|will|would|can) it (?:possible|necessary|true|safe|cost to|take to|legal|okay|ok|allowed to)\b|\bthis (?:week|month|year)\b",
    re.IGNORECASE,
)


_COURTESY = frozenset(
    "thank thanks dank danke cheers ok okay hi hello hey hallo bye goodbye tschüss great perfect super fine cool nice prima gut bitte yes no ja nein"
    " morning afternoon evening morgen".split()
)
"""One of these makes a message of `_SMALL_TALK` a courtesy."""
_SMALL_TALK = frozenset(
    "you very much so a lot many for your the this that it is was all good right help helpful answer to and dear there day again"
    " got understood understand vielen dank schön schönen guten tag sehr für die hilfe".split()
)


def is_courtesy(message: str) -> bool:
    """Thanks, a greeting, a yes or no, or no word at all: nothing that documents could answer."""
    words = {token.text.casefold() for token in tokens(message)}
    polite = bool(words & _COURTESY) and words <= _COURTESY | _SMALL_TALK
    return not words or (polite and "?" not in message)


def leans_on_history(question: str) -> bool:
    """Whether a question can only be understood with the ones before it."""
    plain = _EXPLETIVE.sub(" ", question)
    return bool(_REFERENCE.search(plain) or _OPENING.search(plain)) or len(_content(question)) <= SHORT


def standalone_question(question: str, turns: Sequence[Turn]) -> str:
    """The question with the topic of the conversation in brackets after it, if it leans on it."""
    if not turns or not leans_on_history(question):
        return question
    known = {token.stem for token in tokens(question)}
    carried = [word for word in topic(turns) if word.stem not in known]
    # In brackets, after it: people and models read it as context, and the local model gives it half the weight.
    return f"{question} ({' '.join(word.text for word in carried)})" if carried else question


def topic(turns: Sequence[Turn]) -> list[Token]:
    """Content words of the questions back to the last one that stood by itself, the latest question's first."""
    found: dict[str, Token] = {}
    for turn in reversed(turns):
        for word in _content(turn.question):
            found.setdefault(word.stem, word)
        if not leans_on_history(turn.question) or len(found) >= MAX_CARRIED:
            break
    return list(found.values())[:MAX_CARRIED]


def _content(question: str) -> list[Token]:
    return [token for token in tokens(question) if token.content]
