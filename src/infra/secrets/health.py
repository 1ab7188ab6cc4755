"""Health of the secrets that may change, and whether callers can be told apart by one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from ...errors import ConfigurationError, RagError
from .live import Held, LiveSecret, live_secrets

if TYPE_CHECKING:
    from ..config import Settings
    from ..health import HealthChecker

PATIENCE_S = 2.0
"""Whoever comes while a token is read again waits so long at most; then the last one counts."""


def register_secrets(checker: HealthChecker, settings: Settings) -> None:
    """Says what could not be read anew. Where a last value serves the server stays ready; what cannot do without one has a check of
    its own. Asks a vault only where it failed before."""
    _register_sign_in(checker, settings)
    held = dict.fromkeys(held for _, secret in live_secrets(settings) for held in secret.held)
    empty = tuple(_unset_by_files(settings))
    if not held and not empty:
        return

    def first_error() -> RagError | None:
        errors = (*map(_error_of, held), *map(_late, empty))
        return next((error for error in errors if error is not None), None)

    async def secrets() -> None:
        error = await asyncio.to_thread(first_error)  # looks at files
        if error is not None:
            raise error

    checker.register_component("secrets", secrets, required=False)


def _error_of(held: Held) -> RagError | None:
    error = held.error
    if error is not None:
        with suppress(RagError):  # within its pause; the error is at hand
            held.ask()  # so that what works again is seen though nobody uses it; waits for nothing
    return error


def _unset_by_files(settings: Settings) -> Iterator[str]:
    """Secret files that were empty when the configuration was loaded: their keys are not set, as with an empty variable."""
    for section, model in settings:
        for key in type(model).model_fields if isinstance(model, BaseModel) else ():
            source = settings.provenance.sources.get(f"{section}.{key}")
            if source is not None and source.kind == "secret" and getattr(model, key) is None:
                yield source.where


def _late(file: str) -> RagError | None:
    try:
        written = Path(file).stat().st_size > 0 and bool(Path(file).read_bytes().strip())
    except OSError:  # gone, as its key
        return None
    text = f"The secret file {file} was empty when the configuration was loaded, and holds a value now."
    return ConfigurationError(text, hint="Restart to use it.") if written else None


def _register_sign_in(checker: HealthChecker, settings: Settings) -> None:
    """Nobody can be served while the only token that callers may have cannot be read: not ready, and read here, for nobody else asks then."""
    token = settings.api.token
    if settings.api.auth == "none" or settings.api.tokens_file is not None or not isinstance(token, LiveSecret):
        return

    async def sign_in() -> None:
        await token.in_force(PATIENCE_S)

    checker.register_component("sign_in", sign_in)
