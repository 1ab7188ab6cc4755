"""Figures of turns: how they end, why they are less than asked for, how many are under way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..core.chat import Answer
from ..errors import ConflictError, InputError, NotFoundError, PermissionDeniedError
from ..telemetry import metrics
from ..telemetry.spans import failure

OTHER = "other"
CALLERS = (InputError, NotFoundError, ConflictError, PermissionDeniedError)
"""Errors that the question itself, or who asks it, brings about: no failure of the service, and nobody is to be woken for them."""
REASONS = (
    ("keyword_only", re.compile(r"hybrid search failed")),
    ("rerank_failed", re.compile(r"reranking failed")),
    ("partial_index", re.compile(r"only a part of the index")),
    ("client_fusion", re.compile(r"fusion on the server")),
    ("partial_question", re.compile(r"parts? \S*\s*of the question|part \d+ of the question")),
    ("unsupported_sentences", re.compile(r"sentences? without support")),
    ("cut_off", re.compile(r"cut off at")),
    ("no_room", re.compile(r"no room in the prompt")),
    ("steps_ended", re.compile(r"tool calls were ended")),
    ("tool_failed", re.compile(r"^the tool .* failed")),
    ("no_tools", re.compile(r"tools")),
    ("key_fallback", re.compile(r"API key")),
    ("condense_failed", re.compile(r"condensing the question failed")),
    ("summary_failed", re.compile(r"summarising the conversation failed")),
    ("waiting", re.compile(r"waits for your decision")),
)
"""Kinds of what ``degraded`` says, whose words hold figures and names."""


def kind_of(reason: str) -> str:
    """The kind of one reason, of a bounded number of kinds."""
    return next((kind for kind, pattern in REASONS if pattern.search(reason)), OTHER)


def outcome_of(answer: Answer) -> str:
    """How a turn ended that has an answer."""
    if answer.approval is not None:
        return "waiting"
    if answer.clarifying:
        return "clarifying"
    return "refused" if answer.refused else "answered"


class Turns:
    """Counts the turns of an agent."""

    def __init__(self) -> None:
        self.active = 0
        metrics.watch("rag.chats.active", self, lambda turns: [(turns.active, {})])

    @contextmanager
    def one(self, mode: str) -> Iterator[Callable[[Answer], None]]:
        """A turn, which happens in this block; what comes with it is told the answer."""
        self.active += 1
        answers: list[Answer] = []
        attributes = {"rag.outcome": "cancelled"}
        try:
            yield answers.append
        except BaseException as error:
            if failed := failure(type(error), error):
                attributes = {"rag.outcome": "rejected" if isinstance(error, CALLERS) else "failed", "error.type": failed}
            raise
        finally:
            self.active -= 1
            if metrics.recording():
                _count(mode, answers, attributes)


def _count(mode: str, answers: list[Answer], attributes: dict[str, str]) -> None:
    """
    Args:
        attributes: of a turn that ended without an answer.
    """
    if not answers:
        metrics.count("rag.answers", 1, {**attributes, "rag.mode": mode})
        return
    answer = answers[0]
    outcome = outcome_of(answer)
    metrics.count("rag.answers", 1, {"rag.outcome": outcome, "rag.degraded": bool(answer.degraded), "rag.mode": mode})
    for kind in dict.fromkeys(kind_of(reason) for reason in answer.degraded):
        metrics.count("rag.answer.degraded", 1, {"rag.reason": kind})
    if outcome == "answered":
        metrics.record("rag.answer.citations", len(answer.citations), {})
