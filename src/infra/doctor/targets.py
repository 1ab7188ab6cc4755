"""The hops of a configuration: what it talks to, and what it needs on this machine. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from ...errors import ConfigurationError, RagError
from ..azure_auth.exchange import address as address_of
from ..azure_auth.kinds import KINDS, authority_of, kind_names
from ..clients import OPENAI_API
from ..exporting.plan import plain_address
from ..factories import cache_folder, effective_chat, effective_embed
from ..hops import Hop
from ..network.proxies import DEFAULT_PORTS, proxies_of
from ..search.opensearch.wire.hosts import parse_hosts
from .dsn import database_address

if TYPE_CHECKING:
    from ..config import ChatCfg, EmbedCfg, Settings
    from ..network import NetworkPolicy

Kind = Literal["data", "model", "index", "network", "vault", "proxy", "identity", "chat", "embed", "rerank", "search", "aws", "postgres", "otlp"]
LOCAL: frozenset[Kind] = frozenset({"data", "model", "index", "network", "vault", "aws"})
"""Kinds without an address of their own that could be connected to."""


@dataclass(frozen=True, slots=True)
class Target:
    """One hop to check.

    Args:
        hop: its name in reports; those of one kind differ by a number.
        address: ``scheme://host:port`` or a folder; never with credentials, empty where it cannot be told.
        noun: as messages call it.
        setting: the key that holds the address.
        connect_s: seconds that a connection may take.
        cost: what its last step costs.
    """

    hop: str
    kind: Kind
    address: str
    noun: str
    setting: str
    connect_s: float = 10.0
    connect_setting: str = "network.connect_timeout_s"
    timeout_setting: str = "network.read_timeout_s"
    cost: str = ""

    @property
    def remote(self) -> bool:
        return self.kind not in LOCAL and bool(self.address)

    @property
    def scheme(self) -> str:
        return urlsplit(self.address).scheme

    @property
    def host(self) -> str:
        """As it goes over the wire."""
        return wire_name(urlsplit(self.address).hostname or "")

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or DEFAULT_PORTS.get(self.scheme, 443)

    def way(self, policy: NetworkPolicy) -> Hop:
        """The hop as `hops.error_of` wants it."""
        proxy = None if self.kind in ("proxy", "postgres") else policy.proxy_for(self.host, self.port, self.scheme)
        return Hop(self.noun, self.address, self.setting, self.timeout_setting, self.connect_setting).through(proxy)


def wire_name(host: str) -> str:
    """A host's name in letters of DNS, as the product's clients write it; unchanged where it has no such form."""
    if host.isascii():
        return host
    import idna

    try:
        return idna.encode(host).decode("ascii")
    except idna.IDNAError:
        return host


def targets_of(settings: Settings) -> tuple[Target, ...]:
    """What the configuration needs, those on this machine first."""
    return (*_local(settings), *_proxies(settings), *_identity(settings), *_models(settings), *_search(settings), *_others(settings))


def _local(settings: Settings) -> Iterator[Target]:
    yield Target("data", "data", str(settings.storage.path), "The data folder", "storage.path")
    if "local" in (settings.chat.provider, settings.embed.provider):
        yield Target("model", "model", str(cache_folder(settings)), "The local model", "cache.path")
    if settings.search.chosen_engine == "embedded":
        yield Target("index", "index", str(settings.storage.path), "The index", "storage.path")
    if uses_network(settings):
        yield Target("network", "network", "", "The network policy", "network.ca_bundle")
    from .vaults import in_vaults

    if any(True for _ in in_vaults(settings)):
        yield Target("vault", "vault", "", "The vault", "secrets.vault", timeout_setting="secrets.timeout_s")


def uses_network(settings: Settings) -> bool:
    """Whether anything leaves this machine."""
    return any(True for targets in (_models(settings), _search(settings), _others(settings)) for _ in targets)


def _proxies(settings: Settings) -> Iterator[Target]:
    if not uses_network(settings):
        return
    try:
        found = {proxy.url: proxy.setting for proxy in proxies_of(settings.network).values() if proxy is not None}
    except RagError as error:
        yield Target("proxy", "proxy", "", "The proxy", error.setting)
        return
    for number, (url, setting) in enumerate(found.items(), 1):
        name = "proxy" if number == 1 else f"proxy-{number}"
        yield Target(name, "proxy", url, "The proxy", setting, settings.network.connect_timeout_s)


def _identity(settings: Settings) -> Iterator[Target]:
    if "azure" not in (settings.chat.provider, settings.embed.provider):
        return
    cfg = settings.azure
    try:
        kinds = kind_names(cfg)
        asked = [name for name in kinds if len(kinds) == 1 or not KINDS[name].unmet(cfg)]
        # Of a chain only its first kind is certain to be asked, and those that the platform gives may not need the authority.
        there = asked[:1] and not KINDS[asked[0]].local and (len(kinds) == 1 or asked[0] in ("certificate", "secret"))
        authority = address_of(authority_of(cfg)) if there else ""
    except ConfigurationError:
        kinds, authority = ("certificate",), ""  # the token's step tells it
    if kinds:
        yield Target("identity", "identity", authority, "The identity service", "azure.authority_host", 5.0, "azure.timeout_s", "azure.timeout_s")


def _models(settings: Settings) -> Iterator[Target]:
    limit = settings.network.connect_timeout_s
    chat, embed = effective_chat(settings), effective_embed(settings)
    noun = "The model's service"
    if chat.provider != "local":
        base = _base(chat)
        yield Target("chat", "chat", base, noun, "chat.api_base", limit, timeout_setting="chat.timeout_s", cost="one token of chat")
    if embed.provider != "local":
        base = _base(embed)
        yield Target("embed", "embed", base, noun, embed.key("embed", "api_base"), limit, timeout_setting="embed.timeout_s", cost="one embedding of a word")
    if settings.rerank.provider != "off":
        base = _origin(settings.rerank.api_base or "")
        yield Target(
            "rerank", "rerank", base, "The reranker", "rerank.api_base", limit, timeout_setting="rerank.timeout_s", cost="one passage of a word scored"
        )


def _base(cfg: ChatCfg | EmbedCfg) -> str:
    """Only OpenAI has an address that everybody knows."""
    return _origin(cfg.api_base or ("" if cfg.provider == "azure" else OPENAI_API))


def _search(settings: Settings) -> Iterator[Target]:
    cfg = settings.search
    if cfg.chosen_engine != "opensearch":
        return
    if cfg.use_aws_auth:
        yield Target("aws", "aws", "", "AWS", "search.aws_profile", timeout_setting="search.timeout_s")
    try:
        hosts = parse_hosts(cfg.host)
    except ConfigurationError:
        yield Target("search", "search", "", "OpenSearch", "search.host")
        return
    for number, host in enumerate(hosts, 1):
        name = "search" if number == 1 else f"search-{number}"
        yield Target(name, "search", str(host), "OpenSearch", "search.host", cfg.connect_timeout_s, "search.connect_timeout_s", "search.timeout_s")


def _others(settings: Settings) -> Iterator[Target]:
    if settings.persistence.backend == "postgres":
        from .vaults import known

        address = database_address(known(settings.persistence.dsn))
        own = ("persistence.connect_timeout_s", "persistence.timeout_s")
        yield Target("postgres", "postgres", address, "PostgreSQL", "persistence.dsn", settings.persistence.connect_timeout_s, *own)
    if settings.telemetry.enabled and settings.telemetry.endpoint:
        yield Target(
            "otlp",
            "otlp",
            _origin(plain_address(settings.telemetry.endpoint)),
            "The OTLP collector",
            "telemetry.endpoint",
            settings.network.connect_timeout_s,
            cost="one empty export",
        )


def _origin(url: str) -> str:
    """``scheme://host:port`` of an address; empty where it is none."""
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        return ""
    return address_of(url.strip()) if parts.scheme in DEFAULT_PORTS and parts.hostname else ""
