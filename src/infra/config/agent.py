"""`[agent]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .section import Section


class AgentCfg(Section):
    """`[agent]`: from a question to a cited answer."""

    verify: Literal["sentence", "after", "off"] = Field(
        "sentence",
        description=("When citations are checked: before each sentence leaves; at the end, which may take back what was shown, even all of it; never."),
    )
    history_turns: int = Field(6, ge=0, le=100, description="Turns of a thread that condensing a follow-up may read.")
    refuse_below: float | None = Field(None, ge=0, le=1, description="Evidence below which extraction refuses; unset takes the calibrated value.")
