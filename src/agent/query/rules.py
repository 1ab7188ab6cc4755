"""What rules can tell of a question: its parts, each so that it stands alone, and a word that stands for nothing. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...core.chat import Turn
from ...infra.providers.forms import parts_of
from ...util.terms import tokens
from ..followup import standalone_question

_PRONOUN = re.compile(
    r"\b(?P<word>it|they|them|he|him|she|these|those|this one|that one|this|that|er|ihn|ihm|diese[rsmn]?)\b(?=\s*(?:[?.!,]|$)"
    r"|\s+(?:is|are|was|were|does|do|did|has|have|can|could|will|would|should|must|may|might|need|take|cost|mean|work|apply|expire|last|start|end|open|close)s?\b"
    r"|\s+(?:over|up|out|off|on|back|in|for|to|by|from|at|again|now|today|online|myself|kosten|kostet|gelten|gilt)\b)"
    r"|(?:\b(?:is|are|was|were|does|do|did|can|could|will|would|should|must|may|kann|darf|muss)\s+)(?P<subject>it\b|they\b|he\b|she\b|er\b|(?:this|that|these|those)(?=\s+\w+\s*\?))",
    re.IGNORECASE,
)
_EXPLETIVE = re.compile(
    r"\b(?:is|was|does|will|would|has) it (?:\w+ ){0,2}(?:to|that|if|when|for)\b|\bit(?:'s|’s| is| was) \w+ (?:to|that)\b|\bthat (?:the|a|an|we|i|you)\b"
    r"|\bthis (?:week|month|year|morning|evening|time)\b|\bis it (?:raining|cold|hot|late|open|closed)\b|\btime is it\b",
    re.IGNORECASE,
)
MAX_CONTENT = 2
"""Content words of a question that may be unclear: one with more says what it is about itself."""
_RELATING = re.compile(
    r"\b(?:compare[ds]?|comparison|difference|differs?|versus|vs\.?|both|respectively|each of|as well as|vergleich\w*|unterschied\w*|sowie)\b",
    re.IGNORECASE,
)


def unclear_word(question: str, turns: Sequence[Turn]) -> str:
    """The pronoun of a question that stands for nothing that was said, in the question's own spelling; empty where there is none.

    Only where no turn is before it, no content word stands before the pronoun that it could mean, or one alone (a verb: "who
    approves it"), and the whole says too little to be searched for.
    """
    plain = _EXPLETIVE.sub(" ", question)
    found = _PRONOUN.search(plain)
    if turns or found is None:
        return ""
    content = [token for token in tokens(plain) if token.content]
    before = [token for token in content if token.end <= found.start()]
    named = [token for token in content if token.text[:1].isupper() and token.start] or [token for token in content if any(c.isdigit() for c in token.text)]
    return "" if len(before) > 1 or len(content) > MAX_CONTENT or named else (found["word"] or found["subject"])


def standing_parts(question: str, turns: Sequence[Turn], most: int) -> tuple[str, ...]:
    """The parts of a question, at most ``most`` (the last one takes the rest), each with what it leaves to the turns and parts before it."""
    parts = list(parts_of(question)) if most > 1 else [question]
    if len(parts) > most:
        parts = [*parts[: most - 1], " ".join(parts[most - 1 :])]
    before = list(turns)
    standing = []
    for part in parts:
        standing.append(standalone_question(part, before))
        before.append(Turn("", part, "", (), False, (), ""))
    return tuple(standing)


def may_be_compound(question: str) -> bool:
    """Whether a model should look if a question asks several things."""
    return len(parts_of(question)) > 1 or _RELATING.search(question) is not None
