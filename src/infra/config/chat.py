"""`[chat]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from .header import header_name
from .section import Section, usable_address


class ChatCfg(Section):
    """`[chat]`: the model that writes answers."""

    provider: Literal["local", "openai", "azure"] = Field("local", description="`local` answers by extraction, without a model server.")
    model: str = Field("extractive", description="Model's name.")
    deployment: str | None = Field(
        None, description="Azure deployment of the model; unset follows from `[azure_openai] deployments`, else it is the model's name."
    )
    api_base: str | None = Field(None, description="Address of the model's API.")
    api_version: str | None = Field(None, description="Azure OpenAI API version.")
    api_key: SecretStr | None = Field(None, description="API key; Azure may use an identity instead.")
    timeout_s: float = Field(60.0, gt=0, description="Seconds a whole answer may take.")
    max_retries: int = Field(2, ge=0, le=10, description="Repeats after a connection error, 429 or 5xx.")
    temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature.")
    max_output_tokens: int = Field(1024, ge=1, description="Longest answer in tokens.")
    context_window: int | None = Field(
        None,
        ge=256,
        description="Tokens that the model reads and writes in all; unset is what is known of OpenAI's models, else no limit is held to.",
    )
    tokenizer: Path | None = Field(
        None,
        description="The model's `tokenizer.json`, or OpenAI's `.tiktoken` file; unset finds OpenAI's where installed, else counts one token a byte.",
    )
    user_header: str | None = Field(None, description="Header of each request that names the user to the model's service; unset sends none.")
    user: str | None = Field(None, description="User it names where a request has none of its own; unset is `[environment] jpmc_user_sid`.")

    _header = field_validator("user_header")(header_name)
    _address = field_validator("api_base")(usable_address)

    @property
    def deployed(self) -> str:
        """What the service calls the model: pass it as ``model`` with each call."""
        return self.deployment or self.model
