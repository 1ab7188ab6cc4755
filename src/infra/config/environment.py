"""`[environment]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .section import Section


class EnvironmentCfg(Section):
    """`[environment]`: where this runs."""

    name: Literal["development", "staging", "production", "testing"] = Field("development", description="Kind of deployment.")
    cloud_profile: str = Field("local", description="Named set of defaults: local, azure, aws, jpmc_azure, or a `[profile:NAME]` of your own.")
    jpmc_user_sid: str | None = Field(None, description="User SID sent with requests by the jpmc_azure profile.")
