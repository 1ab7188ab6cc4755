"""Shapes of the configuration: frozen, validated, documented. A class is a section; loading is `settings.py`.

The description of each field is its documentation: `rag config explain` and `docs/configuration.md` print it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue, PrivateAttr, SecretStr, field_validator

from ..retrieval.config import IntentCfg, RetrievalCfg
from .config_search import SearchCfg as SearchCfg
from .config_section import Section as Section
from .config_section import usable_address, usable_authority
from .configuring.provenance import Provenance

ADDRESS: dict[str, JsonValue] = {"format": "uri"}
"""Marks a secret that is one only for the user and password within an address: without them it may be shown."""
_DEPLOYMENT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
"""A token of RFC 9110."""
_TAKEN = frozenset({"authorization", "api-key", "host", "content-type", "content-length", "accept", "connection", "cookie", "transfer-encoding"})


def _header_name(value: str | None) -> str | None:
    if value is not None and (not _HEADER.fullmatch(value) or value.lower() in _TAKEN or value.lower().startswith("proxy-")):
        raise ValueError("must be the name of a header, and none that a request needs for itself")
    return value


class ChatCfg(Section):
    """`[chat]`: the model that writes answers."""

    provider: Literal["local", "openai", "azure"] = Field("local", description="`local` answers by extraction, without a model server.")
    model: str = Field("extractive", description="Model's name.")
    deployment: str | None = Field(
        None, description="Azure deployment of the model; unset follows from `[azure_openai] deployments`, else it is the model's name."
    )
    api_base: str | None = Field(None, description="Address of the model's API.")
    api_version: str | None = Field(None, description="Azure OpenAI API version.")
    api_key: SecretStr | None = Field(None, description="API key; Azure may use an identity instead.")
    timeout_s: float = Field(60.0, gt=0, description="Seconds a whole answer may take.")
    max_retries: int = Field(2, ge=0, le=10, description="Repeats after a connection error, 429 or 5xx.")
    temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature.")
    max_output_tokens: int = Field(1024, ge=1, description="Longest answer in tokens.")
    user_header: str | None = Field(None, description="Header of each request that names the user to the model's service; unset sends none.")
    user: str | None = Field(None, description="User it names where a request has none of its own; unset is `[environment] jpmc_user_sid`.")

    _header = field_validator("user_header")(_header_name)
    _address = field_validator("api_base")(usable_address)

    @property
    def deployed(self) -> str:
        """What the service calls the model: pass it as ``model`` with each call."""
        return self.deployment or self.model


class EmbedCfg(Section):
    """`[embed]`: the model that turns text into vectors."""

    provider: Literal["local", "openai", "azure"] = Field("local", description="`local` is all-MiniLM-L6-v2, int8 ONNX, on this machine.")
    model: str = Field("all-MiniLM-L6-v2", description="Model's name.")
    deployment: str | None = Field(
        None, description="Azure deployment of the model; unset follows from `[azure_openai] deployments`, else it is the model's name."
    )
    dims: int = Field(384, ge=1, le=65536, description="Length of its vectors.")
    api_base: str | None = Field(None, description="Address of the model's API; empty means `[chat] api_base`.")
    api_version: str | None = Field(None, description="Azure OpenAI API version; empty means `[chat] api_version`.")
    api_key: SecretStr | None = Field(None, description="API key; empty means the chat model's.")
    timeout_s: float = Field(30.0, gt=0, description="Seconds one batch may take.")
    max_retries: int = Field(2, ge=0, le=10, description="Repeats after a connection error, 429 or 5xx.")
    batch_size: int = Field(64, ge=1, le=2048, description="Texts in one call of a remote model.")
    threads: int = Field(0, ge=0, description="Processor threads of the local model; 0 takes the machine's cores, 4 at most.")
    cache_entries: int = Field(100_000, ge=0, description="Vectors kept in the embedding cache, keyed by model and text; 0 switches it off.")
    user_header: str | None = Field(None, description="As in `[chat]`; empty means the chat model's.")
    user: str | None = Field(None, description="As in `[chat]`; empty means the chat model's.")

    _header = field_validator("user_header")(_header_name)
    _address = field_validator("api_base")(usable_address)

    @property
    def deployed(self) -> str:
        """What the service calls the model: pass it as ``model`` with each call."""
        return self.deployment or self.model


class AzureOpenAICfg(Section):
    """`[azure_openai]`: credentials shared by Azure chat and embeddings."""

    api_key: SecretStr | None = Field(None, description="API key of the Azure OpenAI resource.")
    deployments: tuple[str, ...] = Field((), description="Azure deployments that are not named after their model: MODEL=DEPLOYMENT, comma separated.")

    @field_validator("deployments")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        pairs = [tuple(part.strip() for part in entry.partition("=")[::2]) for entry in value]
        if any(not model or not _DEPLOYMENT.fullmatch(deployment) for model, deployment in pairs):
            raise ValueError("must be pairs as MODEL=DEPLOYMENT, the latter of letters, digits, . _ and -")
        if len({model for model, _ in pairs}) < len(pairs):
            raise ValueError("names a model twice")
        return tuple(f"{model}={deployment}" for model, deployment in pairs)

    def deployment_of(self, model: str) -> str | None:
        """The deployment that a model is mapped to."""
        return dict(entry.split("=", 1) for entry in self.deployments).get(model)


class AzureCfg(Section):
    """`[azure]`: the Entra ID identity."""

    credential: Literal["certificate", "secret", "managed", "workload", "cli", "chain"] | None = Field(
        None, description="Kind of identity; unset follows from the keys present."
    )
    tenant_id: str | None = Field(None, description="Entra tenant.")
    client_id: str | None = Field(None, description="Application (client) id.")
    certificate_path: Path | None = Field(None, description="PEM or PFX file with certificate and key.")
    certificate_password: SecretStr | None = Field(None, description="Password of the certificate file.")
    client_secret: SecretStr | None = Field(None, description="Client secret.")
    authority_host: str | None = Field(None, description="Authority, for sovereign clouds and private authorities; unset is login.microsoftonline.com.")
    send_certificate_chain: bool = Field(False, description="Send x5c for subject-name/issuer authentication.")
    federated_token_file: Path | None = Field(None, description="Service account token of a workload identity; unset is what the platform's webhook names.")
    chain: tuple[Literal["certificate", "secret", "workload", "managed", "cli"], ...] = Field(
        ("certificate", "secret", "workload", "managed", "cli"),
        description="Kinds that `credential = chain` tries, in this order; one that is not to be had here gives way to the next.",
    )
    scope: str = Field("https://cognitiveservices.azure.com/.default", description="Scope that tokens are asked for.")
    timeout_s: float = Field(20.0, gt=0, description="Seconds that getting a token may take, repeats included.")
    allow_api_key_fallback: bool = Field(False, description="Fall back to an API key when the identity fails; logged and shown as degraded.")

    _authority = field_validator("authority_host")(usable_authority)


class NetworkCfg(Section):
    """`[network]`: the one policy of every outbound hop."""

    proxy: SecretStr | None = Field(
        None, description="Proxy address, as http://host:port; may hold user and password. A PAC file is not supported.", json_schema_extra=ADDRESS
    )
    http_proxy: SecretStr | None = Field(None, description="Proxy for http addresses instead of `proxy`; `direct` is none.", json_schema_extra=ADDRESS)
    https_proxy: SecretStr | None = Field(None, description="Proxy for https addresses instead of `proxy`; `direct` is none.", json_schema_extra=ADDRESS)
    proxy_username: str | None = Field(None, description="User of the proxies; beats one in their address.")
    proxy_password: SecretStr | None = Field(None, description="Password of the proxies; beats one in their address.")
    no_proxy: tuple[str, ...] = Field(
        (),
        description="Hosts reached directly: example.com (and below), .example.com or *.example.com (below only), 10.1.2.3, 10.0.0.0/8, host:port, localhost.",
    )
    ca_bundle: Path | None = Field(None, description="PEM file of certificate authorities, or a folder of them by hash.")
    ca_mode: Literal["add", "replace"] = Field("add", description="Trust `ca_bundle` in addition to the system's authorities, or instead of them.")
    client_certificate: Path | None = Field(None, description="Client certificate (PEM or PFX), shown to every server that asks for one.")
    client_key: Path | None = Field(None, description="Its key (PEM), where the certificate's file does not hold it.")
    client_key_password: SecretStr | None = Field(None, description="Password of the key, or of the PFX file.")
    tls_min_version: Literal["1.2", "1.3"] = Field("1.2", description="Oldest TLS version that is spoken.")
    connect_timeout_s: float = Field(10.0, gt=0, description="Seconds a connection may take, where a hop has no limit of its own.")
    read_timeout_s: float = Field(60.0, gt=0, description="Seconds without a byte of the answer, likewise.")
    total_timeout_s: float = Field(120.0, gt=0, description="Seconds a whole exchange may take, likewise.")
    pool_size: int = Field(100, ge=1, le=10_000, description="Connections that a client holds at most, likewise.")
    trust_env: bool = Field(
        False, description="Let HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and their kin fill what is not configured here."
    )


class StorageCfg(Section):
    """`[storage]`: the data folder."""

    path: Path = Field(Path(".rag"), description="Data folder: index, threads, caches of this deployment.")


class ApiCfg(Section):
    """`[api]`: the HTTP server."""

    host: str = Field("127.0.0.1", description="Address to listen on; `auth = none` allows loopback only.")
    port: int = Field(8000, ge=0, le=65535, description="Port; 0 takes a free one.")
    auth: Literal["none", "tokens"] = Field("none", description="`none`: one local user; `tokens`: bearer tokens from `tokens_file`.")
    token: SecretStr | None = Field(None, description="One bearer token of the user `api`, beside those of `tokens_file`.")
    tokens_file: Path | None = Field(None, description="JSON file of hashed bearer tokens and their identities.")
    cors_origins: tuple[str, ...] = Field((), description="Origins that browsers may call from, comma separated.")
    max_request_bytes: int = Field(1_000_000, ge=1_000, description="Largest request body, uploads apart.")
    max_upload_bytes: int = Field(50_000_000, ge=1_000, description="Largest uploaded file.")
    request_timeout_s: float = Field(120.0, gt=0, description="Seconds a request may take.")


class PersistenceCfg(Section):
    """`[persistence]`: LangGraph checkpointer and store."""

    backend: Literal["memory", "sqlite", "postgres"] = Field("sqlite", description="Where threads live; `postgres` for several servers.")
    dsn: SecretStr | None = Field(None, description="Connection string for postgres: postgresql://USER@HOST:5432/DATABASE; libpq's parameters may follow.")
    password: SecretStr | None = Field(None, description="Password for postgres, where the connection string holds none.")
    use_azure_auth: bool = Field(False, description="Tokens of the `[azure]` identity as password: Azure Database for PostgreSQL.")
    azure_scope: str = Field("https://ossrdbms-aad.database.windows.net/.default", description="Scope of those tokens.")
    pool_size: int = Field(10, ge=2, le=500, description="Connections to postgres that a process opens at most.")
    pool_timeout_s: float = Field(10.0, gt=0, description="Seconds to wait for a connection of the pool to come free.")
    connect_timeout_s: float = Field(5.0, gt=0, description="Seconds a connection to postgres may take, 2 at least.")
    timeout_s: float = Field(30.0, gt=0, description="Seconds an answer of postgres may take.")
    auto_migrate: bool = Field(True, description="Make and upgrade the tables in postgres on first use; off, they must be there.")
    retention_days: float | None = Field(None, ge=0, description="`rag threads retain` deletes threads that were not used for so many days.")
    retention_threads: int | None = Field(None, ge=0, description="It deletes all but so many of each tenant's latest threads.")
    encryption_keys: SecretStr | None = Field(
        None,
        description="Encrypt checkpoints: NAME:BASE64 (32 bytes), comma separated; the first key encrypts, all decrypt, what is not encrypted is refused.",
    )


class TelemetryCfg(Section):
    """`[telemetry]`: logs, traces and metrics."""

    enabled: bool = Field(False, description="Export traces and metrics.")
    endpoint: str | None = Field(None, description="OTLP endpoint.")
    capture_content: bool = Field(False, description="Let prompts, answers and document text into telemetry.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe message that is logged.")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="`auto`: text on a terminal, JSON lines otherwise.")

    _address = field_validator("endpoint")(usable_address)


class SecretsCfg(Section):
    """`[secrets]`: vaults that `${vault:NAME}` and `${aws:NAME#KEY}` read from."""

    vault: str | None = Field(None, description="Azure Key Vault, such as https://NAME.vault.azure.net, which the `[azure]` identity may read.")
    aws_region: str | None = Field(None, description="Region of AWS Secrets Manager; unset is the profile's.")
    aws_profile: str | None = Field(None, description="AWS profile to read secrets with; unset is AWS's own chain.")
    aws_role_arn: str | None = Field(None, description="Role to assume for reading secrets.")
    aws_endpoint: str | None = Field(None, description="Address of Secrets Manager, such as a VPC endpoint's; unset is the region's own.")
    ttl_s: float = Field(300.0, gt=0, description="Seconds after which a secret of a vault is read again, behind the caller's back.")
    timeout_s: float = Field(10.0, gt=0, description="Seconds that reading one may take, repeats and the identity's token included.")

    _addresses = field_validator("vault", "aws_endpoint")(usable_address)


class CacheCfg(Section):
    """`[cache]`: what is kept to save work, and can be made again."""

    path: Path | None = Field(None, description="Folder for what can be made again (the prepared model, evaluation indices); default ~/.cache/founders-rag.")
    ttl_s: float = Field(300.0, gt=0, description="Seconds a cached answer of a service stays.")
    max_entries: int = Field(1000, ge=1, description="Entries of an in-memory cache.")
    clients: int | None = Field(None, ge=1, description="Clients of each kind kept open; unset is as many as the configuration needs, 2 at least.")


class IngestionCfg(Section):
    """`[ingestion]`: reading documents into the index."""

    chunk_tokens: int = Field(250, ge=32, le=250, description="Largest chunk, in tokens of the embedding model.")
    chunk_overlap: int = Field(0, ge=0, le=100, description="Tokens of the chunk before that are repeated.")
    max_file_bytes: int = Field(100_000_000, ge=1, description="Larger files are reported as oversized.")
    batch_chunks: int = Field(256, ge=1, description="Chunks written together at most; a document is never split over batches.")


class AgentCfg(Section):
    """`[agent]`: from a question to a cited answer."""

    verify: Literal["sentence", "after", "off"] = Field(
        "sentence",
        description=("When citations are checked: before each sentence leaves; at the end, which may take back what was shown, even all of it; never."),
    )
    history_turns: int = Field(6, ge=0, le=100, description="Turns of a thread that condensing a follow-up may read.")
    refuse_below: float | None = Field(None, ge=0, le=1, description="Evidence below which extraction refuses; unset takes the calibrated value.")


class EnvironmentCfg(Section):
    """`[environment]`: where this runs."""

    name: Literal["development", "staging", "production", "testing"] = Field("development", description="Kind of deployment.")
    cloud_profile: str = Field("local", description="Named set of defaults: local, azure, aws, jpmc_azure, or a `[profile:NAME]` of your own.")
    jpmc_user_sid: str | None = Field(None, description="User SID sent with requests by the jpmc_azure profile.")


class FeaturesCfg(Section):
    """`[features]`: switches, typed booleans."""

    chat_page: bool = Field(True, description="Serve the chat page at /.")
    upload: bool = Field(True, description="Accept documents at POST /v1/documents.")
    openapi: bool = Field(True, description="Serve the API description at /docs and /openapi.json.")


class Settings(Section):
    """The whole configuration. Made by `load_settings`; where each value came from: `settings.source_of`."""

    environment: EnvironmentCfg = Field(default_factory=EnvironmentCfg)
    search: SearchCfg = Field(default_factory=SearchCfg)
    chat: ChatCfg = Field(default_factory=ChatCfg)
    embed: EmbedCfg = Field(default_factory=EmbedCfg)
    azure_openai: AzureOpenAICfg = Field(default_factory=AzureOpenAICfg)
    azure: AzureCfg = Field(default_factory=AzureCfg)
    network: NetworkCfg = Field(default_factory=NetworkCfg)
    secrets: SecretsCfg = Field(default_factory=SecretsCfg)
    storage: StorageCfg = Field(default_factory=StorageCfg)
    cache: CacheCfg = Field(default_factory=CacheCfg)
    persistence: PersistenceCfg = Field(default_factory=PersistenceCfg)
    retrieval: RetrievalCfg = Field(default_factory=RetrievalCfg)
    ingestion: IngestionCfg = Field(default_factory=IngestionCfg)
    agent: AgentCfg = Field(default_factory=AgentCfg)
    api: ApiCfg = Field(default_factory=ApiCfg)
    telemetry: TelemetryCfg = Field(default_factory=TelemetryCfg)
    features: FeaturesCfg = Field(default_factory=FeaturesCfg)
    intents: tuple[tuple[str, IntentCfg], ...] = Field((), description="The sections `[intent:NAME]`, with their names.")

    _provenance: Provenance = PrivateAttr(default_factory=Provenance)

    @property
    def provenance(self) -> Provenance:
        """Where the values came from; empty for settings that were built by hand."""
        return self._provenance

    def with_provenance(self, provenance: Provenance) -> Self:
        """The same settings, remembering where their values came from."""
        copy = self.model_copy()
        copy._provenance = provenance  # noqa: SLF001 - a copy of its own class
        return copy
