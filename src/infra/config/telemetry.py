"""`[telemetry]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from .section import Section, usable_address


class TelemetryCfg(Section):
    """`[telemetry]`: logs, traces and metrics."""

    enabled: bool = Field(False, description="Export traces and metrics.")
    endpoint: str | None = Field(None, description="OTLP endpoint.")
    capture_content: bool = Field(False, description="Let prompts, answers and document text into telemetry.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe message that is logged.")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="`auto`: text on a terminal, JSON lines otherwise.")

    _address = field_validator("endpoint")(usable_address)
