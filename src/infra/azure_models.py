"""Models of Azure OpenAI under an identity, or a key: which of the two, decided in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..errors import DeadlineExceededError
from ..telemetry.logger import get_logger

if TYPE_CHECKING:
    from .azure_auth import AzureTokens
    from .config import ChatCfg, EmbedCfg
    from .health import HealthChecker
    from .providers.protocol import ChatModel, Embedder
    from .resource_manager import ResourceManager

log = get_logger(__name__)

HEALTH_WAIT_S = 4.0
"""Less than what a health check may take, so that it can say what failed."""

Cfg = TypeVar("Cfg", "ChatCfg", "EmbedCfg")


def under_identity(resources: ResourceManager, cfg: Cfg) -> tuple[Cfg, AzureTokens | None]:
    """The section as its client should have it, and the tokens to use.

    Where an identity is configured, models on Azure use it; a key is then a fallback at most, and not given to their client.
    """
    tokens: AzureTokens | None = resources.tokens if cfg.provider == "azure" else None
    return (cfg, None) if tokens is None else (cfg.model_copy(update={"api_key": None}), tokens)


def _key_may_serve(resources: ResourceManager, cfg: ChatCfg | EmbedCfg, section: str) -> bool:
    allowed = resources.settings.azure.allow_api_key_fallback
    if cfg.api_key is not None and not allowed:
        log.info("an API key is configured beside the Azure identity, and is not used", section=section, setting="azure.allow_api_key_fallback")
    return cfg.api_key is not None and allowed


def azure_chat(resources: ResourceManager, cfg: ChatCfg, make: Callable[[ChatCfg, AzureTokens | None], ChatModel]) -> ChatModel:
    """The chat model of `[chat]`, with its fallback where one is allowed."""
    main, tokens = under_identity(resources, cfg)
    if tokens is None or not _key_may_serve(resources, cfg, "chat"):
        return make(main, tokens)
    from .providers.key_fallback import ChatWithKeyFallback

    return ChatWithKeyFallback(make(main, tokens), make(cfg, None), tokens, cfg.timeout_s)


def azure_embedder(resources: ResourceManager, cfg: EmbedCfg, make: Callable[[EmbedCfg, AzureTokens | None], Embedder]) -> Embedder:
    """The embedder of `[embed]`, likewise."""
    main, tokens = under_identity(resources, cfg)
    if tokens is None or not _key_may_serve(resources, cfg, "embed"):
        return make(main, tokens)
    from .providers.key_fallback import EmbedderWithKeyFallback

    return EmbedderWithKeyFallback(make(main, tokens), make(cfg, None), tokens, cfg.timeout_s)


def register_identity(checker: HealthChecker, resources: ResourceManager) -> None:
    """Health of the identity, where one is configured and used: does it give tokens, and how long is its certificate good?

    An identity that fails makes the server unready, unless a key may stand in; a certificate that expires within 30 days is
    a warning.
    """
    from .factories import effective_chat, effective_embed

    sections = [cfg for cfg in (effective_chat(resources.settings), effective_embed(resources.settings)) if cfg.provider == "azure"]
    tokens: AzureTokens | None = resources.tokens if sections else None
    if tokens is None:
        return
    allowed = resources.settings.azure.allow_api_key_fallback and all(cfg.api_key is not None for cfg in sections)

    async def identity() -> None:
        try:
            async with asyncio.timeout(HEALTH_WAIT_S):
                await tokens.token()
        except TimeoutError:
            late = DeadlineExceededError(f"No token came within {HEALTH_WAIT_S:g} s.", hop=tokens.hop, setting="azure.authority_host")
            raise tokens.last_error or late from None

    checker.register_component("identity", identity, required=not allowed)
    if "certificate" in tokens.kinds:

        async def certificate() -> None:
            await asyncio.to_thread(tokens.check_certificate)

        checker.register_component("certificate", certificate, required=False)
