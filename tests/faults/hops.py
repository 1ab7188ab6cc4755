"""The ways out of this package, each asked as the product asks it: settings in, an answer or an error out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from src.infra.aws.signing import SigV4Signer
from src.infra.azure_auth import make_token_provider
from src.infra.clients import make_chat_client, make_embed_client, make_search_session, release_client
from src.infra.config import Settings
from src.infra.factories import effective_chat, effective_embed
from src.infra.network import NetworkPolicy
from src.infra.providers.openai_chat import OpenAIChatModel
from src.infra.providers.openai_embedder import OpenAIEmbedder
from src.infra.providers.rerank import HttpReranker
from src.infra.search.opensearch.wire.transport import Transport
from src.infra.secrets import key_vault
from src.infra.secrets.live import current

Overrides = dict[str, dict[str, Any]]
Call = Callable[[Settings, NetworkPolicy], Awaitable[object]]


@dataclass(frozen=True)
class Limits:
    """Seconds to connect, and for the whole."""

    connect_s: float
    whole_s: float


Make = Callable[[str, Limits], Overrides]
VERSION = "2024-06-01"


@dataclass(frozen=True)
class Hop:
    """One way out.

    ``family``: who answers there; ``doctor``: its name in `rag doctor`, which does not ask each one by itself; ``shown``: its address in
    the table; ``file``: a configuration file, for what only files can say; ``host``: its name on this machine.
    """

    call: Call
    family: str
    doctor: str
    shown: str
    settings: Make
    file: str = ""
    host: str = "localhost"


async def _chat(settings: Settings, policy: NetworkPolicy) -> object:
    cfg = effective_chat(settings)
    model = OpenAIChatModel(lambda: make_chat_client(cfg, network=policy), cfg)
    try:
        return await model.generate("hello")
    finally:
        await model.aclose()


async def _stream(settings: Settings, policy: NetworkPolicy) -> object:
    cfg = effective_chat(settings)
    model = OpenAIChatModel(lambda: make_chat_client(cfg, network=policy), cfg)
    try:
        return [delta async for delta in model.stream("hello")]
    finally:
        await model.aclose()


async def _embed(settings: Settings, policy: NetworkPolicy) -> object:
    cfg = effective_embed(settings)
    model = OpenAIEmbedder(lambda: make_embed_client(cfg, network=policy), cfg)
    try:
        return await model.embed(["hello"])
    finally:
        await model.aclose()


async def _rerank(settings: Settings, policy: NetworkPolicy) -> object:
    model = HttpReranker(settings.rerank, policy)
    try:
        return await model.score("hello", ["hello", "goodbye"])
    finally:
        await model.aclose()


async def _search(settings: Settings, policy: NetworkPolicy) -> object:
    transport = Transport(settings.search, policy)
    try:
        return await transport.perform("POST", "/docs/_search", body={"query": {"match_all": {}}}, index="docs")
    finally:
        await transport.aclose()


async def _session(settings: Settings, policy: NetworkPolicy) -> object:
    session = make_search_session(settings.search, network=policy)

    def ask() -> object:
        answer = session.post(f"{settings.search.host}/docs/_search", json={"query": {"match_all": {}}})
        answer.raise_for_status()
        return answer.json()

    try:
        return await asyncio.to_thread(ask)
    finally:
        release_client(session)


async def _sts(settings: Settings, policy: NetworkPolicy) -> object:
    return await SigV4Signer(settings.search, policy).headers("GET", f"{settings.search.host}/", {}, b"")


async def _identity(settings: Settings, policy: NetworkPolicy) -> object:
    tokens = make_token_provider(settings.azure, policy)
    assert tokens is not None
    try:
        return await tokens.token()
    finally:
        tokens.close()


def _model(section: str) -> Make:
    def settings(url: str, limits: Limits) -> Overrides:
        model = {"chat": "gpt-4", "embed": "text-embedding-ada-002"}[section]
        more = {"dims": 8, "cache_entries": 0} if section == "embed" else {}
        keys = {"provider": "azure", "model": model, "api_base": url, "api_version": VERSION, "api_key": "k"}
        return {section: {**keys, "timeout_s": limits.whole_s, "max_retries": 0, **more}}

    return settings


def _reranker(url: str, limits: Limits) -> Overrides:
    keys = {"provider": "cohere", "model": "rerank-v3.5", "api_base": f"{url}/v2", "api_key": "k"}
    return {"rerank": {**keys, "timeout_s": limits.whole_s, "max_retries": 0}}


def _engine(url: str, limits: Limits) -> Overrides:
    keys = {"host": url, "timeout_s": limits.whole_s, "connect_timeout_s": limits.connect_s, "max_retries": 0}
    return {"search": {**keys, "username": "me", "password": "p"}}


def _aws(url: str, limits: Limits) -> Overrides:
    keys = {"host": url, "timeout_s": limits.whole_s, "connect_timeout_s": limits.connect_s, "max_retries": 0}
    return {"search": {**keys, "use_aws_auth": True, "aws_region": "eu-west-1", "aws_role_arn": "arn:aws:iam::1:role/search", "aws_profile": url}}


def _entra(url: str, limits: Limits) -> Overrides:
    keys = {"tenant_id": "contoso.example", "client_id": "app", "client_secret": "s", "authority_host": url, "timeout_s": limits.whole_s}
    model = {"provider": "azure", "model": "gpt-4", "api_base": "https://localhost:9", "api_version": VERSION}
    return {"azure": {**keys, "credential": "secret"}, "chat": model}


async def _secret(settings: Settings, _: NetworkPolicy) -> object:
    assert settings.persistence.password is not None
    return await current(settings.persistence.password)


def _from(reference: str) -> str:
    return f"[persistence]\npassword = ${{{reference}}}\n"


def _manager(url: str, limits: Limits) -> Overrides:
    return {"secrets": {"aws_endpoint": url, "aws_region": "eu-west-1", "aws_profile": url, "timeout_s": limits.whole_s}}


def _vault(url: str, limits: Limits) -> Overrides:
    """The vault's machine is its authority too, under another name: what its identity is at fault for names that one."""
    identity = {"tenant_id": "contoso.example", "client_id": "app", "client_secret": "s", "authority_host": url.replace("127.0.0.1", "localhost")}
    return {"secrets": {"vault": url, "timeout_s": limits.whole_s}, "azure": {**identity, "credential": "secret"}}


