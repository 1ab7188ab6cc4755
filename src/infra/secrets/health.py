"""Health of the secrets that may change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...errors import RagError
from .live import live_secrets

if TYPE_CHECKING:
    from ..config import Settings
    from ..health import HealthChecker


def register_secrets(checker: HealthChecker, settings: Settings) -> None:
    """Says what could not be read anew: the last known value serves, so the server stays ready. Reads no vault by itself."""
    held = dict.fromkeys(held for _, secret in live_secrets(settings) for held in secret.held)
    if not held:
        return

    def first_error() -> RagError | None:
        return next((error for one in held if (error := one.error) is not None), None)

    async def secrets() -> None:
        error = await asyncio.to_thread(first_error)  # looks at files
        if error is not None:
            raise error

    checker.register_component("secrets", secrets, required=False)
