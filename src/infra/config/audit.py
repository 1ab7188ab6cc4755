"""`[audit]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from .section import Section


class AuditCfg(Section):
    """`[audit]`: who asked, what they were shown, what was changed; never what was said."""

    enabled: bool = Field(False, description="Record who asked, which documents they were shown, and what was changed; needs `keys`.")
    path: Path | None = Field(None, description="The file; default audit/audit.jsonl in the data folder. Processes of one machine may share it.")
    keys: SecretStr | None = Field(
        None, description="Keys of the hash chain: NAME:BASE64 (32 bytes), comma separated; the first signs, all verify. `openssl rand -base64 32` makes one."
    )
    anchor: Path | None = Field(
        None, description="A second file, on another disk or machine, that gets the chain's head with each record: finds a cut tail and a recomputed chain."
    )
    anchor_log_s: float = Field(60.0, ge=0, description="Seconds between two lines of the log that hold the chain's head; 0: none.")
    on_failure: Literal["refuse", "warn"] = Field(
        "refuse", description="Where an event cannot be recorded: `refuse` what it is about, or `warn` in the log and record how many are missing."
    )
    timeout_s: float = Field(5.0, gt=0, le=60, description="Seconds that recording an event may take.")
    pseudonymous: bool = Field(False, description="Record a keyed hash of users, tenants, documents and addresses in place of them.")

    @model_validator(mode="after")
    def _with_key(self) -> Self:
        if self.enabled and self.keys is None:
            raise ValueError("enabled needs keys: set `keys` to NAME:BASE64 of 32 random bytes (openssl rand -base64 32), best in a secret file.")
        return self
