"""How question and passages stand in a prompt, and how the local model reads them back: one format for every model.

Each part is fenced by lines that carry a code made anew for each request, so no document can close its fence or open
another: what stands inside is data.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from ...core.chat import Message

NO_ANSWER = "NO_ANSWER_IN_PASSAGES"
"""What a model replies, and nothing else, when the passages do not hold the answer."""

_QUESTION = re.compile(r"<<question (?P<fence>[0-9a-f]{16,})>>\n(?P<text>.*?)\n<<end question (?P=fence)>>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PromptPassage:
    """One numbered passage of a prompt; ``heading`` is its title and section on one line."""

    n: int
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class PromptContent:
    question: str
    passages: tuple[PromptPassage, ...]


def new_fence() -> str:
    """A code that no document can know (64 random bits, hexadecimal)."""
    return secrets.token_hex(8)


def render(content: PromptContent, fence: str) -> str:
    """The user message: every passage, then the question, each inside its fence."""
    return "\n\n".join([*_fenced(content.passages, fence), f"<<question {fence}>>\n{content.question}\n<<end question {fence}>>"])


def render_result(text: str, passages: Sequence[PromptPassage], fence: str) -> str:
    """What a tool found, as its message in the prompt: passages, then what it says beside, each inside its fence."""
    return "\n\n".join([*_fenced(passages, fence), *([f"<<result {fence}>>\n{text}\n<<end result {fence}>>"] if text else [])])


def parse(messages: Sequence[Message] | str) -> PromptContent:
    """Question and passages of the last message that carries any; a message without fences is a question by itself.

    The last question's fence is the one that counts: nothing that comes before it can know its code.
    """
    text = messages if isinstance(messages, str) else next((m.content for m in reversed(messages) if m.role == "user"), "")
    questions = list(_QUESTION.finditer(text))
    if not questions:
        return PromptContent(text.strip(), ())
    fence = questions[-1]["fence"]
    passages = re.finditer(rf"<<passage (\d+) {fence}>>\n([^\n]*)\n(.*?)\n<<end passage \1 {fence}>>", text, re.DOTALL)
    return PromptContent(questions[-1]["text"].strip(), tuple(PromptPassage(int(m[1]), m[2], m[3]) for m in passages))


def _fenced(passages: Sequence[PromptPassage], fence: str) -> list[str]:
    return [f"<<passage {p.n} {fence}>>\n{_one_line(p.heading)}\n{p.text}\n<<end passage {p.n} {fence}>>" for p in passages]


def _one_line(text: str) -> str:
    return " ".join(text.split())
