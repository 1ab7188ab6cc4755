"""Client factories: each returns the provider's own client, cached by everything that matters to its connection.

Importing this file is light; a provider's library is imported when its client is made.

An evicted client that is still in use keeps working, with its connections (`client_cache.py`); one that is released keeps working
too, but from then on no connection is kept open between its calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from ..errors import ConfigurationError
from ..telemetry.logger import get_logger
from .client_cache import ClientCache, Closer
from .config import ChatCfg, EmbedCfg, NetworkCfg, SearchCfg
from .config.section import has_form
from .network import NetworkPolicy
from .resource_manager import current_resources

if TYPE_CHECKING:
    import openai
    import requests

    from .providers.local_embedder import LocalEmbedder
    from .providers.protocol import ChatModel, Embedder

log = get_logger(__name__)

TokenProvider = Callable[[], Any]
"""Returns a bearer token, or an awaitable of one; called for every attempt, and in a thread of its own. Clients are cached by it: keep one
and pass it each time, for a new lambda with each call is a new client, with connections of its own, with each call."""

OPENAI_API = "https://api.openai.com/v1"
DEFAULT_CACHE_FOLDER = Path("~/.cache/founders-rag")


def make_chat_client(
    cfg: ChatCfg, token_provider: TokenProvider | None = None, *, network: NetworkPolicy | None = None
) -> openai.AsyncAzureOpenAI | openai.AsyncOpenAI | ChatModel:
    """The client that `[chat]` means: `openai.AsyncAzureOpenAI`, `openai.AsyncOpenAI`, or the local model itself.

    Connects to nothing. Pass ``model=cfg.deployed`` with each call: on Azure that is the deployment.

    Args:
        token_provider: gives bearer tokens, such as `ResourceManager.tokens`; it is used even where ``cfg`` has a key. The same one gives the
            same client: a lambda that is written into the call is another one each time.
        network: the outbound policy; left out, that of the process's resources (`get_resources`), and before there are any one
            without proxy and with the system's authorities.

    Raises:
        ConfigurationError: an address, a version or a credential is missing; names the keys.
    """
    if cfg.provider == "local":
        return _local_chat(_local_embedder(0, DEFAULT_CACHE_FOLDER))
    return _openai_client("chat", cfg, token_provider, network)


def make_embed_client(
    cfg: EmbedCfg, token_provider: TokenProvider | None = None, *, network: NetworkPolicy | None = None
) -> openai.AsyncAzureOpenAI | openai.AsyncOpenAI | Embedder:
    """As `make_chat_client`, for `[embed]`; for ``local`` the local embedder."""
    if cfg.provider == "local":
        return _local_embedder(cfg.threads, DEFAULT_CACHE_FOLDER)
    return _openai_client("embed", cfg, token_provider, network)


def make_search_session(cfg: SearchCfg, *, network: NetworkPolicy | None = None) -> requests.Session:
    """A `requests.Session` for OpenSearch: credentials, timeouts and the outbound policy built in. Connects to nothing.

    With `use_aws_auth` it signs each request (SigV4), with credentials that it asks for at the first one and renews from then
    on: what is missing (region, credentials) fails there. Otherwise it sends the bearer token, or user and password. The
    client certificate and the authorities are those of `[network]`. What its requests fail with, and `raise_for_status`, are errors
    of requests' kinds and of ours at once; a whole exchange has `[search] timeout_s`, one with a time-out of its own `[network] total_timeout_s`.

    Raises:
        MissingExtraError: `use_aws_auth` without the extra ``aws``.
    """
    other = bool(cfg.use_aws_auth or cfg.bearer_token)
    if not other and cfg.username and not cfg.password:
        # Not an error: building a session sends nothing, and a user with an empty password is a credential.
        log.warning("[search] has a user but no password; the empty one is sent", setting="search.password")
    policy = network or _default_network()
    aws = (cfg.use_aws_auth, cfg.aws_region, cfg.aws_service, cfg.aws_profile, cfg.aws_role_arn)
    key = (cfg.host, cfg.username, cfg.password, cfg.bearer_token, cfg.timeout_s, cfg.connect_timeout_s, cfg.pool_size, aws, policy)

    def make() -> requests.Session:
        from .search_session import open_session

        return open_session(cfg, policy)

    return _sessions.get(key, make)


def release_client(client: object) -> None:
    """Let go of a client of these factories: its idle connections close, and what it has in flight ends undisturbed."""
    for cache in CACHES.values():
        if cache.release(client):
            return


async def aclose_client(client: openai.AsyncAzureOpenAI | openai.AsyncOpenAI) -> None:
    """`release_client`, and wait until the connections of the running loop are closed."""
    from .providers.openai_client import settle

    release_client(client)
    await settle(client)


def release_all() -> None:
    """Let go of every cached client, at shutdown."""
    for cache in CACHES.values():
        cache.clear()


async def aclose_under(policy: NetworkPolicy) -> None:
    """Let go of every client under an outbound policy, those included that were evicted, and wait for the running loop's: at shutdown."""
    found = [client for cache in CACHES.values() for client in cache.release_where(lambda key: key[-1] is policy)]
    for client in found:
        if hasattr(client, "_client"):  # of the openai package, which is loaded then
            from .providers.openai_client import settle

            await settle(client)


