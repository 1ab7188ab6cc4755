"""`[rerank]`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from .section import Section, usable_address

PATH = "/rerank"


class RerankCfg(Section):
    """`[rerank]`: a model that reads question and passage together, and puts what a search found into a better order."""

    provider: Literal["off", "cohere", "tei"] = Field(
        "off", description="Shape of its API: `cohere` (also Jina, vLLM, LiteLLM, Infinity) or `tei` (Hugging Face TEI); `off` keeps the search's order."
    )
    model: str = Field("", description="Model's name; `tei` serves one and takes none.")
    api_base: str | None = Field(None, description="What stands before `/rerank` in its address, such as `https://api.cohere.com/v2`.")
    api_key: SecretStr | None = Field(None, description="API key, sent as a bearer token; unset sends none.")
    candidates: int = Field(50, ge=2, le=1000, description="Best hits of a search that it orders; what lies deeper keeps its place behind them.")
    timeout_s: float = Field(5.0, gt=0, description="Seconds that ordering may take, repeats included; then the order of the search stands.")
    max_retries: int = Field(1, ge=0, le=10, description="Repeats after a connection error, 429 or 5xx.")
    batch_size: int | None = Field(None, ge=1, le=1000, description="Passages in one call; unset is 32 for `tei`, its own default, and else 100.")
    passage_chars: int = Field(8000, ge=100, le=1_000_000, description="Characters of a passage that are sent; the rest is cut off.")

    @field_validator("api_base")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        """Whoever names the whole address means the same."""
        found = usable_address(value)
        return found and found.strip().rstrip("/").removesuffix(PATH)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.provider != "off" and not self.api_base:
            raise ValueError("api_base is needed: the address of the reranker, up to /rerank")
        if self.provider == "cohere" and not self.model:
            raise ValueError("model is needed: an API of this shape serves several")
        return self

    @property
    def per_call(self) -> int:
        """Passages in one call."""
        return self.batch_size or (32 if self.provider == "tei" else 100)
