"""Whichever sources set a key: the winner, what it stands in place of, and each of their values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from src.cli.config_explain import explained
from src.errors import ConfigurationError
from src.infra.config import Settings
from src.infra.configuring.names import select
from src.infra.configuring.profiles import PROFILES
from src.infra.configuring.schema import HIDDEN, display, find, without_credentials
from src.infra.settings import load_settings, source_of

# Highest first, as DESIGN.md has it; later files before earlier ones, a company's own words on a profile before ours.
SOURCES = ("override", "RAG_ variable", "secret file", "file 3", "file 2", "file 1", "own profile", "profile", "shared variable")
# A key of each kind of value that all these sources can set: the built-in profile jpmc_azure, and HTTPS_PROXY, set `network.proxy`.
KEY = "network.proxy"
VALUES = {source: f"http://user:pass{number}@host{number}.example:80{number}" for number, source in enumerate(SOURCES)} | {
    "profile": "http://proxy.jpmchase.net:10443"
}


def load_from(folder: Path, chosen: frozenset[str]) -> Settings:
    """Settings in which each of the chosen sources sets the key. The profile `jpmc_azure` always does."""
    key = KEY.rpartition(".")[2]
    for number in (1, 2, 3):
        section = f"{key} = {VALUES[f'file {number}']}\n" if f"file {number}" in chosen else ""
        profile = f"[profile:jpmc_azure]\n{KEY} = {VALUES['own profile']}\n" if number == 2 and "own profile" in chosen else ""
        (folder / f"{number}.ini").write_text(f"[network]\n{section}{profile}")
    (folder / "secrets").mkdir(exist_ok=True)
    if "secret file" in chosen:
        (folder / "secrets" / "network__proxy").write_text(VALUES["secret file"])
    environ = {"CLOUD_PROFILE": "jpmc_azure" if "profile" in chosen else "local", "RAG_NETWORK__TRUST_ENV": "true"}
    environ |= {"RAG_NETWORK__PROXY": VALUES["RAG_ variable"]} if "RAG_ variable" in chosen else {}
    environ |= {"HTTPS_PROXY": VALUES["shared variable"]} if "shared variable" in chosen else {}
    overrides = {KEY: VALUES["override"]} if "override" in chosen else {}
    return load_settings([folder / f"{number}.ini" for number in (1, 2, 3)], overrides, environ=environ, secrets_dir=folder / "secrets")


def place(source: str, folder: Path) -> Mapping[str, object]:
    """How `explain` names a source."""
    if source.startswith("file"):
        return {"kind": "file", "where": str(folder / f"{source[-1]}.ini"), "line": 2}
    return {
        "override": {"kind": "override", "where": "overrides"},
        "RAG_ variable": {"kind": "environment", "where": "RAG_NETWORK__PROXY"},
        "secret file": {"kind": "secret", "where": str(folder / "secrets" / "network__proxy")},
        "own profile": {"kind": "profile", "where": str(folder / "2.ini"), "profile": "jpmc_azure"},
        "profile": {"kind": "profile", "where": "jpmc_azure"},
        "shared variable": {"kind": "environment", "where": "HTTPS_PROXY"},
    }[source]


@settings(max_examples=60, deadline=None)
@given(st.frozensets(st.sampled_from(SOURCES)))
@example(frozenset(SOURCES))
@example(frozenset())
def test_explain_names_the_winner_and_all_it_shadows_with_their_values(tmp_path_factory: pytest.TempPathFactory, chosen: frozenset[str]) -> None:
    if "own profile" in chosen:
        chosen |= {"profile"}  # which it adds to
    folder = tmp_path_factory.mktemp("e")
    loaded = load_from(folder, chosen)
    spec = find(KEY)
    assert spec is not None
    body = explained(loaded, spec)
    # Variables that all programs share count only where nothing else configures a proxy, and are not even looked at otherwise.
    order = [source for source in SOURCES if source in chosen and (source != "shared variable" or len(chosen) == 1)]
    sources = [body["source"], *body["shadowed"]]  # type: ignore[misc] # JSON
    assert [
        {key: item for key, item in source.items() if key not in ("value", "line") or (key == "line" and source["kind"] == "file")} for source in sources
    ] == [place(source, folder) for source in order] or (not order and sources == [{"kind": "default", "where": "default"}])
    values = [body["value"], *(source["value"] for source in body["shadowed"])]  # type: ignore[attr-defined] # JSON
    shown = [without_credentials(VALUES[source]) for source in order]
    # A secret file may change, and is not read for being explained.
    assert [HIDDEN if source == "secret file" else value for source, value in zip(order or [""], values, strict=True)] == [
        HIDDEN if source == "secret file" else value for source, value in zip(order or [""], shown or [None], strict=True)
    ]
    assert "pass" not in str([body["value"], body["source"], body["shadowed"]])


@pytest.mark.parametrize("name", sorted(PROFILES["jpmc_azure"]))
def test_each_default_of_the_bank_profile_has_the_profile_as_its_source(name: str) -> None:
    loaded = load_settings([], environ={"CLOUD_PROFILE": "jpmc_azure"})
    (spec,) = select(name)
    assert explained(loaded, spec)["source"]["where"] == "jpmc_azure"  # type: ignore[index] # JSON


def test_nothing_of_the_bank_stands_outside_the_data_of_its_profile(root: Path) -> None:
    texts = {path.relative_to(root / "src").as_posix(): path.read_text(encoding="utf-8") for path in (root / "src").rglob("*.py")}
    assert [name for name, text in texts.items() if "jpmchase" in text or '"user_sid"' in text] == ["infra/configuring/profiles.py"]


def test_a_shadowed_secret_is_hidden_and_one_that_is_unset_says_so(tmp_path: Path) -> None:
    (tmp_path / "1.ini").write_text("[search]\nusername = u\npassword = canary-1\n")
    (tmp_path / "2.ini").write_text("[search]\npassword =\n")
    loaded = load_settings(tmp_path, environ={"RAG_SEARCH__PASSWORD": "canary-2"})
    (spec,) = select("search.password")
    body = explained(loaded, spec)
    assert [source["value"] for source in body["shadowed"]] == ["", HIDDEN]  # type: ignore[attr-defined] # JSON
    assert "canary" not in str(body)
    assert "canary" not in repr(loaded.provenance)


@pytest.mark.parametrize("host", ["https://u:canary@h.example", "u:canary@h.example", "https://a.example, u:can@ary@h.example", "u:@canary:canary@h"])
def test_a_shadowed_address_is_shown_without_credentials_though_nothing_has_checked_it(host: str, tmp_path: Path) -> None:
    (tmp_path / "1.ini").write_text(f"[search]\nhost = {host}\n")
    loaded = load_settings(tmp_path, environ={"RAG_SEARCH__HOST": "https://good.example"})
    (spec,) = select("search.host")
    (shadowed,) = explained(loaded, spec)["shadowed"]  # type: ignore[misc] # JSON
    assert "can" not in shadowed["value"]
    assert HIDDEN in shadowed["value"]


def test_a_shadowed_value_that_cannot_be_used_is_shown_as_written(tmp_path: Path) -> None:
    (tmp_path / "1.ini").write_text("[api]\nport = ${NO_SUCH}\n")
    loaded = load_settings(tmp_path, environ={"RAG_API__PORT": "81"})
    (spec,) = select("api.port")
    assert explained(loaded, spec)["shadowed"] == [
        {"kind": "file", "where": str(tmp_path / "1.ini"), "line": 2, "variables": ["NO_SUCH"], "value": "${NO_SUCH}"}
    ]


@pytest.mark.parametrize(
    "written",
    [
        "search.host",
        "search host",
        " search.host ",
        "Search.HOST",
        "[search] host",
        "[search]host",
        "search . host",
        "RAG_SEARCH__HOST",
        "rag_search__host",
        "search.host =",
    ],
)
def test_a_key_is_known_however_it_is_written(written: str) -> None:
    assert [spec.name for spec in select(written)] == ["search.host"]


def test_other_ways_to_name_keys() -> None:
    assert [spec.name for spec in select("search.timeout-s")] == ["search.timeout_s"]
    assert [spec.name for spec in select("CLOUD_PROFILE")] == ["environment.cloud_profile"]
    assert {spec.section for spec in select("[Network]")} == {"network"}
    assert [spec.name for spec in select("intent:how-to.mode")] == ["intent:how-to.mode"]


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("serach.host", "search.host"),
        ("host", "search.host"),
        ("certificate_path", "azure.certificate_path"),
        ("netwrk", "network"),
        ("search.hots", "search.host"),
        ("intent:a.patern", "intent:a.pattern"),
        ("a.b.c", ""),
        ("...", ""),
        ("search.host.name", "search.host"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(written: str, near: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        select(written)
    assert f"`{near}`" in caught.value.hint if near else "Did you mean" not in caught.value.hint


@given(st.text())
def test_no_text_breaks_the_search_for_a_key(text: str) -> None:
    with suppress(ConfigurationError):
        assert select(text)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://proxy.example:8080", "http://proxy.example:8080"),
        ("http://user:p@ss/wo:rd@proxy.example:8080/", f"http://{HIDDEN}@proxy.example:8080"),
        ("user:pass@proxy.example:8080", f"{HIDDEN}@proxy.example:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("Direct", "direct"),
        ("hunter2", HIDDEN),
        ("http://user:secret", HIDDEN),
        ("http://proxy.example:80/?token=secret", HIDDEN),
        ("", HIDDEN),
    ],
)
def test_an_address_is_shown_without_its_credentials_or_not_at_all(address: str, shown: str) -> None:
    assert without_credentials(address) == shown


@given(st.text(), st.sampled_from(["http://u:{}@h.example:1", "{}@h.example:1", "https://{}@h.example"]))
def test_no_password_of_an_address_is_shown(password: str, pattern: str) -> None:
    assert without_credentials(pattern.format(password)) in (f"http://{HIDDEN}@h.example:1", f"{HIDDEN}@h.example:1", f"https://{HIDDEN}@h.example", HIDDEN)


def test_the_values_of_an_addresss_query_are_hidden(tmp_path: Path) -> None:
    (tmp_path / "rag.ini").write_text("[chat]\napi_base = https://h.test/v1?sig=SECRET&SECRET&se=1#x\n")
    settings = load_settings(tmp_path / "rag.ini", environ={})
    shown = display(settings.chat.api_base)
    assert shown == f"https://h.test/v1?sig={HIDDEN}&{HIDDEN}&se={HIDDEN}#x"
    assert "SECRET" not in repr(settings) + str(settings)
    assert "SECRET" not in str(source_of(settings, "chat.api_base"))
    assert display("What is this?a=b") == "What is this?a=b"
