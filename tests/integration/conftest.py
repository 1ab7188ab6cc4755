"""Fixtures of the integration tests."""

from __future__ import annotations

from tests.emulators.fixtures import azure, chat_cfg, embed_cfg, policy

__all__ = ["azure", "chat_cfg", "embed_cfg", "policy"]
