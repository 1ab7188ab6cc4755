"""The page on companies' networks: its examples load, and mean what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from src.infra.azure_auth import make_token_provider
from src.infra.config import NetworkCfg
from src.infra.network import NetworkPolicy
from src.infra.settings import load_settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "enterprise-network.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
KINDS = [("certificate",), (), ("secret",), ("workload",), ("managed",), ("cli",), ("workload", "managed", "cli"), (), (), (), ()]


@pytest.mark.parametrize(("example", "kinds"), list(zip(EXAMPLES, KINDS, strict=True)))
def test_each_example_loads_and_chooses_its_identity(example: str, kinds: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAG_CLIENT_SECRET", "RAG_API_KEY", "RAG_PROXY_PASSWORD", "RAG_CLIENT_KEY_PASSWORD"):
        monkeypatch.setenv(name, "a-secret")
    path = tmp_path / "config.ini"
    path.write_text(example)
    tokens = make_token_provider(load_settings(path).azure, NetworkPolicy(NetworkCfg()))
    assert (tokens.kinds if tokens else ()) == kinds


def test_an_empty_credential_takes_a_profiles_identity_out(tmp_path: Path) -> None:
    path = tmp_path / "config.ini"
    path.write_text("[environment]\ncloud_profile = jpmc_azure\n[azure]\ncredential =\n")
    assert make_token_provider(load_settings(path).azure, NetworkPolicy(NetworkCfg())) is None
