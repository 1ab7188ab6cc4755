"""Health of the parts: `get_health_checker().register_component(name, check)` adds one's own."""

from __future__ import annotations

from .checker import Check, ComponentHealth, Finding, Health, HealthChecker, get_health_checker
from .hysteresis import Status

__all__ = ["Check", "ComponentHealth", "Finding", "Health", "HealthChecker", "Status", "get_health_checker"]
