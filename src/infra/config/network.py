"""`[network]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, SecretStr

from .section import Section

ADDRESS: dict[str, JsonValue] = {"format": "uri"}
"""Marks a secret that is one only for the user and password within an address: without them it may be shown."""


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
    pool_size: int = Field(1000, ge=1, le=10_000, description="Connections that a client holds at most, likewise; each answer that a model streams takes one.")
    trust_env: bool = Field(
        False, description="Let HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and their kin fill what is not configured here."
    )
