"""Retrieval policy as data: how much is asked for, how it is fused, what each stage may take, what questions are about.

Imports nothing of ours.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

LINES: dict[str, JsonValue] = {"items": "lines"}
"""Marks a list whose items hold commas: they stand one a line."""


class RetrievalCfg(BaseModel):
    """`[retrieval]`: how much is searched, and how results are fused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    mode: Literal["bm25", "knn", "hybrid"] = Field("hybrid", description="Search mode where a request names none.")
    top_k: int = Field(10, ge=1, le=1000, description="Hits of a search where a request names no number.")
    fusion: Literal["completed", "server"] = Field(
        "completed", description="`completed` scores every candidate in both legs; `server` is the engine's own hybrid in one round trip."
    )
    technique: Literal["min_max", "l2", "z_score", "rrf"] = Field("min_max", description="Normalisation of `fusion = server`.")
    # .53 to .57 are a plateau on SciFact, Cranfield and MT-RAG (docs/evaluation.md); .5 costs MT-RAG .004 and Cranfield .002.
    vector_weight: float = Field(0.54, ge=0, le=1, description="Weight of the vector leg in hybrid search; BM25 has the rest.")
    candidates: int = Field(200, ge=1, le=10000, description="Candidates of each leg before fusion.")
    passages: int = Field(8, ge=1, le=50, description="Passages that an answer may draw on.")
    context_tokens: int = Field(3000, ge=200, description="Token budget of the passages in a prompt.")
    budget_s: float | None = Field(None, gt=0, description="Seconds that embedding and searching may take together; unset leaves it to the timeouts.")
    embed_budget_s: float | None = Field(
        None, gt=0, description="Seconds that embedding a question may take before hybrid search goes on by words alone; unset is half of `budget_s`."
    )
    search_budget_s: float | None = Field(
        None,
        gt=0,
        description="Seconds that the engine may take; a hybrid search that takes longer is asked again by words alone. Unset is what `budget_s` leaves.",
    )


class IntentCfg(BaseModel):
    """`[intent:NAME]`: questions of one kind, and how they are searched for. The rule that fits a question best applies."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True, defer_build=True, allow_inf_nan=False)

    enabled: bool = Field(True, description="Switches the rule off without taking it out.")
    pattern: str | None = Field(
        None, description="Regular expression (Rust syntax: no look-around, no back-references) that is looked for in the question, in any case."
    )
    examples: tuple[str, ...] = Field(
        (),
        description="Phrases or whole questions; a question that has nearly all words of one, close together, is of this kind.",
        json_schema_extra=LINES,
    )
    mode: Literal["bm25", "knn", "hybrid"] | None = Field(None, description="Search mode of such questions, where the request names none.")
    filters: tuple[str, ...] = Field(
        (),
        description="Filters that such questions are searched with, as for `rag search --filter`; one on a field that the request filters by gives way.",
        json_schema_extra=LINES,
    )
    boosts: tuple[str, ...] = Field(
        (),
        description=(
            "What such questions prefer: a filter, then `^` and a weight in standard deviations of the scores"
            " (0.5 if left out; less than 0 puts back). Nothing is left out by it."
        ),
        json_schema_extra=LINES,
    )
