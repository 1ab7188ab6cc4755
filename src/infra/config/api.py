"""`[api]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from .section import Section


class ApiCfg(Section):
    """`[api]`: the HTTP server."""

    host: str = Field("127.0.0.1", description="Address to listen on; `auth = none` allows loopback only.")
    port: int = Field(8000, ge=0, le=65535, description="Port; 0 takes a free one.")
    auth: Literal["none", "tokens"] = Field("none", description="`none`: one local user; `tokens`: bearer tokens from `tokens_file`.")
    token: SecretStr | None = Field(None, description="One bearer token of the user `api`, beside those of `tokens_file`.")
    tokens_file: Path | None = Field(None, description="JSON file of hashed bearer tokens and their identities.")
    admin_group: str | None = Field(
        None, min_length=1, description="Group whose members see /admin and /v1/admin, of every tenant; unset: nobody, or with `auth = none` the local user."
    )
    cors_origins: tuple[str, ...] = Field((), description="Origins that browsers may call from, comma separated.")
    max_request_bytes: int = Field(1_000_000, ge=1_000, description="Largest request body, uploads apart.")
    max_upload_bytes: int = Field(50_000_000, ge=1_000, description="Largest uploaded file.")
    request_timeout_s: float = Field(120.0, gt=0, description="Seconds a request may take.")
    resume_s: float = Field(30.0, ge=0, le=3600, description="Seconds a streamed answer goes on for a client that lost its connection; 0 stops it at once.")
