"""docs/models.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from src.infra.configuring.profiles import PROFILES
from src.infra.doctor.targets import targets_of
from src.infra.factories import effective_chat, effective_embed
from src.infra.network import NetworkPolicy
from src.infra.settings import load_settings

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
DEPLOYMENTS, BANK, RERANKER = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_of_deployments_maps_both_models(tmp_path: Path) -> None:
    (tmp_path / "rag.ini").write_text(DEPLOYMENTS)
    settings = load_settings(tmp_path / "rag.ini", environ={})
    assert (effective_chat(settings).deployed, effective_embed(settings).deployed) == ("gpt4-prod", "ada-prod")


def test_the_banks_example_loads_with_its_own_exceptions(tmp_path: Path) -> None:
    (tmp_path / "rag.ini").write_text(BANK)
    settings = load_settings(tmp_path / "rag.ini", environ={"JPMC_USER_SID": "N1"})
    network = NetworkPolicy(settings.network)
    assert network.proxy_for("opensearch.jpmchase.net") is None
    assert network.proxy_for("rag.openai.azure.com") is not None
    chat, embed = effective_chat(settings), effective_embed(settings)
    assert (chat.user_header, chat.user) == (embed.user_header, embed.user) == ("user_sid", "N1")
    assert settings.azure.credential == "certificate"


def test_what_the_page_says_of_the_profile_is_what_stands_there() -> None:
    profile = PROFILES["jpmc_azure"]
    for key in ("network.no_proxy", "chat.user_header"):
        assert f"`{profile[key]}`" in PAGE
    assert profile["network.proxy"].removeprefix("http://") in PAGE


def test_the_example_of_a_reranker_loads_and_is_asked_where_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "rag.ini").write_text(RERANKER)
    settings = load_settings(tmp_path / "rag.ini", environ={"RERANK_KEY": "k"})
    assert (settings.rerank.api_base, settings.rerank.candidates) == ("https://api.cohere.com/v2", 50)
    (target,) = (target for target in targets_of(settings) if target.hop == "rerank")
    assert target.address == "https://api.cohere.com"
