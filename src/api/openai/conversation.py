"""From a client's messages to a question and the turns before it, and from citations to text. Pure.

The client keeps the conversation: its last message is the question, the ones before are the history, and no thread is
stored. Messages of the role `system` are not applied, because the agent's own instructions are what keeps its answers to
the documents; the answer says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...core.chat import Citation, Turn
from .bodies import ChatMessage, Content
from .shapes import ParameterError

HEADING = "\n\nSources:\n"
_SOURCES = re.compile(r"\n\nSources:\n\[1\] .*\Z", re.DOTALL)
_ACTIVE = str.maketrans("[]<>", "()‹›")
"""Titles come from documents: as they stand in no link, image or tag, nothing of them can become active in a client."""
INSTRUCTIONS = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Conversation:
    question: str
    history: tuple[Turn, ...]
    instructed: bool
    """Whether there were messages of the role `system`."""


def read(messages: Sequence[ChatMessage]) -> Conversation:
    """The last question and the turns before it; several messages of one side in a row are one.

    Raises:
        ParameterError: the last message is not the user's, or one holds what this server cannot read.
    """
    turns: list[Turn] = []
    asked: list[str] = []
    said: list[str] = []
    for place, message in enumerate(messages):
        text = _text_of(message, f"messages.{place}")
        if message.role == "user":
            if said:
                turns.append(_turn(asked, said))
                asked, said = [], []
            asked.append(text)
        elif message.role == "assistant":
            said.append(without_sources(text))
    if said or not asked:
        raise ParameterError("The last message must be the user's: it is the question.", param="messages")
    return Conversation("\n\n".join(asked), tuple(turns), any(message.role in INSTRUCTIONS for message in messages))


def sources_text(citations: Sequence[Citation]) -> str:
    """What an answer's text ends with, so that clients which know of no citations show them, too; empty without any."""
    lines = [f"[{citation.n}] {_source(citation)}" for citation in citations]
    return HEADING + "\n".join(lines) if lines else ""


def without_sources(text: str) -> str:
    """An answer as it was before `sources_text` was added: clients send back what they were sent."""
    return _SOURCES.sub("", text)


def _source(citation: Citation) -> str:
    page = f"page {citation.page}" if citation.page is not None else ""
    where = ", ".join(part for part in (citation.title, citation.section, page) if part)
    return " ".join(f"{where} ({citation.source})".translate(_ACTIVE).split())


def _turn(asked: Sequence[str], said: Sequence[str]) -> Turn:
    return Turn("", "\n\n".join(asked), "\n\n".join(said), (), refused=False, degraded=(), created_at="")


def _text_of(message: ChatMessage, place: str) -> str:
    if message.role in ("tool", "function") or message.tool_calls or message.function_call:
        raise ParameterError("Calls of tools cannot be part of the conversation.", param=place, hint="Leave these messages out.")
    return _joined(message.content if message.content is not None else message.refusal, f"{place}.content")


def _joined(content: Content, place: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for number, part in enumerate(content):
        text = part.get(str(part.get("type")))
        if part.get("type") not in ("text", "refusal") or not isinstance(text, str):
            raise ParameterError("Only parts of the type text can be read.", param=f"{place}.{number}", hint="Images, sound and files are not.")
        texts.append(text)
    return "\n".join(texts)
