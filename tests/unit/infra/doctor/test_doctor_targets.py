"""The hops that a configuration has. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from src.infra.doctor.dsn import database_address
from src.infra.doctor.targets import targets_of
from src.infra.network import NetworkPolicy
from src.infra.settings import load_settings

AZURE = {"chat.provider": "azure", "chat.api_base": "https://openai.bank.test/openai", "chat.api_version": "2024-06-01", "azure_openai.api_key": "k"}


def hops(**values: Any) -> dict[str, str]:
    settings = load_settings([], {name.replace("__", "."): value for name, value in values.items()}, environ={})
    return {target.hop: target.address for target in targets_of(settings)}


def test_the_embedded_parts_have_no_hop_that_leaves_the_machine() -> None:
    assert list(hops()) == ["data", "model", "index"]


def test_models_of_one_provider_share_an_address_and_are_two_hops() -> None:
    found = hops(**AZURE, embed__provider="azure")
    assert list(found) == ["data", "index", "network", "chat", "embed"]
    assert found["chat"] == found["embed"] == "https://openai.bank.test"


def test_the_local_embedder_stays_a_hop_beside_a_remote_chat_model() -> None:
    assert list(hops(**AZURE)) == ["data", "model", "index", "network", "chat"]


def test_openai_without_an_address_is_its_public_one() -> None:
    assert hops(chat__provider="openai")["chat"] == "https://api.openai.com"


def test_an_identity_is_a_hop_only_where_a_model_uses_it() -> None:
    identity = {"azure.tenant_id": "t", "azure.client_id": "c", "azure.client_secret": "s"}
    assert "identity" not in hops(**identity)
    assert hops(**AZURE, **identity)["identity"] == "https://login.microsoftonline.com"
    assert hops(**AZURE, **identity, azure__authority_host="login.bank.test")["identity"] == "https://login.bank.test"


def test_a_managed_identity_has_no_address_to_connect_to() -> None:
    assert hops(**AZURE, azure__credential="managed")["identity"] == ""


def test_of_a_chain_the_authority_is_on_the_way_only_where_its_first_kind_goes_there() -> None:
    chain = {**AZURE, "azure.credential": "chain"}
    assert hops(**chain)["identity"] == ""
    secret = {"azure.tenant_id": "t", "azure.client_id": "c", "azure.client_secret": "s"}
    assert hops(**chain, **secret)["identity"] == "https://login.microsoftonline.com"
    assert hops(**chain, **secret, azure__chain="managed, secret")["identity"] == ""


def test_each_host_of_opensearch_and_aws_s_credentials_are_hops() -> None:
    found = hops(search__host="https://a.bank.test:9200, https://b.bank.test", search__use_aws_auth=True)
    assert found == {
        "data": found["data"],
        "model": found["model"],
        "network": "",
        "aws": "",
        "search": "https://a.bank.test:9200",
        "search-2": "https://b.bank.test",
    }


def test_a_proxy_is_a_hop_only_where_something_leaves_the_machine_and_never_shows_its_credential() -> None:
    url = "http://user:password@proxy.bank.test:8080"
    assert "proxy" not in hops(network__proxy=url)
    assert hops(**AZURE, network__proxy=url)["proxy"] == "http://proxy.bank.test:8080"
    two = hops(**AZURE, network__proxy=url, network__http_proxy="http://other.bank.test:3128")
    assert {two["proxy"], two["proxy-2"]} == {"http://proxy.bank.test:8080", "http://other.bank.test:3128"}


def test_a_proxy_whose_address_cannot_be_used_is_a_hop_all_the_same() -> None:
    found = hops(**AZURE, network__proxy="http://bank.test/proxy.pac")
    assert "network" in found
    assert "proxy" in found


def test_telemetry_counts_once_it_is_on() -> None:
    assert "otlp" not in hops(telemetry__endpoint="https://otel.bank.test:4318")
    assert hops(telemetry__endpoint="https://otel.bank.test:4318/x", telemetry__enabled=True)["otlp"] == "https://otel.bank.test:4318"


@pytest.mark.parametrize(
    ("dsn", "address"),
    [
        ("postgresql://rag:p%40ss@db.bank.test:6432/rag?sslmode=require", "postgres://db.bank.test:6432"),
        ("postgres://db.bank.test/rag", "postgres://db.bank.test:5432"),
        ("postgresql://rag@[2001:db8::1]/rag", "postgres://[2001:db8::1]:5432"),
        ("host=db.bank.test port=6432 user=rag password='a b\\'c' dbname=rag", "postgres://db.bank.test:6432"),
        ("host='db.bank.test' dbname=rag", "postgres://db.bank.test:5432"),
        ("postgresql:///rag?host=db.bank.test", "postgres://db.bank.test:5432"),
        ("postgresql://rag@/rag?host=/var/run/postgresql", ""),
        ("postgresql://a.bank.test,b.bank.test/rag", ""),
        ("", ""),
        ("postgresql://rag@db.bank.test:port/rag", ""),
    ],
)
def test_a_connection_string_leads_to_its_host_without_what_is_secret(dsn: str, address: str) -> None:
    assert database_address(dsn) == address


def test_an_address_that_is_none_makes_a_hop_without_address() -> None:
    settings = load_settings([], AZURE, environ={})
    for base in ("openai.bank.test", "https://", "ftp://x", "https://host:port"):  # loading refuses them, settings made by hand hold them
        held = settings.model_copy(update={"chat": settings.chat.model_copy(update={"api_base": base})})
        assert next(target.address for target in targets_of(held) if target.hop == "chat") == ""


def test_the_way_of_a_hop_is_that_of_the_product() -> None:
    settings = load_settings([], {**AZURE, "network.https_proxy": "http://proxy.bank.test:8080"}, environ={})
    chat = next(target for target in targets_of(settings) if target.hop == "chat")
    way = chat.way(NetworkPolicy(settings.network))
    assert (way.address, way.proxy, way.proxy_setting, way.timeout_setting) == (
        "https://openai.bank.test",
        "http://proxy.bank.test:8080",
        "network.https_proxy",
        "chat.timeout_s",
    )
