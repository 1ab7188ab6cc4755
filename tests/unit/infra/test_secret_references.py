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
