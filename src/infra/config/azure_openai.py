"""`[azure_openai]`."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, field_validator

from .section import Section

_DEPLOYMENT = re.compile(r"[A-Za-z0-9._-]{1,64}")


class AzureOpenAICfg(Section):
    """`[azure_openai]`: credentials shared by Azure chat and embeddings."""

    api_key: SecretStr | None = Field(None, description="API key of the Azure OpenAI resource.")
    deployments: tuple[str, ...] = Field((), description="Azure deployments that are not named after their model: MODEL=DEPLOYMENT, comma separated.")

    @field_validator("deployments")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        pairs = [tuple(part.strip() for part in entry.partition("=")[::2]) for entry in value]
        if any(not model or not _DEPLOYMENT.fullmatch(deployment) for model, deployment in pairs):
            raise ValueError("must be pairs as MODEL=DEPLOYMENT, the latter of letters, digits, . _ and -")
        if len({model for model, _ in pairs}) < len(pairs):
            raise ValueError("names a model twice")
        return tuple(f"{model}={deployment}" for model, deployment in pairs)

    def deployment_of(self, model: str) -> str | None:
        """The deployment that a model is mapped to."""
        return dict(entry.split("=", 1) for entry in self.deployments).get(model)
