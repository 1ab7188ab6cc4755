"""How many clients the configuration needs at once, and whether the caches hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .client_cache import CACHE_SIZE
from .clients import CACHES
from .factories import effective_chat, effective_embed

if TYPE_CHECKING:
    from .config import ChatCfg, EmbedCfg, Settings


def clients_needed(settings: Settings) -> dict[str, int]:
    """Clients by section. Models on Azure whose identity an API key may stand in for have two."""
    chat, embed = _of_model(settings, effective_chat(settings)), _of_model(settings, effective_embed(settings))
    return {"chat": chat, "embed": embed, "search": int(settings.search.host is not None)}


def _of_model(settings: Settings, cfg: ChatCfg | EmbedCfg) -> int:
    if cfg.provider == "local":
        return 0
    from .azure_auth.kinds import kind_names

    identity = cfg.provider == "azure" and bool(kind_names(settings.azure))
    return 2 if identity and cfg.api_key is not None and settings.azure.allow_api_key_fallback else 1


def fit_caches(settings: Settings) -> None:
    """Give each cache the configured size, or room for what the configuration needs."""
    for section, needed in clients_needed(settings).items():
        CACHES[section].resize(settings.cache.clients or max(CACHE_SIZE, needed))


def shortfalls(settings: Settings) -> tuple[str, ...]:
    """A sentence for each cache that is smaller than what is configured, for `rag doctor`; the key is `cache.clients`."""
    size = settings.cache.clients
    return tuple(
        f"[{section}] needs {needed} clients, and [cache] clients = {size} keeps {size}: calls that take turns would open a new connection each."
        for section, needed in clients_needed(settings).items()
        if size is not None and size < needed
    )
