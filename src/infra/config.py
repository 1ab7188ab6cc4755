"""Shapes of the configuration: frozen, validated, documented. A class is a section; loading is `settings.py`.

The description of each field is its documentation: `rag config explain` and `docs/configuration.md` print it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PrivateAttr, SecretStr, ValidationInfo, field_validator

from ..errors import ConfigurationError
from ..retrieval.config import IntentCfg, RetrievalCfg
from .provenance import Provenance

_NO_ALIAS = '\\/*?"<>|,#:% '
"""Characters that no name of an index may hold; `%` OpenSearch takes, but it would be read as an escape in a request's path."""
_MAX_ALIAS_BYTES = 220
ADDRESS: dict[str, JsonValue] = {"format": "uri"}
"""Marks a secret that is one only for the user and password within an address: without them it may be shown."""


class Section(BaseModel):
    """A section of the configuration: immutable, and unknown keys are errors."""

    # defer_build: the sections' own validators are built when first used; at import all 17 took 35 ms of processor time,
    # and loading needs that of `Settings` alone.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True, defer_build=True)

    _borrowed: dict[str, str] = PrivateAttr(default_factory=dict)

    def lent(self, **lenders: str) -> Self:
        """The same, knowing which of its values stand under another key: ``api_base="chat.api_base"``. Empty names lend nothing."""
        self._borrowed = {**self._borrowed, **{key: name for key, name in lenders.items() if name}}
        return self

    def key(self, section: str, name: str) -> str:
        """The key under which a value of this section stands, for errors."""
        return self._borrowed.get(name, f"{section}.{name}")

    @field_validator("*")
    @classmethod
    def _with_home(cls, value: object) -> object:
        """``~`` is the home folder in every path; no shell has replaced it in a file or variable."""
        if not isinstance(value, Path):
            return value
        try:
            return value.expanduser()
        except RuntimeError as error:
            raise ValueError(str(error)) from error


class SearchCfg(Section):
    """`[search]`: the search engine."""

    engine: Literal["embedded", "opensearch"] | None = Field(None, description="`embedded`, or `opensearch` once a `host` is given; unset follows from `host`.")
    host: str | None = Field(
        None, description="OpenSearch address, such as https://opensearch.company.com; several, comma separated, are tried in turn; no credentials."
    )
    index_alias: str = Field("rag-documents", description="Alias that searches go to; its indices are named after it, with a number.")
    username: str | None = Field(None, description="User for basic authentication; holds no colon.")
    password: SecretStr | None = Field(None, description="Password for basic authentication.")
    bearer_token: SecretStr | None = Field(None, description="Bearer token; instead of user and password.")
    timeout_s: float = Field(10.0, gt=0, description="Seconds a search may take.")
    connect_timeout_s: float = Field(3.0, gt=0, description="Seconds a connection may take, TLS and proxy included.")
    pool_size: int = Field(16, ge=1, le=1000, description="Connections kept to each host.")
    max_retries: int = Field(3, ge=0, le=10, description="Repeats of a request that is safe to repeat; writes go on for up to a minute.")
    breaker_failures: int = Field(5, ge=1, description="Failures in a row that open a host's circuit breaker.")
    breaker_reset_s: float = Field(10.0, gt=0, description="Seconds until an open breaker lets one request try again.")
    use_aws_auth: bool = Field(False, description="Sign requests with AWS SigV4; instead of user, password and token.")
    aws_region: str | None = Field(None, description="Region to sign for.")
    aws_service: Literal["es", "aoss"] = Field("es", description="Service name to sign for.")
    aws_profile: str | None = Field(None, description="Named AWS profile.")
    aws_role_arn: str | None = Field(None, description="Role to assume before signing.")
    language: str = Field("english", description="Language of a new index, which its analysers follow; docs/opensearch.md lists them.")
    size: Literal["small", "medium", "large"] = Field("small", description="Index settings of a new index: up to 1 million chunks, 10 million, more.")
    knn_engine: Literal["lucene", "faiss"] | None = Field(None, description="Vector engine of a new index; unset follows from `size`.")
    replicas: int | None = Field(None, ge=0, le=10, description="Replicas of a new index; unset is none on a single node, else one.")
    pipeline: str | None = Field(None, description="Named search pipeline of `fusion = server`; unset sends the pipeline with each request.")
    fields: tuple[str, ...] = Field((), description="Further lexical fields with boosts, such as title^2, added to the two of every search.")
    fuzziness: Literal["0", "1", "2", "AUTO"] = Field("0", description="Edits that a word may differ by in BM25; 0 is exact.")
    phrase_boost: float = Field(0.0, ge=0, le=100, description="Added weight of passages that hold the question's words as a phrase.")
    allow_partial: bool = Field(False, description="Serve what answered when some shards fail, marked as degraded; otherwise that is an error.")
    bulk_bytes: int = Field(8_000_000, ge=10_000, description="Bytes of one bulk request at most.")
    bulk_actions: int = Field(500, ge=1, description="Items of one bulk request at most.")
    bulk_parallel: int = Field(2, ge=1, le=32, description="Bulk requests in flight.")
    bulk_timeout_s: float = Field(120.0, gt=0, description="Seconds one bulk request may take: the server builds the vector graph within it.")

    @field_validator("host")
    @classmethod
    def _can_be_asked(cls, value: str | None) -> str | None:
        """What the client would refuse is refused here, where it is written; so no `SearchCfg` shows a password in its address."""
        from .search.opensearch.wire.hosts import parse_hosts

        if value is not None:
            try:
                parse_hosts(value)
            except ConfigurationError as error:
                raise ValueError(f"{error.message} {error.hint}") from None
        return value

    @field_validator("pipeline")
    @classmethod
    def _names_a_pipeline(cls, value: str | None) -> str | None:
        """``_none`` is OpenSearch's word for no pipeline, without which a hybrid query is answered wrongly."""
        if value is not None and (not value.strip() or value.strip() == "_none"):
            raise ValueError("must name a search pipeline: without one OpenSearch does not fuse; leave it unset to send one with each request")
        return value

    @field_validator("username")
    @classmethod
    def _without_colon(cls, value: str | None) -> str | None:
        if value is not None and ":" in value:
            raise ValueError("The user holds a colon, where basic authentication begins the password.")
        return value

    @field_validator("password", "bearer_token", "use_aws_auth")
    @classmethod
    def _one_credential(cls, value: SecretStr | bool | None, info: ValidationInfo) -> SecretStr | bool | None:
        """Each is checked against those above it: of two that are set, the server would see one, and nobody knows which was meant."""
        if not value:
            return value
        if info.field_name == "password":
            if not info.data.get("username", "unknown"):  # absent where it has a problem of its own
                raise ValueError("There is a password, but no `username` that it belongs to.")
            return value
        others = [name for name in ("username", "password", "bearer_token") if name != info.field_name and info.data.get(name)]
        if others:
            raise ValueError(f"It is set together with {' and '.join(f'`{name}`' for name in others)}, and only one of them can be sent; remove the other.")
        return value

    @field_validator("index_alias")
    @classmethod
    def _nameable(cls, value: str) -> str:
        """What OpenSearch takes as the name of an index (`MetadataCreateIndexService`), for the versions are named after the alias."""
        if value != value.lower():
            raise ValueError("must be in lower case, as OpenSearch wants names of indices")
        if found := sorted({one for one in value if one in _NO_ALIAS or not one.isprintable()}):
            raise ValueError(f'must not hold {", ".join(repr(one) for one in found)}: OpenSearch takes none of \\ / * ? " < > | , # : % and no spaces')
        if not value or value[0] in "_-+" or value in (".", ".."):
            raise ValueError("must not be empty or begin with _, - or +, nor be . or ..")
        if len(value.encode()) > _MAX_ALIAS_BYTES:
            raise ValueError(f"must have {_MAX_ALIAS_BYTES} bytes at most: OpenSearch's names have 255, and the versions' need the rest")
        return value

    @property
    def chosen_engine(self) -> Literal["embedded", "opensearch"]:
        return self.engine or ("opensearch" if self.host else "embedded")


