"""`[agent]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from .section import Section


class AgentCfg(Section):
    """`[agent]`: from a question to a cited answer."""

    verify: Literal["sentence", "after", "off"] = Field(
        "sentence",
        description=("When citations are checked: before each sentence leaves; at the end, which may take back what was shown, even all of it; never."),
    )
    history_strategy: Literal["recent", "sliding", "summarise"] = Field(
        "recent",
        description="What a model is shown of earlier turns: the last `history_turns`; as many as `history_tokens` holds; these and a summary of the rest.",
    )
    history_turns: int = Field(6, ge=0, le=100, description="Turns that `history_strategy = recent` shows, and that rules read for a follow-up.")
    history_tokens: int = Field(4000, ge=0, le=1_000_000, description="Tokens of earlier turns and their summary in a prompt, by the model's own count.")
    summary_tokens: int = Field(600, ge=200, le=100_000, description="Longest summary of `history_strategy = summarise`, of these.")
    rewrite: Literal["model", "rules"] = Field(
        "model",
        description="Who makes a follow-up stand alone and takes a compound question apart: the model, with one call where rules see need; rules alone.",
    )
    sub_questions: int = Field(3, ge=0, le=8, description="Questions that a compound one is taken apart into at most, one search each; below 2 none is.")
    clarify: bool = Field(True, description="A question that refers to what nobody named is asked back.")
    prompts: Path | None = Field(None, description="Folder of files that take the place of our prompts, by their names.")
    refuse_below: float | None = Field(None, ge=0, le=1, description="Evidence below which extraction refuses; unset takes the calibrated value.")
    tools: tuple[str, ...] = Field(
        (), description="Tools that a model which can call tools may call: `search`, `fetch_document`, and those of installed packages. Empty: none."
    )
    approve: tuple[str, ...] = Field((), description="Those of `tools` that run only once the person who asks has allowed the call.")
    max_steps: int = Field(4, ge=1, le=50, description="Replies of the model within one request whose tool calls are run; then it has to answer.")
    tool_result_tokens: int = Field(
        2000, ge=200, le=100_000, description="Tokens that one tool call may bring; what does not fit is left out, and the model is told."
    )
    tool_timeout_s: float = Field(30, gt=0, description="Seconds that one tool call may take; then the model is told that it failed.")
    max_seconds: float | None = Field(None, gt=0, description="Seconds that one request may take; unset leaves it to the timeouts of its parts.")
    max_tokens: int | None = Field(None, ge=1, description="Tokens, read and written, that the model calls of one request may take together; unset: no limit.")
    max_cost: float | None = Field(None, gt=0, description="What the model calls of one request may cost together, by the two prices; unset: no limit.")
    input_price: float | None = Field(None, ge=0, description="Price of a million tokens that the model reads, in the unit of `max_cost`.")
    output_price: float | None = Field(None, ge=0, description="Price of a million tokens that the model writes, in the unit of `max_cost`.")

    @model_validator(mode="after")
    def _summarised(self) -> Self:
        if self.history_strategy == "summarise" and self.history_tokens < 2 * self.summary_tokens:
            raise ValueError("history_tokens has no room for a summary beside turns: make it at least twice summary_tokens")
        return self

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.max_cost is not None and (self.input_price is None or self.output_price is None):
            raise ValueError("max_cost limits nothing without the prices of the model: input_price and output_price")
        return self

    @model_validator(mode="after")
    def _approvable(self) -> Self:
        if others := [name for name in self.approve if name not in self.tools]:
            raise ValueError(f"approve names what is not among the allowed tools: {', '.join(others)}")
        return self
