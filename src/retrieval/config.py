"""Retrieval policy as data: how much is asked for, how it is fused, what each stage may cost. Imports nothing of ours."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RetrievalCfg(BaseModel):
    """`[retrieval]`: how much is searched, and how results are fused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
