"""A model that quotes: enough sense for a product that checks its citations, and none that a test would have to guess at."""

from __future__ import annotations

import math
import re
from typing import Any
from zlib import crc32

from src.infra.providers.passages import NO_ANSWER, parse

_SENTENCE = re.compile(r"[^.!?\n]+[.!?]")


class QuotingModel:
    """Answers with the sentence that shares the most words with the question, and its passage's number; vectors count words."""

    def answer(self, messages: list[dict[str, Any]]) -> list[str]:
        content = parse(messages[-1]["content"])
        asked = _words(content.question)
        sentences = [(passage.n, text.strip()) for passage in content.passages for text in _SENTENCE.findall(passage.text)]
        if not sentences:
            return [NO_ANSWER]
        # Of two that share as many the shorter: it says less that was not asked.
        number, best = max(sentences, key=lambda found: (len(asked & _words(found[1])), -len(found[1])))
        return [*re.findall(r"\S+\s*", best[:-1]), f" [{number}]{best[-1]}"] if asked & _words(best) else [NO_ANSWER]

    def vector(self, text: str, dims: int) -> list[float]:
        counts = [0.0] * dims
        for word in re.findall(r"\w+", text.lower()):
            counts[crc32(word.encode()) % dims] += 1
        length = math.sqrt(sum(value * value for value in counts)) or 1.0
        return [value / length for value in counts]


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}
