"""Chat and embedding models, and rerankers: the identity that they need, and the smallest request that proves the deployment."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from ...errors import ConfigurationError, RagError
from ..azure_models import azure_chat, azure_embedder, under_identity
from ..clients import make_chat_client, make_embed_client, release_client
from ..factories import effective_chat, effective_embed
from ..providers.key_fallback import EmbedderWithKeyFallback
from ..providers.protocol import ChatModel, Embedder
from . import fixes
from .channel import in_thread
from .walk import Step, Walk

if TYPE_CHECKING:
    from ..azure_auth import AzureTokens
    from ..config import ChatCfg, EmbedCfg

WORD = "word"


def chat_steps() -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """What comes before the network's steps, and after them."""
    return (Step("settings", _chat_settings),), (Step("identity", identity), Step("service", chat))


def embed_steps() -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    return (Step("settings", _embed_settings),), (Step("identity", identity), Step("service", embed))


def rerank_steps() -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    return (), (Step("service", rerank),)


async def _chat_settings(walk: Walk) -> str:
    cfg, tokens = under_identity(walk.site.resources, effective_chat(walk.settings))
    network = walk.policy
    release_client(await in_thread(lambda: make_chat_client(cfg, tokens, network=network)))
    return _named(walk, cfg)


async def _embed_settings(walk: Walk) -> str:
    cfg, tokens = under_identity(walk.site.resources, effective_embed(walk.settings))
    network = walk.policy
    release_client(await in_thread(lambda: make_embed_client(cfg, tokens, network=network)))
    return _named(walk, cfg)


def _named(walk: Walk, cfg: ChatCfg | EmbedCfg) -> str:
    """The client could be made; that its address is one, only its first request would tell."""
    if not walk.target.address:
        setting = walk.target.setting
        raise ConfigurationError(f"{setting} is no address.", setting=setting, hint="Write it as https://host:port.")
    return f"{cfg.provider} {cfg.model}"


async def identity(walk: Walk) -> str:
    """The credential that goes along: a token of the identity, or a key."""
    cfg: ChatCfg | EmbedCfg = effective_chat(walk.settings) if walk.target.kind == "chat" else effective_embed(walk.settings)
    tokens: AzureTokens | None = walk.site.resources.tokens if cfg.provider == "azure" else None
    if tokens is None:
        return "an API key is sent"
    try:
        await tokens.token()
    except RagError as error:
        if not (walk.settings.azure.allow_api_key_fallback and cfg.api_key is not None):
            raise
        walk.warn(f"The API key stands in for the identity: {error.message}", error.setting, error.hint)
        return "the API key is sent"
    return "a token is sent"


async def chat(walk: Walk) -> str:
    """One token of an answer, streamed as answers are: what lies between may hold back or cut streams alone."""
    cfg = effective_chat(walk.settings)
    limit = walk.left(cfg.timeout_s)
    asked = cfg.model_copy(update={"max_output_tokens": 1, "max_retries": 0, "timeout_s": limit})
    network = walk.policy

    def make(part: ChatCfg, tokens: Any) -> ChatModel:
        from ..providers.openai_chat import OpenAIChatModel

        return OpenAIChatModel(lambda: make_chat_client(part, tokens, network=network), part)

    model = azure_chat(walk.site.resources, asked, make)
    try:
        async with aclosing(cast("Any", model.stream(WORD))) as pieces:
            degraded = [reason async for piece in pieces for reason in piece.degraded]
    except RagError as error:
        raise _explained(walk, error, cfg.timeout_s, limit) from None
    finally:
        await cast("Any", model).aclose()
    for reason in degraded:
        walk.warn(f"Degraded: {reason}.", "azure.allow_api_key_fallback", "Mend the identity.")
    return f"the {'deployment' if cfg.provider == 'azure' else 'model'} {cfg.deployed!r} answers"


async def embed(walk: Walk) -> str:
    """One vector, of the configured length."""
    cfg = effective_embed(walk.settings)
    limit = walk.left(cfg.timeout_s)
    asked = cfg.model_copy(update={"max_retries": 0, "timeout_s": limit, "cache_entries": 0})
    network = walk.policy

    def make(part: EmbedCfg, tokens: Any) -> Embedder:
        from ..providers.openai_embedder import OpenAIEmbedder

        return OpenAIEmbedder(lambda: make_embed_client(part, tokens, network=network), part)

    model = azure_embedder(walk.site.resources, asked, make)
    try:
        vectors = await model.embed([WORD])
    except RagError as error:
        raise _explained(walk, error, cfg.timeout_s, limit) from None
    finally:
        await cast("Any", model).aclose()
    if isinstance(model, EmbedderWithKeyFallback):
        for reason in model.degraded:
            walk.warn(f"Degraded: {reason}.", "azure.allow_api_key_fallback", "Mend the identity.")
    return f"the {'deployment' if cfg.provider == 'azure' else 'model'} {cfg.deployed!r} gives vectors of {vectors.shape[1]} dimensions"


async def rerank(walk: Walk) -> str:
    """The score of one passage."""
    from ..providers.rerank import HttpReranker

    cfg = walk.settings.rerank
    limit = walk.left(cfg.timeout_s)
    model = HttpReranker(cfg.model_copy(update={"max_retries": 0, "timeout_s": limit}), walk.policy)
    try:
        await model.score(WORD, [WORD])
    except RagError as error:
        raise _explained(walk, error, cfg.timeout_s, limit) from None
    finally:
        await model.aclose()
    return f"the model {cfg.model!r} orders passages" if cfg.model else "it orders passages"


def _explained(walk: Walk, error: RagError, configured_s: float, limit_s: float) -> RagError:
    """The error, and what would mend it."""
    walk.fixes = fixes.of_error(walk.settings, error)
    return walk.impatient(error, configured_s, limit_s)
