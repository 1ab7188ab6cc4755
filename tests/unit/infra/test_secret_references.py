"""References to vaults where none can be resolved: each is told of, none is dropped or taken for the value."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.errors import InvalidSettingsError
from src.infra.settings import load_settings


@pytest.mark.parametrize("reference", ["${vault:internal-hosts}", "${aws:hosts#internal}", "sub.${vault:internal-hosts}"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rag.yaml", 'network:\n  no_proxy: ["{}", "a.com"]\n'),
        ("rag.json", '{{"network": {{"no_proxy": ["{}", "a.com"]}}}}'),
        ("rag.json", '{{"azure": {{"chain": ["{}"]}}}}'),
        ("rag.yaml", 'environment:\n  cloud_profile: mine\n"profile:mine":\n  network.no_proxy: ["{}", "a.com"]\n'),
    ],
)
def test_no_item_of_a_list_comes_out_of_a_vault(tmp_path: Path, reference: str, name: str, text: str) -> None:
    (tmp_path / name).write_text(text.format(reference))
    with pytest.raises(InvalidSettingsError, match="only keys that are secret can come out of a vault"):
        load_settings(tmp_path / name, environ={})


def test_an_escaped_reference_in_a_list_is_text(tmp_path: Path) -> None:
    (tmp_path / "rag.yaml").write_text('network:\n  no_proxy: ["$${vault:x}", "a.com"]\n')
    assert load_settings(tmp_path / "rag.yaml", environ={}).network.no_proxy == ("${vault:x}", "a.com")


@pytest.mark.parametrize("vault", ["http://rag.vault.azure.net", "https://rag.vault.azure.net/secrets/openai-key", "https://rag.vault.azure.net?x=1"])
def test_an_address_that_no_vault_has_is_a_problem_of_the_configuration(tmp_path: Path, vault: str) -> None:
    (tmp_path / "rag.ini").write_text(f"[secrets]\nvault = {vault}\n[chat]\napi_key = ${{vault:x}}\n")
    with pytest.raises(InvalidSettingsError, match="no https address of a vault"):
        load_settings(tmp_path / "rag.ini", environ={})


@pytest.mark.parametrize("vault", ["https://rag.vault.azure.net", "https://rag.vault.azure.cn/", "https://rag.vault.emulator.test:8443"])
def test_the_address_of_a_vault_is_one(tmp_path: Path, vault: str) -> None:
    (tmp_path / "rag.ini").write_text(f"[secrets]\nvault = {vault}\n")
    assert load_settings(tmp_path / "rag.ini", environ={}).secrets.vault == vault


@pytest.mark.parametrize("reference", ["${vault:x}", "${aws:prod/rag#key}", " pre${vault:x} "])
@pytest.mark.parametrize("place", ["variable", "variable of a file", "secret file", "override", "list of an override"])
def test_a_reference_where_none_is_looked_up_is_never_taken_for_the_value(tmp_path: Path, reference: str, place: str) -> None:
    (tmp_path / "rag.ini").write_text("[chat]\napi_key = ${MY_KEY}\n" if place == "variable of a file" else "[chat]\nmodel = m\n")
    (tmp_path / "secrets").mkdir()
    environ: dict[str, str] = {}
    overrides: dict[str, object] = {}
    if place == "secret file":
        (tmp_path / "secrets" / "chat__api_key").write_text(reference)
    elif place == "override":
        overrides = {"chat.api_key": reference}
    elif place == "list of an override":
        overrides = {"network.no_proxy": [reference]}
    else:
        environ = {"MY_KEY" if place == "variable of a file" else "RAG_CHAT__API_KEY": reference}
    with pytest.raises(InvalidSettingsError, match="looked up only where a configuration file names it itself") as caught:
        load_settings(tmp_path / "rag.ini", overrides, environ=environ, secrets_dir=tmp_path / "secrets")
    assert len(caught.value.problems) == 1


def test_a_reference_that_a_higher_layer_shadows_is_no_problem(tmp_path: Path) -> None:
    loaded = load_settings([], {"chat.api_key": "mine"}, environ={"RAG_CHAT__API_KEY": "${vault:x}"})
    assert loaded.chat.api_key is not None
    assert loaded.chat.api_key.get_secret_value() == "mine"


def test_text_of_a_file_that_only_looks_like_a_reference_stays_text(tmp_path: Path) -> None:
    (tmp_path / "rag.ini").write_text("[chat]\napi_key = $${vault:x}${SUFFIX}\n")
    key = load_settings(tmp_path / "rag.ini", environ={"SUFFIX": "-${end"}).chat.api_key
    assert key is not None
    assert key.get_secret_value() == "${vault:x}-${end"


@pytest.mark.parametrize(("scheme", "advice"), [("vault", "${vault:NAME}"), ("aws", "${aws:NAME}"), ("OTHER", "${OTHER:default}")])
def test_what_a_variable_that_is_not_set_is_advised_can_be_written(tmp_path: Path, scheme: str, advice: str) -> None:
    (tmp_path / "rag.ini").write_text(f"[chat]\napi_key = ${{{scheme}}}\n")
    with pytest.raises(InvalidSettingsError) as caught:
        load_settings(tmp_path / "rag.ini", environ={})
    assert advice in str(caught.value)
    assert ("default" in str(caught.value)) is (scheme == "OTHER")
