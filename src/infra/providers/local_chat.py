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
from ...util.terms import content_stems
from .forms import asked_form, own_and_topic, parts_of
from .passages import NO_ANSWER, PromptContent, parse
from .protocol import ChatDelta, ChatResult, Embedder
from .sayable import Candidate, ends_as_sentence, flat, sentences_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "extractive"
MAX_SENTENCES = 4
MAX_READ = 80
"""Sentences that are compared with the question."""
NEAR = 0.5
"""Cosine similarity from which a sentence speaks of what a follow-up asks, even in other words."""


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
        own: of a follow-up, share of the words of the question itself in the sentence without its heading.
        whole: whether it ends as a sentence does; titles, captions and heads of tables repeat the question's words without answering.
        further: how far below the best a further sentence may score.
        alike: similarity from which a sentence repeats one that is chosen.
    """

    meaning: float = 1.0
    words: float = 1.0
    around: float = 0.3
    rank: float = 0.1
    form: float = 0.15
    own: float = 0.5
    whole: float = 0.2
    further: float = 0.25
    alike: float = 0.85


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
        """One to four sentences for each question asked, the best first, each with the number of its passage; the sentinel if there is nothing to quote."""
        content = parse(messages)
        candidates = sentences_of(content)[:MAX_READ]
        chosen = await self._chosen(content, candidates, already_said(messages)) if candidates else []
        for place, index in enumerate(chosen):
            yield ChatDelta(("\n" if place else "") + marked(candidates[index].text, candidates[index].passage))
        if not chosen:
            yield ChatDelta(NO_ANSWER)
        yield ChatDelta(finish_reason="stop")

    async def _chosen(self, content: PromptContent, candidates: Sequence[Candidate], said: frozenset[str]) -> list[int]:
        """Indices of the sentences that answer each of the questions asked, in the order of the questions, each sentence once."""
        parts = parts_of(content.question)
        # A follow-up is compared with its topic and without.
        asked = [list(dict.fromkeys([part, own_and_topic(part)[0]])) for part in parts]
        questions = [question for several in asked for question in several]
        vectors = await self._embedder.embed([*questions, *(candidate.embedded for candidate in candidates)])
        read = vectors[len(questions) :]
        chosen: dict[int, None] = {}
        at = 0
        for part, several in zip(parts, asked, strict=True):
            mine, at = vectors[at : at + len(several)], at + len(several)
            scores = judge(PromptContent(part, content.passages), candidates, read @ mine.mean(0), self._weights)
            answering = answers_follow_up(part, candidates, read @ mine[-1], said)
            kept = range(len(candidates)) if answering is None else answering
            chosen.update(dict.fromkeys(kept[i] for i in choose([scores[i] for i in kept], read[list(kept)], self._weights)))
        return list(chosen)

    async def aclose(self) -> None:
        """The embedder is not this model's to close."""


def already_said(messages: Sequence[Message] | str) -> frozenset[str]:
    """Sentences of the answer before, as `flat` compares them: one on each line of the assistant's last message."""
    before = "" if isinstance(messages, str) else next((m.content for m in reversed(messages) if m.role == "assistant"), "")
    return frozenset(flat(line) for line in before.split("\n") if line.strip())


def answers_follow_up(question: str, candidates: Sequence[Candidate], nearness: NDArray[np.float32], said: frozenset[str]) -> list[int] | None:
    """Indices of the sentences that may answer a follow-up; None where the question stands by itself. Pure.

    They hold a content word of the question itself, not only of its topic, or lie near it in meaning; what was said in the
    answer before comes again only where nothing else is left.

    Args:
        nearness: cosine similarity of the question without its topic and each sentence.
    """
    own, topic = own_and_topic(question)
    if not topic:
        return None
    wanted = set(content_stems(own))
    held = [
        index
        for index, (candidate, cosine) in enumerate(zip(candidates, nearness, strict=True))
        if float(cosine) >= NEAR or not wanted or not wanted.isdisjoint(content_stems(candidate.embedded))
    ]
    return [index for index in held if flat(candidates[index].text) not in said] or (held if wanted else [])


def judge(content: PromptContent, candidates: Sequence[Candidate], cosines: NDArray[np.float32], weights: Weights) -> list[float]:
    """A score for each candidate. Pure."""
    asides = " ".join(_ASIDE.findall(content.question))
    asked = set(content_stems(_ASIDE.sub(" ", content.question)))
    wanted = asked.union(content_stems(asides))
    whole = {passage.n: set(content_stems(f"{passage.heading} {passage.text}")) for passage in content.passages}
    rarity = {
        word: math.log(1 + (len(whole) + 1) / (sum(word in words for words in whole.values()) + 0.5)) * (1.0 if word in asked else 0.5) for word in wanted
    }
    own, topic = own_and_topic(content.question)
    asked_rarity = {word: rarity[word] for word in content_stems(own) if topic and word in rarity}
    form = asked_form(own)
    scores = []
    for candidate, cosine in zip(candidates, cosines, strict=True):
        here = set(content_stems(f"{candidate.heading} {candidate.asked} {candidate.text}"))
        scores.append(
            weights.meaning * float(cosine)
            + weights.words * _share(rarity, here)
            + weights.around * _share(rarity, whole[candidate.passage])
            + weights.rank / candidate.passage
            + weights.own * _share(asked_rarity, set(content_stems(f"{candidate.asked} {candidate.text}")))
            + weights.form * (form is not None and form.search(candidate.text) is not None)
            + weights.whole * (ends_as_sentence(candidate.text))
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
    body = text.rstrip(" .!?…:;,")
    return f"{body} [{number}]{text[-1] if text[-1:] in ('!', '?', '…') else '.'}"


_ASIDE = re.compile(r"\(([^()]*)\)")
"""What stands in brackets is context, such as the topic of a conversation; the question itself weighs twice as much."""


def _share(rarity: dict[str, float], words: set[str]) -> float:
    total = sum(rarity.values())
    return sum(weight for word, weight in rarity.items() if word in words) / total if total else 0.0
