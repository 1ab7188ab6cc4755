"""The shape of `[search]`; import it from `config.py`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from ...errors import ConfigurationError
from .section import Section

_NO_ALIAS = '\\/*?"<>|,#:% '
"""Characters that no name of an index may hold; `%` OpenSearch takes, but it would be read as an escape in a request's path."""
_MAX_ALIAS_BYTES = 220


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
        from ..search.opensearch.wire.hosts import parse_hosts

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
