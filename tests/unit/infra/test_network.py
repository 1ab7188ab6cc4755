from __future__ import annotations

import base64
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


@pytest.mark.parametrize(
    ("entry", "form"),
    [
        *(("10.", "10.0.0.0/8"), ("10.0", "10.0.0.0/16"), ("10.0.*", "10.0.0.0/16"), ("192.168.1.", "192.168.1.0/24"), ("10.0:443", "10.0.0.0/16")),
        *(("10.0.0.0-10.0.0.255", "10.0.0.0/8"), ("10.0.0.300", "10.1.2.3"), (".10", "10.0.0.0/8"), ("*.*", "10.0.0.0/8")),
    ],
)
def test_an_entry_that_would_never_match_is_refused_with_the_form_to_use(entry: str, form: str) -> None:
    with pytest.raises(ConfigurationError, match="would never match") as caught:
        direct_hosts([entry])
    assert (caught.value.setting, form in caught.value.hint) == ("network.no_proxy", True)


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


@given(NAME, LABEL, st.sampled_from(["", ".", "*."]), st.none() | PORT, PORT)
def test_the_matcher_agrees_with_its_definition(name: str, label: str, prefix: str, wanted: int | None, port: int) -> None:
    direct = direct_hosts([prefix + name + (f":{wanted}" if wanted else "")])
    for host, below in ((name, False), (f"{label}.{name}", True), (f"{label}{name}", None), (f"{name}.{label}", None)):
        named = below is not None and (below or not prefix)
        if below is None and (f".{host}".endswith(f".{name}")):
            continue
        assert direct(host, port) == (named and wanted in (None, port)), host


@given(st.ip_addresses(v=4), st.integers(1, 32))
def test_an_ipv4_address_in_the_form_of_ipv6_is_the_same_address(address: ipaddress.IPv4Address, length: int) -> None:
    for entry in (str(address), f"{address}/{length}", f"::ffff:{address}"):
        assert direct_hosts([entry])(f"[::ffff:{address}]", 443)
        assert direct_hosts([entry])(str(address), 443)


@given(st.text(max_size=30), PORT)
def test_no_host_breaks_the_matcher(host: str, port: int) -> None:
    direct_hosts(["example.com", "10.0.0.0/8", "[::1]:443", "localhost"])(host, port)


@given(st.lists(st.text(max_size=20), max_size=4))
def test_every_list_of_entries_is_read_or_refused_by_name(entries: list[str]) -> None:
    refused = None
    try:
        direct_hosts(entries)("example.com", 443)
    except ConfigurationError as error:
        refused = error
    assert refused is None or refused.setting == "network.no_proxy"


def test_localhost_is_the_name_all_below_it_and_every_loopback_address() -> None:
    direct = direct_hosts(["localhost"])
    assert all(direct(host, 443) for host in ("localhost", "LOCALHOST.", "app.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "::ffff:127.0.0.1"))
    assert not any(direct(host, 443) for host in ("localhost.example", "10.0.0.1", "[::2]"))
    assert direct_hosts(["localhost:8080"])("127.0.0.1", 8080)
    assert not direct_hosts(["localhost:8080"])("127.0.0.1", 8081)
    assert not direct_hosts(["*.localhost"])("127.0.0.1", 80)


def test_names_beyond_ascii_and_zones_of_ipv6_are_compared_as_they_are_meant() -> None:
    assert direct_hosts(["bücher.example"])("shop.xn--bcher-kva.example", 443)
    assert direct_hosts(["xn--bcher-kva.example"])("BÜCHER.example", 443)
    assert direct_hosts(["fe80::/10"])("[fe80::1%eth0]", 443)
    assert direct_hosts(["[fd00::]/8"])("fd12::1", 443)


def test_without_a_port_a_host_has_that_of_its_scheme() -> None:
    policy = NetworkPolicy(NetworkCfg(proxy=SecretStr("http://proxy:8080"), no_proxy=("example.com:443",)))
    assert policy.proxy_for("example.com") is None
    assert policy.proxy_for("example.com", scheme="http") is not None
    assert policy.proxy_for("example.com", 8443) is not None


@pytest.mark.parametrize(
    "entry",
    ["10.0.0.0/99", "a/b", "host:port", ":80", "host:0", "host:65536", "10.0.*", "ex*mple.com", "*example.com", "https://host", "a b", "<local>", ".."],
)
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


@pytest.mark.parametrize(
    "url",
    [
        "pac+http://user:hunter2@wpad/",
        "http://user:hunter2@config.company.com/proxy.pac",
        "http://user:hunter2@wpad/wpad.dat",
        "file:///etc/proxy.PAC",
        "/etc/proxy.pac",
        "socks5://user:hunter2@proxy:1080",
    ],
)
def test_auto_config_files_and_socks_are_refused_with_what_to_do(url: str) -> None:
    with pytest.raises(UnsupportedFeatureError, match="not supported") as caught:
        NetworkPolicy(NetworkCfg(https_proxy=SecretStr(url)))
    assert caught.value.setting == "network.https_proxy"
    assert "http://host:port" in caught.value.hint
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://user:hunter2@proxy", "http://", "http://user:hunter2@proxy:port", "http://user:hunter2@h:99999", "http://user:hunter2@[::1"),
        *("http://user:12#hunter2@127.0.0.1:9310", "http://user:12/hunter2@127.0.0.1:9310", "http://user:12?hunter2@127.0.0.1:9310"),
        *("http:/user:hunter2@h", "http://h:8080/hunter2", "http://h:8080/?hunter2", "http://h:0"),
    ],
)
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


def test_each_scheme_may_have_a_proxy_of_its_own_or_none() -> None:
    def chosen(**keys: str) -> list[str | None]:
        policy = NetworkPolicy(NetworkCfg(**{key: SecretStr(value) for key, value in keys.items()}))
        found = [policy.proxy_for("host", scheme=scheme) for scheme in ("http", "https")]
        assert set(policy.proxies) == {proxy for proxy in found if proxy}
        return [proxy.url if proxy else None for proxy in found]

    assert chosen(proxy="http://a:1") == ["http://a:1", "http://a:1"]
    assert chosen(proxy="http://a:1", http_proxy="http://b:2") == ["http://b:2", "http://a:1"]
    assert chosen(proxy="http://a:1", https_proxy="http://b:2") == ["http://a:1", "http://b:2"]
    assert chosen(https_proxy="http://b:2") == [None, "http://b:2"]
    assert chosen(proxy="http://a:1", http_proxy=" Direct ") == [None, "http://a:1"]


def test_credentials_of_the_proxy_go_over_the_wire_in_utf_8_and_stay_out_of_representations() -> None:
    (proxy,) = NetworkPolicy(NetworkCfg(proxy=SecretStr("http://p:1"), proxy_username="me", proxy_password=SecretStr("päss:€"))).proxies
    assert base64.b64decode(proxy.authorization.removeprefix("Basic ")).decode() == "me:päss:€"
    assert "€" not in repr(proxy)


def test_the_shared_contexts_verify_and_are_built_once() -> None:
    policy = NetworkPolicy(NetworkCfg())
    context = policy.ssl_context
    assert context is policy.ssl_context
    assert policy.requests_context is policy.requests_context
    assert context is not policy.requests_context, "requests changes the one that it gets"
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_the_environment_adds_no_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = len(NetworkPolicy(NetworkCfg()).ssl_context.get_ca_certs())
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert len(NetworkPolicy(NetworkCfg()).ssl_context.get_ca_certs()) == system
