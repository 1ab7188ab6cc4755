"""`[secrets]`."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from .section import Section, usable_address


class SecretsCfg(Section):
    """`[secrets]`: vaults that `${vault:NAME}` and `${aws:NAME#KEY}` read from."""

    vault: str | None = Field(None, description="Azure Key Vault, such as https://NAME.vault.azure.net, which the `[azure]` identity may read.")
    aws_region: str | None = Field(None, description="Region of AWS Secrets Manager; unset is the profile's.")
    aws_profile: str | None = Field(None, description="AWS profile to read secrets with; unset is AWS's own chain.")
    aws_role_arn: str | None = Field(None, description="Role to assume for reading secrets.")
    aws_endpoint: str | None = Field(None, description="Address of Secrets Manager, such as a VPC endpoint's; unset is the region's own.")
    ttl_s: float = Field(300.0, gt=0, description="Seconds after which a secret of a vault is read again, behind the caller's back.")
    timeout_s: float = Field(10.0, gt=0, description="Seconds that reading one may take, repeats and the identity's token included.")

    _addresses = field_validator("vault", "aws_endpoint")(usable_address)

    @field_validator("vault")
    @classmethod
    def _https(cls, value: str | None) -> str | None:
        """Tokens go there."""
        parts = urlsplit((value or "https:").strip())
        if parts.scheme != "https" or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("is no https address of a vault alone; write it as https://NAME.vault.azure.net.")
        return value
