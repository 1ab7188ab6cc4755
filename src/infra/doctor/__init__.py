"""`rag doctor`: the configuration checked hop by hop, without side effects."""

from __future__ import annotations

from .report import Finding, Fix, HopReport, Report, StepReport, as_json
from .runner import TIMEOUT_S, diagnose

__all__ = ["TIMEOUT_S", "Finding", "Fix", "HopReport", "Report", "StepReport", "as_json", "diagnose"]
