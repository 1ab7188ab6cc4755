"""A chat model without a model server: it answers by quoting the sentences of the passages that answer best.

It reads the same prompt that any model gets and replies in the same form, so nothing above it knows the difference but
for `extractive`: it never says that a passage does not answer a question unless it has nothing to quote at all, so the
agent decides that beforehand (`src/agent/evidence.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.chat import Message
from ...util.sentences import sentence_spans
from ...util.terms import content_stems, tokens
from .passages import NO_ANSWER, PromptContent, PromptPassage, parse
from .protocol import ChatDelta, ChatResult, Embedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "extractive"
MAX_SENTENCES = 4
READ = 6
"""Passages that are read."""
MAX_READ = 80
"""Sentences of them that are compared with the question."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How a sentence is judged; each part lies between 0 and 1 before weighting.

    Set on 250 questions of XQuAD: the first sentence holds the answer word for word in 76%, one of those chosen (1.5 on
    average) in 87%; each weight can be halved or doubled for less than 2 points.

    Attributes:
        meaning: cosine similarity of the question and the sentence under its heading.
        words: share of the question's content words, weighted by rarity, in the sentence and its heading.
        around: the same for the whole passage.
        rank: 1 for the first passage, falling with its number.
        form: whether the sentence holds what the question asks for: a number for "how many", a date for "when".
        whole: whether it ends as a sentence does; titles, captions and heads of tables repeat the question's words without answering.
        further: how far below the best a further sentence may score.
        alike: similarity from which a sentence repeats one that is chosen.
    """

    meaning: float = 1.0
    words: float = 1.0
    around: float = 0.3
    rank: float = 0.1
    form: float = 0.15
    whole: float = 0.2
    further: float = 0.25
    alike: float = 0.85


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sentence of a passage, as the answer would say it."""

    passage: int
    order: int
    text: str
    heading: str

    @property
    def embedded(self) -> str:
        """What the embedding model reads of it."""
        return f"{self.heading}: {self.text}" if self.heading else self.text


class LocalChatModel:
    """A `ChatModel` that quotes. It counts no tokens and sends nothing anywhere.

    Args:
        embedder: compares the question with sentences; shared, not closed by this model.
    """

    def __init__(self, embedder: Embedder, weights: Weights | None = None) -> None:
        self._embedder = embedder
        self._weights = weights or Weights()

    @property
    def model(self) -> str:
        return MODEL

    @property
    def extractive(self) -> bool:
        return True

    async def generate(self, messages: Sequence[Message] | str) -> ChatResult:
        return ChatResult("".join([delta.text async for delta in self.stream(messages)]))

    async def stream(self, messages: Sequence[Message] | str) -> AsyncIterator[ChatDelta]:
        """One to four sentences, the best first, each with the number of its passage; the sentinel if there is nothing to quote."""
        content = parse(messages)
        candidates = sentences_of(content)[:MAX_READ]
        if candidates:
            vectors = await self._embedder.embed([content.question, *(candidate.embedded for candidate in candidates)])
            scores = judge(content, candidates, vectors[1:] @ vectors[0], self._weights)
            chosen = choose(scores, vectors[1:], self._weights)
        else:
            chosen = []
        for place, index in enumerate(chosen):
            yield ChatDelta(("\n" if place else "") + marked(candidates[index].text, candidates[index].passage))
        if not chosen:
            yield ChatDelta(NO_ANSWER)
        yield ChatDelta(finish_reason="stop")

    async def aclose(self) -> None:
        """The embedder is not this model's to close."""


def sentences_of(content: PromptContent) -> list[Candidate]:
    """Sentences that can stand in an answer, passage by passage; white space collapsed, bullets and headings left out."""
    found: list[Candidate] = []
    for passage in content.passages[:READ]:
        heading = _short_heading(passage)
        for order, (start, end) in enumerate(sentence_spans(passage.text)):
            text = _clean(passage.text[start:end])
            if _is_sayable(text):
                found.append(Candidate(passage.n, order, text, heading))
    return found


def judge(content: PromptContent, candidates: Sequence[Candidate], cosines: NDArray[np.float32], weights: Weights) -> list[float]:
    """A score for each candidate. Pure."""
    asides = " ".join(_ASIDE.findall(content.question))
    asked = set(content_stems(_ASIDE.sub(" ", content.question)))
    wanted = asked.union(content_stems(asides))
    whole = {passage.n: set(content_stems(f"{passage.heading} {passage.text}")) for passage in content.passages}
    rarity = {
        word: math.log(1 + (len(whole) + 1) / (sum(word in words for words in whole.values()) + 0.5)) * (1.0 if word in asked else 0.5) for word in wanted
    }
    form = asked_form(content.question)
    scores = []
    for candidate, cosine in zip(candidates, cosines, strict=True):
        here = set(content_stems(f"{candidate.heading} {candidate.text}"))
        scores.append(
            weights.meaning * float(cosine)
            + weights.words * _share(rarity, here)
            + weights.around * _share(rarity, whole[candidate.passage])
            + weights.rank / candidate.passage
            + weights.form * (form is not None and form.search(candidate.text) is not None)
            + weights.whole * (candidate.text[-1] in _SENTENCE_END)
        )
    return scores


def choose(scores: Sequence[float], vectors: NDArray[np.float32], weights: Weights) -> list[int]:
    """Indices of the best sentence and of further ones close to it that say something else, the best first. Pure."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    chosen: list[int] = []
    for index in order:
        if len(chosen) == MAX_SENTENCES or scores[index] < scores[order[0]] - weights.further:
            break
        if all(float(vectors[index] @ vectors[other]) < weights.alike for other in chosen):
            chosen.append(index)
    return chosen


def marked(text: str, number: int) -> str:
    """ "Due in 14 days." of passage 2 becomes "Due in 14 days [2]."; what has no full stop gets one."""
    body = text.rstrip(" .!?…")
    return f"{body} [{number}]{text[-1] if text[-1:] in ('!', '?', '…') else '.'}"


_SENTENCE_END = frozenset('.!。！…”"')
_ASIDE = re.compile(r"\(([^()]*)\)")
"""What stands in brackets is context, such as the topic of a conversation; the question itself weighs twice as much."""
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


def _share(rarity: dict[str, float], words: set[str]) -> float:
    total = sum(rarity.values())
    return sum(weight for word, weight in rarity.items() if word in words) / total if total else 0.0


_BULLET = re.compile(r"^(?:[•‣▪■●○◦·\uf0b7–—*#>-]+\s+|\(?\d{1,2}[.)]\s+(?=\S))+")


def _clean(text: str) -> str:
    """On one line, without the bullet or number of a list, or Markdown's signs of emphasis around words."""
    line = " ".join(text.split())
    return re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"\1", _BULLET.sub("", line))


def _is_sayable(text: str) -> bool:
    """Long enough to say something, not a question, and not a heading."""
    words = tokens(text)
    return len(text) <= 700 and not text.endswith("?") and (len(words) >= 4 or (len(words) >= 2 and bool(re.search(r"\d", text))))


def _short_heading(passage: PromptPassage) -> str:
    """The innermost part of a heading: the last section, or the title."""
    return re.split(r" — | > ", passage.heading)[-1].strip()