HOPS: dict[str, Hop] = {
    "chat": Hop(_chat, "openai", "chat", "https://openai.company.com", _model("chat")),
    "chat, stream": Hop(_stream, "openai", "chat", "https://openai.company.com", _model("chat")),
    "embeddings": Hop(_embed, "openai", "embed", "https://openai.company.com", _model("embed")),
    "reranker": Hop(_rerank, "rerank", "rerank", "https://rerank.company.com", _reranker),
    "OpenSearch": Hop(_search, "opensearch", "search", "https://search.company.com", _engine),
    "search session": Hop(_session, "opensearch", "search", "https://search.company.com", _engine),
    "AWS STS": Hop(_sts, "sts", "aws", "https://sts.eu-west-1.amazonaws.com", _aws),
    "AWS Secrets Manager": Hop(_secret, "secrets", "vault", "https://secrets.company.com", _manager, _from("aws:docs")),
    "Entra ID": Hop(_identity, "entra", "identity", "https://login.microsoftonline.com", _entra),
    # By its number: azure-core takes only the tokens of a domain that the vault's name lies in, and this one has no other here.
    "Azure Key Vault": Hop(_secret, "vault", "vault", "https://rag.vault.azure.net", _vault, _from("vault:docs"), host="127.0.0.1"),
}


@contextmanager
def machine(folder: Path) -> Iterator[Callable[[str], None]]:
    """AWS's files where its libraries look for them, no waiting between attempts at vaults; what is yielded makes a profile for an address."""
    import azure.identity
    import azure.keyvault.secrets  # noqa: F401 - loading it is the point: in the middle of a row it would take the row's time
    from botocore.retries.standard import ExponentialBackoff

    import src.infra.providers.openai_errors
    import src.infra.search.opensearch.wire.sessions  # noqa: F401 - likewise

    config, credentials = folder / "config", folder / "credentials"
    config.write_text("")
    credentials.write_text("")

    known: set[str] = set()

    def profile(url: str) -> None:
        if url in known:
            return
        known.add(url)
        with config.open("a") as file:
            file.write(f"[profile {url}]\nendpoint_url = {url}\n")
        with credentials.open("a") as file:
            file.write(f"[{url}]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n")

    places = {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(credentials)}
    with patch.dict(os.environ, places), patch.object(ExponentialBackoff, "delay_amount", lambda *_: 0), patch.object(key_vault, "BACKOFF_CAP_S", 0.0):
        yield profile
