"""`[embed]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from .header import header_name
from .section import Section, usable_address


class EmbedCfg(Section):
    """`[embed]`: the model that turns text into vectors."""

    provider: Literal["local", "openai", "azure"] = Field("local", description="`local` is all-MiniLM-L6-v2, int8 ONNX, on this machine.")
    model: str = Field("all-MiniLM-L6-v2", description="Model's name.")
    deployment: str | None = Field(
        None, description="Azure deployment of the model; unset follows from `[azure_openai] deployments`, else it is the model's name."
    )
    dims: int = Field(384, ge=1, le=65536, description="Length of its vectors.")
    api_base: str | None = Field(None, description="Address of the model's API; empty means `[chat] api_base`.")
    api_version: str | None = Field(None, description="Azure OpenAI API version; empty means `[chat] api_version`.")
    api_key: SecretStr | None = Field(None, description="API key; empty means the chat model's.")
    timeout_s: float = Field(30.0, gt=0, description="Seconds one batch may take.")
    max_retries: int = Field(2, ge=0, le=10, description="Repeats after a connection error, 429 or 5xx.")
    batch_size: int = Field(64, ge=1, le=2048, description="Texts in one call of a remote model.")
    threads: int = Field(0, ge=0, description="Processor threads of the local model; 0 takes the machine's cores, 4 at most.")
    cache_entries: int = Field(100_000, ge=0, description="Vectors kept in the embedding cache, keyed by model and text; 0 switches it off.")
    user_header: str | None = Field(None, description="As in `[chat]`; empty means the chat model's.")
    user: str | None = Field(None, description="As in `[chat]`; empty means the chat model's.")

    _header = field_validator("user_header")(header_name)
    _address = field_validator("api_base")(usable_address)

    @property
    def deployed(self) -> str:
        """What the service calls the model: pass it as ``model`` with each call."""
        return self.deployment or self.model
