"""`[azure]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from .section import Section, usable_authority


class AzureCfg(Section):
    """`[azure]`: the Entra ID identity."""

    credential: Literal["certificate", "secret", "managed", "workload", "cli", "chain"] | None = Field(
        None, description="Kind of identity; unset follows from the keys present."
    )
    tenant_id: str | None = Field(None, description="Entra tenant.")
    client_id: str | None = Field(None, description="Application (client) id.")
    certificate_path: Path | None = Field(None, description="PEM or PFX file with certificate and key.")
    certificate_password: SecretStr | None = Field(None, description="Password of the certificate file.")
    client_secret: SecretStr | None = Field(None, description="Client secret.")
    authority_host: str | None = Field(None, description="Authority, for sovereign clouds and private authorities; unset is login.microsoftonline.com.")
    send_certificate_chain: bool = Field(False, description="Send x5c for subject-name/issuer authentication.")
    federated_token_file: Path | None = Field(None, description="Service account token of a workload identity; unset is what the platform's webhook names.")
    chain: tuple[Literal["certificate", "secret", "workload", "managed", "cli"], ...] = Field(
        ("certificate", "secret", "workload", "managed", "cli"),
        description="Kinds that `credential = chain` tries, in this order; one that is not to be had here gives way to the next.",
    )
    scope: str = Field("https://cognitiveservices.azure.com/.default", description="Scope that tokens are asked for.")
    timeout_s: float = Field(20.0, gt=0, description="Seconds that getting a token may take, repeats included.")
    allow_api_key_fallback: bool = Field(False, description="Fall back to an API key when the identity fails; logged and shown as degraded.")

    _authority = field_validator("authority_host")(usable_authority)
