"""Fixtures of the integration tests."""

from __future__ import annotations

from tests.emulators.fixtures import azure, chat_cfg, embed_cfg, policy
from tests.integration.entra_world import world

__all__ = ["azure", "chat_cfg", "embed_cfg", "policy", "world"]
