"""What a tool is, what it is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ...core.chat import ToolCall
from ...core.identity import AccessScope, Identity
from ...core.retrieval import Passage
from ...core.search import Filter, Hit, Mode

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class ToolContext:
    """For whom and where a tool runs: all that it knows of a request, made anew for each round of calls.

    Attributes:
        scope: what the caller may see; the one scope that a tool may search with.
        thread_id: empty where no thread is kept.
        filters, mode: those of the request; they narrow what tools find as they narrow the first search.
        passages: what the model has been shown in this turn.
    """

    identity: Identity
    scope: AccessScope
    thread_id: str
    filters: tuple[Filter, ...] = ()
    mode: Mode | None = None
    passages: tuple[Passage, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool found. Only ``hits`` become passages, which an answer may cite; ``text`` is for the model alone.

    Both are data to the model, never instructions; what is longer than a result may be is cut, and the model is told.
    """

    text: str = ""
    hits: tuple[Hit, ...] = ()
    degraded: tuple[str, ...] = ()
    """Why it is less than asked for."""


class Tool(Protocol):
    """A tool. It keeps nothing between calls, and learns of a request only through its context."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str:
        """What it does and when to call it, for the model."""
        ...

    @property
    def arguments(self) -> type[BaseModel]:
        """Shape of its arguments; what does not fit never reaches it."""
        ...

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        """Run once.

        Args:
            arguments: an instance of `arguments`.

        Raises:
            InputError: the model asked for what cannot be; it is told the message. Other errors are told by their code.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call. ``failed`` outcomes have a text that says why, and no hits."""

    call: ToolCall
    result: ToolResult
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """A call and its answer as the prompt repeats it: a text, and the numbers of the passages that it found."""

    call: ToolCall
    text: str
    passages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """One reply of the model that called tools: what it wrote beside, and each call with its answer."""

    said: str
    answers: tuple[Answered, ...]
