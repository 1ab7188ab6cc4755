"""How infrastructure's own resources are built. Nothing here connects; each import is made when its resource is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import UnsupportedFeatureError
from .resource_manager import REGISTRY, ResourceManager

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore

    from .config import ChatCfg, EmbedCfg, Settings
    from .health import HealthChecker
    from .network import NetworkPolicy
    from .providers.protocol import ChatModel, Embedder
    from .search.protocol import SearchClient

INDEX_FOLDER = "index"
"""The search index, inside the data folder."""


def cache_folder(settings: Settings) -> Path:
    """Folder for what can be made again: the prepared model, cached vectors, evaluation indices."""
    return (settings.cache.path or Path("~/.cache/founders-rag")).expanduser()


def effective_chat(settings: Settings) -> ChatCfg:
    """`[chat]`, with the shared Azure key where it has none of its own."""
    chat = settings.chat
    key = chat.api_key or (settings.azure_openai.api_key if chat.provider == "azure" else None)
    return chat.model_copy(update={"api_key": key})


def effective_embed(settings: Settings) -> EmbedCfg:
    """`[embed]`, with address, version and key of the chat model (same provider) where it has none of its own."""
    embed, chat = settings.embed, effective_chat(settings)
    shared = chat if chat.provider == embed.provider else None
    key = embed.api_key or (shared.api_key if shared else None) or (settings.azure_openai.api_key if embed.provider == "azure" else None)
    return embed.model_copy(
        update={
            "api_base": embed.api_base or (shared.api_base if shared else None),
            "api_version": embed.api_version or (shared.api_version if shared else None),
            "api_key": key,
        }
    )


def build_network(resources: ResourceManager) -> NetworkPolicy:
    from .network import NetworkPolicy

    return NetworkPolicy(resources.settings.network)


def build_tokens(resources: ResourceManager) -> None:
    """No identity is configured, so there is no token provider.

    Raises:
        UnsupportedFeatureError: one is configured: Entra identities are not part of this release.
    """
    azure = resources.settings.azure
    if azure.credential or azure.certificate_path or azure.client_secret:
        raise UnsupportedFeatureError(
            "Entra ID identities are not part of this release.", setting="azure.credential", hint="Use [azure_openai] api_key for now."
        )


def build_chat(resources: ResourceManager) -> ChatModel:
    cfg = effective_chat(resources.settings)
    if cfg.provider == "local":
        from .providers.local_chat import LocalChatModel

        return LocalChatModel(resources.embedder)
    from .clients import make_chat_client
    from .providers.openai_chat import OpenAIChatModel

    tokens = None if cfg.api_key else resources.tokens
    return OpenAIChatModel(lambda: make_chat_client(cfg, tokens, network=resources.network), cfg)


def build_embedder(resources: ResourceManager) -> Embedder:
    from .providers.embedding_cache import CachedEmbedder

    cfg = effective_embed(resources.settings)
    inner = _bare_embedder(resources, cfg)
    if cfg.cache_entries == 0:
        return inner
    return CachedEmbedder(inner, cache_folder(resources.settings) / "embeddings.sqlite", cfg.cache_entries)


def _bare_embedder(resources: ResourceManager, cfg: EmbedCfg) -> Embedder:
    if cfg.provider == "local":
        from .providers.local_embedder import LocalEmbedder

        return LocalEmbedder(cache_folder(resources.settings), threads=cfg.threads)
    from .clients import make_embed_client
    from .providers.openai_embedder import OpenAIEmbedder

    tokens = None if cfg.api_key else resources.tokens
    return OpenAIEmbedder(lambda: make_embed_client(cfg, tokens, network=resources.network), cfg)


def build_search(resources: ResourceManager) -> SearchClient:
    settings = resources.settings
    if settings.search.chosen_engine == "opensearch":
        from .opensearch_client import OpenSearchClient

        return cast("SearchClient", OpenSearchClient(settings.search))
    from .search.embedded import EmbeddedSearch

    embedder = resources.embedder
    return EmbeddedSearch(settings.storage.path / INDEX_FOLDER, embedder=embedder.model, dims=embedder.dims)


def build_checkpointer(resources: ResourceManager) -> BaseCheckpointSaver[Any]:
    from .persistence import build_checkpointer as build

    return build(resources.settings)


def build_store(resources: ResourceManager) -> BaseStore:
    from .persistence import build_store as build

    return build(resources.settings)


def build_health(resources: ResourceManager) -> HealthChecker:
    """Checks of what an answer needs: the index, and the model that embeds questions."""
    from .health import HealthChecker

    async def embedder() -> None:
        await resources.embedder.embed(["ready?"])

    async def search() -> None:
        await resources.search.ping()

    checker = HealthChecker()
    checker.register_component("search", search)
    checker.register_component("embedder", embedder)
    return checker


for _name, _factory in {
    "network": build_network,
    "tokens": build_tokens,
    "chat": build_chat,
    "embedder": build_embedder,
    "search": build_search,
    "checkpointer": build_checkpointer,
    "store": build_store,
    "health": build_health,
}.items():
    REGISTRY.register(_name, _factory)
