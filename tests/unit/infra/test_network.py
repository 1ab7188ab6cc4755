from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from src.errors import ConfigurationError, UnsupportedFeatureError
from src.infra.config import NetworkCfg
from src.infra.network import NetworkPolicy, direct_hosts, split_proxy

LABEL = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
NAME = st.lists(LABEL, min_size=2, max_size=4).map(".".join)
PORT = st.integers(1, 65535)


@given(NAME, PORT)
def test_nothing_is_direct_without_entries_and_everything_with_a_star(name: str, port: int) -> None:
    assert not direct_hosts([])(name, port)
    assert not direct_hosts(["", "  "])(name, port)
    assert direct_hosts(["*"])(name, port)


@given(NAME, LABEL, PORT)
def test_a_name_covers_itself_and_what_lies_below_in_any_case(name: str, label: str, port: int) -> None:
    direct = direct_hosts([f" {name.upper()} "])
    assert direct(name, port)
    assert direct(f"{label}.{name}".upper(), port)
    assert direct(f"{name}.", port), "the root's dot changes nothing"
    assert not direct(f"{label}{name}", port), "a name that merely ends alike is another"
    assert not direct(f"{name}.{label}x9", port)


@given(NAME, LABEL, st.sampled_from([".", "*."]))
def test_a_leading_dot_covers_only_what_lies_below(name: str, label: str, prefix: str) -> None:
    direct = direct_hosts([prefix + name])
    assert direct(f"{label}.{name}", 443)
    assert not direct(name, 443)


@given(NAME, PORT, PORT)
def test_an_entry_with_a_port_holds_for_that_port_alone(name: str, port: int, other: int) -> None:
    direct = direct_hosts([f"{name}:{port}"])
    assert direct(name, port)
    assert direct(name, other) == (port == other)


@given(st.ip_addresses(), st.data())
def test_a_network_covers_exactly_its_addresses(address: ipaddress.IPv4Address | ipaddress.IPv6Address, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, address.max_prefixlen))
    network = ipaddress.ip_network(f"{address}/{length}", strict=False)
    other = data.draw(st.ip_addresses(v=address.version))
    direct = direct_hosts([f"{address}/{length}"])
    assert direct(str(address), 443)
    assert direct(str(other), 443) == (other in network)
    assert not direct("example.com", 443)


@given(st.ip_addresses(), PORT, PORT)
def test_addresses_match_as_addresses(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, other: int) -> None:
    text = f"[{address}]" if address.version == 6 else str(address)
    assert direct_hosts([str(address)])(text, port)
    assert direct_hosts([address.exploded])(str(address), port)
    assert direct_hosts([f"{text}:{port}"])(text, other) == (port == other)


@given(st.lists(NAME, max_size=5), NAME)
def test_more_entries_never_make_a_host_less_direct(names: list[str], host: str) -> None:
    assert not any(direct_hosts([name])(host, 443) for name in names) or direct_hosts(names)(host, 443)


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "a/b", "host:port", ":80"])
def test_an_entry_that_cannot_be_read_is_an_error_that_names_the_key(entry: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        direct_hosts([entry])
    assert caught.value.setting == "network.no_proxy"


def test_credentials_leave_the_address_of_the_proxy() -> None:
    proxy = split_proxy(SecretStr("http://us%40er:p%3Ass@proxy.company.com:8080/"))
    assert (proxy.url, proxy.username, proxy.password.get_secret_value()) == ("http://proxy.company.com:8080", "us@er", "p:ss")
    assert "p:ss" not in repr(proxy)
    assert split_proxy(SecretStr("proxy.company.com:10443")).url == "http://proxy.company.com:10443"
    assert split_proxy(SecretStr("http://[::1]:3128")).url == "http://[::1]:3128"


def test_keys_of_their_own_beat_credentials_in_the_address() -> None:
    proxy = split_proxy(SecretStr("http://a:b@proxy:80"), "user", SecretStr("word"))
    assert (proxy.username, proxy.password.get_secret_value()) == ("user", "word")


@pytest.mark.parametrize("url", ["ftp://user:hunter2@proxy", "http://", "http://user:hunter2@proxy:port"])
def test_a_proxy_that_cannot_be_used_is_an_error_without_its_credentials(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        NetworkPolicy(NetworkCfg(proxy=SecretStr(url)))
    assert caught.value.setting == "network.proxy"
    assert "hunter2" not in str(caught.value)


def test_the_proxy_is_chosen_host_by_host() -> None:
    policy = NetworkPolicy(NetworkCfg(proxy=SecretStr("http://proxy:8080"), no_proxy=("internal.example",)))
    assert policy.proxy_for("api.internal.example", 443) is None
    proxy = policy.proxy_for("api.openai.com", 443)
    assert proxy is not None
    assert proxy.url == "http://proxy:8080"
    assert NetworkPolicy(NetworkCfg()).proxy_for("api.openai.com", 443) is None


def test_the_shared_context_verifies_and_is_built_once() -> None:
    policy = NetworkPolicy(NetworkCfg())
    context = policy.ssl_context
    assert context is policy.ssl_context
    assert context is not policy.new_ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_bundle_is_added_to_the_systems_authorities(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    system = len(NetworkPolicy(NetworkCfg()).ssl_context.get_ca_certs())
    assert len(NetworkPolicy(NetworkCfg(ca_bundle=tmp_path / "ca.pem")).ssl_context.get_ca_certs()) == system + 1


def test_the_environment_adds_no_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = len(NetworkPolicy(NetworkCfg()).ssl_context.get_ca_certs())
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert len(NetworkPolicy(NetworkCfg()).ssl_context.get_ca_certs()) == system


def test_certificate_files_that_cannot_be_used_name_their_key(tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    cert = trustme.CA().issue_cert("client.example")
    cert.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    for cfg, key in [
        (NetworkCfg(ca_bundle=tmp_path / "absent.pem"), "network.ca_bundle"),
        (NetworkCfg(ca_bundle=tmp_path / "text.pem"), "network.ca_bundle"),
        (NetworkCfg(client_certificate=tmp_path / "cert.pem"), "network.client_certificate"),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            _ = NetworkPolicy(cfg).ssl_context
        assert caught.value.setting == key


def test_a_client_certificate_is_loaded(tmp_path: Path) -> None:
    trustme.CA().issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    assert NetworkPolicy(NetworkCfg(client_certificate=tmp_path / "client.pem")).ssl_context


def test_trust_in_the_environment_is_refused_rather_than_half_done() -> None:
    with pytest.raises(UnsupportedFeatureError) as caught:
        _ = NetworkPolicy(NetworkCfg(trust_env=True)).ssl_context
    assert caught.value.setting == "network.trust_env"
