"""Runs registered checks side by side, each within its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ..errors import RagError
from .resilience.health_cache import HealthCache

Status = Literal["healthy", "unhealthy"]
Check = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """One component; ``message`` says what is wrong and holds no secret."""

    name: str
    status: Status
    latency_ms: float
    message: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Health:
    components: tuple[ComponentHealth, ...]

    @property
    def ready(self) -> bool:
        """Everything that answers need is healthy."""
        return all(c.status == "healthy" for c in self.components if c.required)


class HealthChecker:
    """Checks by name. A check returns, or raises what is wrong. Whoever asks while one runs shares its outcome.

    Args:
        timeout_s: seconds that one check may take before it counts as unhealthy.
        ttl_s: seconds that an outcome is kept, so that many probes (each replica's, each monitor's) cost a service one question.
    """

    def __init__(self, timeout_s: float = 5.0, ttl_s: float = 1.0) -> None:
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._checks: dict[str, HealthCache[ComponentHealth]] = {}

    def register_component(self, name: str, check: Check, *, required: bool = True) -> None:
        """Add a check; ``required`` ones decide readiness."""
        self._checks[name] = HealthCache(partial(self._check, name, check, required), self._ttl_s)

    async def check_all(self) -> Health:
        """All components, in order of registration."""
        return Health(tuple(await asyncio.gather(*(check.get() for check in self._checks.values()))))

    async def _check(self, name: str, check: Check, required: bool) -> ComponentHealth:
        start = time.perf_counter()
        message = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                await check()
        except TimeoutError:
            message = f"no answer within {self._timeout_s:g} s"
        except RagError as error:
            message = str(error)
        except Exception as error:  # noqa: BLE001 - a broken check is an unhealthy component; foreign texts may hold secrets, so only the type
            message = f"the check failed with {type(error).__name__}"
        latency = (time.perf_counter() - start) * 1000
        return ComponentHealth(name, "unhealthy" if message else "healthy", round(latency, 3), message, required)
