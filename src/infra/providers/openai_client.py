"""Making and retiring clients of the `openai` package, under the outbound policy and deaf to the environment."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import openai

from ...errors import ModelCredentialsError, RagError
from ..http_transport import PolicyTransport, make_async_client
from .attempts import NotingTransport, asking_for_token
from .caller import names_the_user
from .key_auth import ApiKey, KeyAuth, fits_headers, stand_in
from .protocol import TokenSource

if TYPE_CHECKING:
    from pydantic import SecretStr

    from ..config import ChatCfg, EmbedCfg
    from ..network import NetworkPolicy, ProxySettings

AnyClient = openai.AsyncAzureOpenAI | openai.AsyncOpenAI
Client = TypeVar("Client", openai.AsyncAzureOpenAI, openai.AsyncOpenAI)


def open_azure(base: str, api_version: str, cfg: ChatCfg | EmbedCfg, tokens: Callable[[], Any] | None, policy: NetworkPolicy) -> openai.AsyncAzureOpenAI:
    """A client of one Azure OpenAI resource; each call names its deployment as ``model``."""
    client = openai.AsyncAzureOpenAI(
        azure_endpoint=base.rstrip("/").removesuffix("/openai"),
        api_version=api_version,
        api_key=stand_in(_key_of(cfg, cfg.api_key)) if cfg.api_key else None,
        azure_ad_token_provider=_token_source(tokens) if tokens else None,
        organization="",  # empty, not None: None would be read from the environment
        project="",
        timeout=cfg.timeout_s,
        max_retries=cfg.max_retries,
        http_client=_http_client(cfg, policy, tokens),
    )
    return _deaf(client)


def open_openai(base: str, cfg: ChatCfg | EmbedCfg, tokens: Callable[[], Any] | None, policy: NetworkPolicy) -> openai.AsyncOpenAI:
    """A client of OpenAI, or of any server that speaks its protocol."""
    client = openai.AsyncOpenAI(
        base_url=base,
        api_key=stand_in(_key_of(cfg, cfg.api_key)) if cfg.api_key else _token_source(tokens) if tokens else "",
        admin_api_key="",
        organization="",
        project="",
        timeout=cfg.timeout_s,
        max_retries=cfg.max_retries,
        http_client=_http_client(cfg, policy, tokens),
    )
    return _deaf(client)


def closer(client: AnyClient) -> Callable[[], None]:
    """What lets a client's connections go as soon as nothing is in flight; it does not hold the client, which can still be used."""
    transport = client._client._transport  # noqa: SLF001 - the way to the transport that `_http_client` put there
    return transport.retire if isinstance(transport, PolicyTransport) else lambda: None


async def settle(client: AnyClient) -> None:
    """Wait until the idle connections of the running loop are closed; call its `closer` before."""
    transport = client._client._transport  # noqa: SLF001 - as above
    if isinstance(transport, PolicyTransport):
        await transport.close_idle()


def proxy_of(client: AnyClient) -> ProxySettings | None:
    """The proxy on the way to a client's service."""
    transport = client._client._transport  # noqa: SLF001 - as above
    return transport.proxy_for(client.base_url) if isinstance(transport, PolicyTransport) else None


class RetryRefused(httpx2.Auth):
    """A token that the service refuses (401) is thrown away, and the request sent once more with a new one.

    The `openai` client sets the header itself, with each of its attempts, and does not repeat after a 401. A second 401 is
    the answer: what is wrong is not the token's age.
    """

    def __init__(self, tokens: TokenSource) -> None:
        self._tokens = tokens

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        response = yield request
        used = request.headers.get("authorization", "").removeprefix("Bearer ")
        if response.status_code != 401 or not used:
            return
        self._tokens.invalidate(used)
        with asking_for_token(hop_of(self._tokens)):
            new = await self._tokens.token()
            if not fits_headers(new):
                del used, new  # some show the local variables of an error's frames
                raise _unusable("a token that headers cannot hold", self._tokens)
        if new != used:  # an identity may answer from a cache of its own
            request.headers["authorization"] = f"Bearer {new}"
            yield request


def _key_of(cfg: ChatCfg | EmbedCfg, secret: SecretStr) -> ApiKey:
    from ..config import EmbedCfg

    return ApiKey(secret, cfg.key("embed" if isinstance(cfg, EmbedCfg) else "chat", "api_key"))


def _http_client(cfg: ChatCfg | EmbedCfg, policy: NetworkPolicy, tokens: object) -> httpx2.AsyncClient:
    client = make_async_client(policy, cfg.timeout_s, NotingTransport)
    if cfg.api_key:
        client.auth = KeyAuth(_key_of(cfg, cfg.api_key), "api-key" if cfg.provider == "azure" else "authorization")
    elif isinstance(tokens, TokenSource):
        client.auth = RetryRefused(tokens)
    client.event_hooks = {"request": [_drop_empty_headers, *([names_the_user(cfg)] if cfg.user_header else [])], "response": []}
    return client


async def _drop_empty_headers(request: httpx2.Request) -> None:
    for name in ("openai-organization", "openai-project"):
        if not request.headers.get(name, "full"):
            del request.headers[name]


def _deaf(client: Client) -> Client:
    """Take out what the constructor reads from `OPENAI_CUSTOM_HEADERS` whatever it is told; we pass no headers of our own."""
    client._custom_headers = {}  # noqa: SLF001 - there is no public way; tested against the installed version
    client._ambient_authorizations = frozenset()  # noqa: SLF001 - as above
    return client


def hop_of(tokens: object) -> str:
    """Who gives the tokens, for errors."""
    return str(getattr(tokens, "hop", ""))


def _token_source(tokens: Callable[[], Any]) -> Callable[[], Awaitable[str]]:
    """An asynchronous provider of any token provider; a synchronous one may block, so it runs in a thread. What is no token, or none
    that a header can hold, is an error before anything is sent."""
    renewable: object = tokens

    async def ask() -> object:
        if isinstance(renewable, TokenSource):
            return await renewable.token()
        found = await asyncio.to_thread(tokens)
        token: object = await found if inspect.isawaitable(found) else found
        return token.strip() if isinstance(token, str) else token

    async def source() -> str:
        try:
            with asking_for_token(hop_of(tokens)):
                token = await ask()
        except RagError:
            raise
        except Exception as error:
            raise ModelCredentialsError(
                f"No token could be obtained ({type(error).__name__}).", setting="azure.credential", hint="Check the [azure] identity."
            ) from error
        if isinstance(token, str) and fits_headers(token):
            return token
        what = "a token that headers cannot hold" if token and isinstance(token, str) else f"{type(token).__name__} in place of a token"
        what = "no token" if token in (None, "") else what
        del token  # some show the local variables of an error's frames
        raise _unusable(what, tokens)

    return source


def _unusable(what: str, tokens: object) -> ModelCredentialsError:
    hint = "Check the [azure] identity, or the token provider that make_chat_client or make_embed_client was given."
    return ModelCredentialsError(f"The identity gave {what}.", hop=hop_of(tokens), setting="azure.credential", hint=hint)