@overload
def _openai_client(
    section: Literal["chat"], cfg: ChatCfg, tokens: TokenProvider | None, network: NetworkPolicy | None
) -> openai.AsyncAzureOpenAI | openai.AsyncOpenAI: ...
@overload
def _openai_client(
    section: Literal["embed"], cfg: EmbedCfg, tokens: TokenProvider | None, network: NetworkPolicy | None
) -> openai.AsyncAzureOpenAI | openai.AsyncOpenAI: ...
def _openai_client(
    section: Literal["chat", "embed"], cfg: ChatCfg | EmbedCfg, tokens: TokenProvider | None, network: NetworkPolicy | None
) -> openai.AsyncAzureOpenAI | openai.AsyncOpenAI:
    base = _checked_address(section, cfg, tokens)
    policy = network or _default_network()
    api_key = cfg.api_key if tokens is None else None  # who brings an identity means it; a key beside it is a fallback at most
    cache = _chat_clients if section == "chat" else _embed_clients
    key = (cfg.provider, base, cfg.api_version, api_key, _by_hash(tokens), cfg.max_retries, cfg.timeout_s, cfg.user_header, cfg.user, policy)

    def make() -> openai.AsyncAzureOpenAI | openai.AsyncOpenAI:
        from .providers.openai_client import open_azure, open_openai

        own = cfg.model_copy(update={"api_key": api_key})
        if cfg.provider == "azure":
            return open_azure(base, cast("str", cfg.api_version), own, tokens, policy)
        return open_openai(base, own, tokens, policy)

    return cache.get(key, make)


class _Itself:
    """In place of what has no hash, such as an instance of a dataclass: equal to that of the same object."""

    def __init__(self, held: object) -> None:
        self._held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self._held is other._held

    def __hash__(self) -> int:
        return id(self._held)


def _by_hash(tokens: TokenProvider | None) -> object:
    try:
        hash(tokens)
    except TypeError:
        return _Itself(tokens)
    return tokens


def _checked_address(section: str, cfg: ChatCfg | EmbedCfg, tokens: TokenProvider | None) -> str:
    azure = cfg.provider == "azure"
    if azure and not cfg.api_base:
        raise ConfigurationError(f"[{section}] provider = azure needs the address of the resource.", setting=f"{section}.api_base")
    if azure and not cfg.api_version:
        raise ConfigurationError(f"[{section}] provider = azure needs an API version.", setting=f"{section}.api_version", hint="Such as 2024-06-01.")
    if cfg.api_key is None and tokens is None:
        keys = "azure_openai.api_key or azure.certificate_path" if azure else f"{section}.api_key"
        raise ConfigurationError(
            f"[{section}] provider = {cfg.provider} has no credential.", setting=keys, hint=f"Set {keys}." if azure else "Set it, best in a secret file."
        )
    base = (cfg.api_base or OPENAI_API).strip()
    if not _usable(base):  # of settings that were lent or built by hand
        text = f"[{section}] api_base must be an address that begins with https:// or http://."
        raise ConfigurationError(text, setting=f"{section}.api_base", hint="Write it as https://host:port.")
    return base


@lru_cache(maxsize=32)
def _usable(base: str) -> bool:
    """Remembered: taking an address apart was half the time of a cached look-up (1.7 of 3.5 µs)."""
    return has_form(base, ("https", "http"))


def _local_embedder(threads: int, cache_folder: Path) -> LocalEmbedder:
    from .providers.local_embedder import LocalEmbedder

    key = (threads, cache_folder)
    with _local_lock:
        known = _local.get(key)
        if known is None or known.closed:  # a holder may have closed what is shared; the next caller gets a new one
            known = _local[key] = LocalEmbedder(cache_folder.expanduser(), threads=threads)
        return known


def _local_chat(embedder: LocalEmbedder) -> ChatModel:
    from .providers.local_chat import LocalChatModel

    with _local_lock:
        if embedder not in _local_chats:
            _local_chats.clear()  # of an embedder that was closed
            _local_chats[embedder] = LocalChatModel(embedder)
        return _local_chats[embedder]


def _default_network() -> NetworkPolicy:
    """The policy of the process's resources, or, where there are none, one of no configuration."""
    global _network  # noqa: PLW0603 - one policy of callers that bring none, so that they share clients
    resources = current_resources()
    if resources is not None:
        return resources.network
    with _local_lock:
        if _network is None:
            _network = NetworkPolicy(NetworkCfg())
        return _network


def _openai_closer(client: openai.AsyncAzureOpenAI | openai.AsyncOpenAI) -> Closer:
    from .providers.openai_client import closer

    return closer(client)


def _session_closer(session: requests.Session) -> Closer:
    adapters = list(session.adapters.values())

    def close() -> None:
        for adapter in adapters:
            adapter.close()  # closes idle connections; a session that is used again opens new ones

    return close


_local_lock = threading.Lock()
_local: dict[tuple[int, Path], LocalEmbedder] = {}
_local_chats: dict[LocalEmbedder, ChatModel] = {}
_network: NetworkPolicy | None = None
_chat_clients: ClientCache[openai.AsyncAzureOpenAI | openai.AsyncOpenAI] = ClientCache(_openai_closer)
_embed_clients: ClientCache[openai.AsyncAzureOpenAI | openai.AsyncOpenAI] = ClientCache(_openai_closer)
_sessions: ClientCache[requests.Session] = ClientCache(_session_closer)
CACHES: dict[str, ClientCache[Any]] = {"chat": _chat_clients, "embed": _embed_clients, "search": _sessions}
"""By section. The policy stands last in each key."""
