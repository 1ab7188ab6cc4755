"""The page on companies' networks: what it says of `[network]` is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast, get_args

import pytest

from src.errors import ConfigurationError, UnsupportedFeatureError
from src.infra.hops import Hop, error_of
from src.infra.network import NetworkPolicy, direct_hosts
from src.infra.network.faults import Fault, FaultKind
from src.infra.settings import load_settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "enterprise-network.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## The way out") :]
FAULTS = re.findall(r"^\| [^|]+ \| `([a-z-]+)` \| `([a-z-]+)` \| `([a-z_.]+)` \|$", SECTION, re.MULTILINE)


def test_the_page_lists_every_fault() -> None:
    assert {fault for fault, _, _ in FAULTS} == set(get_args(FaultKind)) - {"unknown", "tls-other"}


@pytest.mark.parametrize(("fault", "code", "setting"), FAULTS)
def test_each_fault_is_the_error_of_the_page(fault: str, code: str, setting: str) -> None:
    hop = Hop("The service", "https://host:443", "api_base", timeout_setting="timeout_s")
    error = error_of(Fault(cast("FaultKind", fault), "why", at_proxy=fault.startswith("proxy-")), hop)
    assert (error.code, error.setting) == (code, setting)


def test_the_table_of_no_proxy_is_true() -> None:
    rows: list[tuple[str, list[tuple[str, int]], list[tuple[str, int]]]] = [
        ("example.com", [("example.com", 1), ("a.example.com", 1)], [("bexample.com", 1)]),
        (".example.com", [("a.example.com", 1)], [("example.com", 1)]),
        ("*.example.com", [("a.example.com", 1)], [("example.com", 1)]),
        ("fd00::1", [("[fd00::1]", 1)], [("fd00::2", 1)]),
        ("fd00::/8", [("fd12::1", 1)], [("fe00::1", 1)]),
        ("example.com:9200", [("example.com", 9200)], [("example.com", 443)]),
        ("[::1]:443", [("::1", 443)], [("::1", 80)]),
        ("localhost", [("localhost", 1), ("127.0.0.1", 1), ("::1", 1), ("a.localhost", 1)], [("10.0.0.1", 1)]),
        ("*", [("anything", 1)], []),
    ]
    for entry, direct, proxied in rows:
        assert f"`{entry}`" in SECTION
        matches = direct_hosts([entry])
        assert all(matches(*host) for host in direct), entry
        assert not any(matches(*host) for host in proxied), entry
    with pytest.raises(ConfigurationError):
        direct_hosts(["10.0.*"])


def test_its_example_of_a_proxy_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_PROXY_PASSWORD", "hunter2")
    example = next(text for text in re.findall(r"```ini\n(.*?)```", SECTION, re.DOTALL) if "no_proxy" in text)
    (tmp_path / "config.ini").write_text(example)
    policy = NetworkPolicy(load_settings(tmp_path / "config.ini").network)
    proxy: Any = policy.proxy_for("api.openai.com")
    assert (proxy.url, proxy.username, proxy.password.get_secret_value()) == ("http://proxy.company.com:8080", "svc-rag", "hunter2")
    assert policy.proxy_for("search.company.com") is None
    with pytest.raises(UnsupportedFeatureError, match="PAC"):
        NetworkPolicy(load_settings(tmp_path / "config.ini", {"network.proxy": "http://wpad/proxy.pac"}).network)