class ChatCfg(Section):
    """`[chat]`: the model that writes answers."""

    provider: Literal["local", "openai", "azure"] = Field("local", description="`local` answers by extraction, without a model server.")
    model: str = Field("extractive", description="Model, or Azure deployment, name.")
    api_base: str | None = Field(None, description="Address of the model's API.")
    api_version: str | None = Field(None, description="Azure OpenAI API version.")
    api_key: SecretStr | None = Field(None, description="API key; Azure may use an identity instead.")
    timeout_s: float = Field(60.0, gt=0, description="Seconds a whole answer may take.")
    max_retries: int = Field(2, ge=0, le=10, description="Repeats after a connection error, 429 or 5xx.")
    temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature.")
    max_output_tokens: int = Field(1024, ge=1, description="Longest answer in tokens.")


class EmbedCfg(Section):
    """`[embed]`: the model that turns text into vectors."""

    provider: Literal["local", "openai", "azure"] = Field("local", description="`local` is all-MiniLM-L6-v2, int8 ONNX, on this machine.")
    model: str = Field("all-MiniLM-L6-v2", description="Model, or Azure deployment, name.")
    dims: int = Field(384, ge=1, le=65536, description="Length of its vectors.")
    api_base: str | None = Field(None, description="Address of the model's API; empty means `[chat] api_base`.")
    api_version: str | None = Field(None, description="Azure OpenAI API version; empty means `[chat] api_version`.")
    api_key: SecretStr | None = Field(None, description="API key; empty means the chat model's.")
    timeout_s: float = Field(30.0, gt=0, description="Seconds one batch may take.")
    max_retries: int = Field(2, ge=0, le=10, description="Repeats after a connection error, 429 or 5xx.")
    batch_size: int = Field(64, ge=1, le=2048, description="Texts in one call of a remote model.")
    threads: int = Field(0, ge=0, description="Processor threads of the local model; 0 takes the machine's cores, 4 at most.")
    cache_entries: int = Field(100_000, ge=0, description="Vectors kept in the embedding cache, keyed by model and text; 0 switches it off.")


class AzureOpenAICfg(Section):
    """`[azure_openai]`: credentials shared by Azure chat and embeddings."""

    api_key: SecretStr | None = Field(None, description="API key of the Azure OpenAI resource.")


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

    backend: Literal["memory", "sqlite", "postgres"] = Field("sqlite", description="Where threads live.")
    dsn: SecretStr | None = Field(None, description="Connection string for postgres.")


class TelemetryCfg(Section):
    """`[telemetry]`: logs, traces and metrics."""

    enabled: bool = Field(False, description="Export traces and metrics.")
    endpoint: str | None = Field(None, description="OTLP endpoint.")
    capture_content: bool = Field(False, description="Let prompts, answers and document text into telemetry.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe message that is logged.")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="`auto`: text on a terminal, JSON lines otherwise.")


class CacheCfg(Section):
    """`[cache]`: what is kept to save work, and can be made again."""

    path: Path | None = Field(None, description="Folder for what can be made again (the prepared model, evaluation indices); default ~/.cache/founders-rag.")
    ttl_s: float = Field(300.0, gt=0, description="Seconds a cached answer of a service stays.")
    max_entries: int = Field(1000, ge=1, description="Entries of an in-memory cache.")


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
