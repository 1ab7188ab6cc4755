"""How infrastructure's own resources are built. Nothing here connects; each import is made when its resource is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .resource_manager import REGISTRY, ResourceManager

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore

    from ..telemetry.audit import AuditTrail
    from .azure_auth import AzureTokens
    from .config import ChatCfg, EmbedCfg, SearchCfg, Settings
    from .health import HealthChecker
    from .network import NetworkPolicy
    from .persistence.postgres.database import Database
    from .providers.protocol import ChatModel, Embedder, Reranker
    from .search.protocol import SearchClient

INDEX_FOLDER = "index"
"""The search index, inside the data folder."""


def cache_folder(settings: Settings) -> Path:
    """Folder for what can be made again: the prepared model, cached vectors, evaluation indices."""
    return (settings.cache.path or Path("~/.cache/founders-rag")).expanduser()


def effective_chat(settings: Settings) -> ChatCfg:
    """`[chat]`, with the shared Azure key and deployments, and the configured user, where it has none of its own."""
    chat = settings.chat
    key = chat.api_key or (settings.azure_openai.api_key if chat.provider == "azure" else None)
    deployment, lender_of_deployment = _deployment(settings, chat)
    user = (chat.user or settings.environment.jpmc_user_sid) if chat.user_header else None
    lender = "azure_openai.api_key" if key is not None and chat.api_key is None else ""
    values = {"api_key": key, "deployment": deployment, "user": user}
    return chat.model_copy(update=values).lent(api_key=lender, deployment=lender_of_deployment)


def _deployment(settings: Settings, cfg: ChatCfg | EmbedCfg) -> tuple[str | None, str]:
    """The Azure deployment of a section's model, and the key that lends it."""
    mapped = settings.azure_openai.deployment_of(cfg.model) if cfg.provider == "azure" and not cfg.deployment else None
    return cfg.deployment or mapped, "azure_openai.deployments" if mapped else ""


def effective_embed(settings: Settings) -> EmbedCfg:
    """`[embed]`, with address, version, key and user of the chat model (same provider) where it has none of its own."""
    embed, chat = settings.embed, effective_chat(settings)
    shared = chat if chat.provider == embed.provider else None
    key = embed.api_key or (shared.api_key if shared else None) or (settings.azure_openai.api_key if embed.provider == "azure" else None)
    values = {
        "api_base": embed.api_base or (shared.api_base if shared else None),
        "api_version": embed.api_version or (shared.api_version if shared else None),
        "api_key": key,
        "user_header": embed.user_header or (shared.user_header if shared else None),
    }
    from_chat = {name: chat.key("chat", name) for name in values if shared and getattr(shared, name) and not getattr(embed, name)}
    deployment, lender_of_deployment = _deployment(settings, embed)
    user = (embed.user or (shared.user if shared else None) or settings.environment.jpmc_user_sid) if values["user_header"] else None
    lenders = {"api_key": "azure_openai.api_key" if key is not None and embed.api_key is None else "", "deployment": lender_of_deployment, **from_chat}
    return embed.model_copy(update={**values, "deployment": deployment, "user": user}).lent(**lenders)


def build_network(resources: ResourceManager) -> NetworkPolicy:
    from .network import NetworkPolicy

    return NetworkPolicy(resources.settings.network)


def build_tokens(resources: ResourceManager) -> AzureTokens | None:
    """The tokens of the configured Azure identity; None where there is none. The first token is fetched when it is first asked for."""
    from .azure_auth import make_token_provider

    return make_token_provider(resources.settings.azure, resources.network)


def build_chat(resources: ResourceManager) -> ChatModel:
    cfg = effective_chat(resources.settings)
    if cfg.provider == "local":
        from .providers.local_chat import LocalChatModel

        return LocalChatModel(resources.embedder)
    from .azure_models import azure_chat
    from .client_sizes import fit_caches
    from .clients import make_chat_client
    from .providers.openai_chat import OpenAIChatModel

    fit_caches(resources.settings)
    return azure_chat(resources, cfg, lambda cfg, tokens: OpenAIChatModel(lambda: make_chat_client(cfg, tokens, network=resources.network), cfg))


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
    from .azure_models import azure_embedder
    from .client_sizes import fit_caches
    from .clients import make_embed_client
    from .providers.openai_embedder import OpenAIEmbedder

    fit_caches(resources.settings)
    return azure_embedder(resources, cfg, lambda cfg, tokens: OpenAIEmbedder(lambda: make_embed_client(cfg, tokens, network=resources.network), cfg))


def build_reranker(resources: ResourceManager) -> Reranker | None:
    """The reranker of `[rerank]`; None where it is off."""
    cfg = resources.settings.rerank
    if cfg.provider == "off":
        return None
    from .providers.rerank import HttpReranker

    return HttpReranker(cfg, resources.network)


def build_search(resources: ResourceManager) -> SearchClient:
    settings = resources.settings
    return make_engine(resources, settings.search.chosen_engine, settings.search)


def make_engine(resources: ResourceManager, engine: Literal["embedded", "opensearch"], cfg: SearchCfg) -> SearchClient:
    """A search engine for the configured embedder, whichever one the configuration chose; the caller closes it.

    Args:
        cfg: `[search]`, with the alias to use.

    Raises:
        ConfigurationError: `[search]` names no host.
    """
    embedder = resources.embedder
    if engine == "opensearch":
        from .opensearch_client import OpenSearchClient

        return OpenSearchClient(cfg, embedder=embedder.model, dims=embedder.dims, network=resources.network)
    from .search.embedded import EmbeddedSearch

    return EmbeddedSearch(resources.settings.storage.path / INDEX_FOLDER, embedder=embedder.model, dims=embedder.dims)


def build_database(resources: ResourceManager) -> Database | None:
    """The PostgreSQL database of threads; None for the other backends."""
    from .persistence import postgres_database

    return postgres_database(resources.settings)


def build_checkpointer(resources: ResourceManager) -> BaseCheckpointSaver[Any]:
    from .persistence import build_checkpointer as build

    return build(resources.settings, resources.get("database"))


def build_store(resources: ResourceManager) -> BaseStore:
    from .persistence import build_store as build

    return build(resources.settings, resources.get("database"))


def build_audit(resources: ResourceManager) -> AuditTrail:
    """The audit trail of `[audit]`; one that keeps nothing where it is off."""
    from .audit.trail import make_audit

    return make_audit(resources.settings)


def build_health(resources: ResourceManager) -> HealthChecker:
    """Checks of what an answer needs, and of what will soon be in its way."""
    from .health.parts import make_checker

    return make_checker(resources)


for _name, _factory in {
    "network": build_network,
    "tokens": build_tokens,
    "chat": build_chat,
    "embedder": build_embedder,
    "reranker": build_reranker,
    "search": build_search,
    "database": build_database,
    "checkpointer": build_checkpointer,
    "store": build_store,
    "audit": build_audit,
    "health": build_health,
}.items():
    REGISTRY.register(_name, _factory)
