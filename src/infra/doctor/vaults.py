"""Secrets that lie in vaults, or in files that are read again: each can be had. Values are read, and shown nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..secrets.held import VaultSecret
from ..secrets.live import LiveSecret, current, live_secrets
from .walk import Step, Walk

if TYPE_CHECKING:
    from pydantic import SecretStr

    from ..config import Settings


def steps() -> tuple[Step, ...]:
    return (Step("secrets", secrets),)


def in_vaults(settings: Settings) -> Iterator[tuple[str, LiveSecret]]:
    """``section.key`` and secret of each that a vault has to be asked for."""
    return ((name, secret) for name, secret in live_secrets(settings) if any(isinstance(held, VaultSecret) for held in secret.held))


def known(secret: SecretStr | None) -> str:
    """The value where nobody has to be asked for it; else the empty text."""
    if secret is None or (isinstance(secret, LiveSecret) and any(held.known is None for held in secret.held)):
        return ""
    return secret.get_secret_value()


async def secrets(walk: Walk) -> str:
    """Each secret of a vault can be read; the first that cannot is told, with the vault's hop and setting."""
    found = list(in_vaults(walk.settings))
    for _, secret in found:
        await current(secret)
    places = sorted({place for _, secret in found for place in secret.places})
    return f"{', '.join(name for name, _ in found)}: {'; '.join(places)}"
