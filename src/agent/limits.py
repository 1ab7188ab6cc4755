"""What one request may take: tokens and cost of its model calls. Pure; seconds travel as a deadline, steps are counted by the graph.

What a call will take is not known before it has ended: it is estimated, rather too high (three bytes of UTF-8 a token), so
that no limit is passed; once the service has counted, its figures take the estimate's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.chat import Message, Usage
from ..errors import LimitExceededError

if TYPE_CHECKING:
    from ..infra.config import AgentCfg

BYTES_PER_TOKEN = 3
MILLION = 1_000_000
ANSWERING = "The answer"
"""What the deadline of `[agent] max_seconds` is for."""
MAX_SECONDS = "agent.max_seconds"
STEPS_ENDED = "tool calls were ended at [agent] max_steps"


@dataclass(frozen=True, slots=True)
class Limits:
    """`[agent]`'s limits; None is none. Prices are for a million tokens, in the unit of ``cost``."""

    steps: int = 0
    tokens: int | None = None
    cost: float | None = None
    input_price: float = 0.0
    output_price: float = 0.0

    @classmethod
    def of(cls, cfg: AgentCfg) -> Limits:
        return cls(cfg.max_steps, cfg.max_tokens, cfg.max_cost, cfg.input_price or 0.0, cfg.output_price or 0.0)

    @property
    def any(self) -> bool:
        return self.tokens is not None or self.cost is not None

    def passed(self, usage: Usage) -> str:
        """The setting whose limit a usage is over; empty for none."""
        if self.tokens is not None and usage.input_tokens + usage.output_tokens > self.tokens:
            return "agent.max_tokens"
        if self.cost is not None and self.cost_of(usage) > self.cost:
            return "agent.max_cost"
        return ""

    def cost_of(self, usage: Usage) -> float:
        return (usage.input_tokens * self.input_price + usage.output_tokens * self.output_price) / MILLION


class Meter:
    """What a request has taken once one more model call is under way.

    Args:
        before: what its calls took so far.
        messages: what the call sends.
    """

    def __init__(self, limits: Limits, before: Usage, messages: Sequence[Message]) -> None:
        self._limits = limits
        self._before = before
        self._input = tokens_of(sum(len(part.encode("utf-8", "replace")) for part in texts_of(messages))) if limits.any else 0
        self._bytes = 0

    @property
    def estimate(self) -> Usage:
        """What this call has taken so far, as far as anybody can tell before its end; nothing where nothing is limited."""
        return Usage(self._input, tokens_of(self._bytes)) if self._limits.any else Usage()

    def check(self) -> str:
        """The setting whose limit the request is over, or will be with what is under way; empty for none."""
        return self._limits.passed(self._before + self.estimate) if self._limits.any else ""

    def feed(self, text: str) -> str:
        """`check`, with a further piece of the reply."""
        if not self._limits.any:
            return ""
        self._bytes += len(text.encode("utf-8", "replace"))
        return self.check()


def tokens_of(size: int) -> int:
    """Tokens of so many bytes of text, rather too many than too few."""
    return -(-size // BYTES_PER_TOKEN)


def texts_of(messages: Sequence[Message]) -> list[str]:
    return [part for message in messages for part in (message.content, *(f"{call.name}{call.arguments}" for call in message.tool_calls))]


def limit_error(setting: str) -> LimitExceededError:
    """The error of a request that ended at a limit before a sentence of it could leave."""
    text = "The question takes more than one request may take; it was ended before an answer."
    return LimitExceededError(text, setting=setting, hint="Ask for less at once, or raise the setting.")


def cut_reason(setting: str) -> str:
    """What ``degraded`` says of an answer that ended at a limit."""
    section, _, key = setting.partition(".")
    return f"the answer was cut off at [{section}] {key}"
