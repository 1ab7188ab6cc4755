"""`[network] trust_env`: what other programs' variables bring, where it shows, and that nothing of them counts without it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import InvalidSettingsError
from src.infra.config import NetworkCfg, Settings
from src.infra.network import NetworkPolicy
from src.infra.settings import load_settings, source_of

NAMES = [f"{name}_PROXY" for name in ("HTTP", "HTTPS", "ALL", "NO")]
CA_NAMES = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"]
ADDRESS = st.sampled_from(["", "http://a:1", "http://b:2", "http://user:hunter2@c:3"])
VARIABLES = st.dictionaries(st.sampled_from([*NAMES, *(name.lower() for name in NAMES), *CA_NAMES]), ADDRESS)


def load(environ: dict[str, str], **network: object) -> Settings:
    return load_settings([], {"network": {"trust_env": "true"} | network}, environ=environ)


def routes(settings: Settings) -> dict[str, str | None]:
    policy = NetworkPolicy(settings.network)
    return {scheme: proxy.url if (proxy := policy.proxy_for("host.example", scheme=scheme)) else None for scheme in ("http", "https")}


class Unread(dict[str, str]):
    """An environment that must not be asked for what is not ours."""

    def __getitem__(self, key: str) -> str:
        assert key.upper() not in (*NAMES, *CA_NAMES), key
        return super().__getitem__(key)

    def get(self, key: str, default: object = None) -> object:  # type: ignore[override] # narrower than a dict's on purpose
        assert key.upper() not in (*NAMES, *CA_NAMES), key
        return super().get(key, default)

    def items(self) -> Iterator[tuple[str, str]]:  # type: ignore[override] # as above
        raise AssertionError("read whole")


@given(VARIABLES)
def test_without_trust_nothing_of_them_is_read(environ: dict[str, str]) -> None:
    assert load_settings([], {}, environ=Unread(environ)).network == NetworkCfg()
    assert load_settings([], {"network.trust_env": "false"}, environ=Unread(environ)).network == NetworkCfg()


def convention(environ: dict[str, str], scheme: str) -> str | None:
    """curl's: the scheme's own variable, then the one for all; small letters first; empty is none."""
    for name in (f"{scheme}_proxy", "all_proxy"):
        for spelling in (name, name.upper()):
            if spelling in environ:
                return environ[spelling].replace("user:hunter2@", "") or None
    return None


@given(VARIABLES.map(lambda found: {name: value for name, value in found.items() if name.lower() in ("http_proxy", "https_proxy", "all_proxy")}))
def test_each_scheme_goes_where_the_variables_send_other_programs(environ: dict[str, str]) -> None:
    assert routes(load(environ)) == {scheme: convention(environ, scheme) for scheme in ("http", "https")}


def test_the_source_is_the_variable() -> None:
    environ = {"https_proxy": "http://user:hunter2@a:1", "HTTP_PROXY": "http://b:2", "NO_PROXY": "localhost, .example  10.0.0.0/8", "SSL_CERT_FILE": "/ca.pem"}
    settings = load(environ | {"REQUESTS_CA_BUNDLE": "/other.pem"})
    found = {key: str(source_of(settings, f"network.{key}")) for key in ("proxy", "http_proxy", "no_proxy", "ca_bundle", "ca_mode")}
    assert found == {
        "proxy": "environment https_proxy",
        "http_proxy": "environment HTTP_PROXY",
        "no_proxy": "environment NO_PROXY",
        "ca_bundle": "environment SSL_CERT_FILE",
        "ca_mode": "environment SSL_CERT_FILE",
    }
    assert settings.network.no_proxy == ("localhost", ".example", "10.0.0.0/8")
    assert settings.network.ca_mode == "replace"
    assert [str(source) for source in source_of(settings, "network.ca_bundle").shadowed] == ["environment REQUESTS_CA_BUNDLE"]
    assert "hunter2" not in repr(settings)


def test_what_is_configured_stands() -> None:
    environ = {"HTTPS_PROXY": "http://env:1", "HTTP_PROXY": "http://env:2", "NO_PROXY": "env.example", "SSL_CERT_FILE": "/env.pem"}
    settings = load(environ, proxy="http://ours:1", no_proxy="ours.example", ca_bundle="/ours.pem")
    assert routes(settings) == {"http": "http://ours:1", "https": "http://ours:1"}
    assert settings.network.no_proxy == ("ours.example",)
    assert (str(settings.network.ca_bundle), settings.network.ca_mode) == ("/ours.pem", "add")
    assert routes(load(environ, proxy="")) == {"http": None, "https": None}, "set to nothing is configured too"


def test_a_profiles_proxy_stands_as_well() -> None:
    settings = load({"HTTPS_PROXY": "http://env:1"} | {"CLOUD_PROFILE": "jpmc_azure"})
    assert routes(settings)["https"] == "http://proxy.jpmchase.net:10443"


def test_a_header_of_a_cgi_request_is_no_proxy() -> None:
    assert routes(load({"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"})) == {"http": None, "https": None}


@pytest.mark.parametrize("value", ["http://wpad/proxy.pac", "socks5://p:1"])
def test_what_the_policy_cannot_do_is_refused_there_too(value: str) -> None:
    from src.errors import UnsupportedFeatureError

    with pytest.raises(UnsupportedFeatureError):
        NetworkPolicy(load({"ALL_PROXY": value}).network)


def test_a_value_that_cannot_be_read_names_its_variable() -> None:
    with pytest.raises(InvalidSettingsError, match="SSL_CERT_FILE"):
        load({"SSL_CERT_FILE": "~nobody-of-this-name/ca.pem"})


def test_entries_of_no_proxy_that_cannot_be_used_are_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    settings = load({"NO_PROXY": "localhost, 10.0.* http://x/ .example"})
    assert settings.network.no_proxy == ("localhost", ".example")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "10.0.*" in caplog.records[0].getMessage()
    assert "NO_PROXY" in caplog.records[0].getMessage()
    assert load({"NO_PROXY": "10."}).network.no_proxy == ()
