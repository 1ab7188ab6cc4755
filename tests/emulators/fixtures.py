"""Fixtures around the emulators; a test file takes them by importing them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from src.infra.config import ChatCfg, EmbedCfg, NetworkCfg
from src.infra.network import NetworkPolicy
from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[AzureOpenAIEmulator]:
    with AzureOpenAIEmulator(tmp_path).running() as emulator:
        yield emulator


@pytest.fixture
def policy(azure: AzureOpenAIEmulator) -> NetworkPolicy:
    """Trusts the emulator's authority."""
    return NetworkPolicy(NetworkCfg(ca_bundle=azure.ca_file))


@pytest.fixture
def chat_cfg(azure: AzureOpenAIEmulator) -> ChatCfg:
    """No retries: with them a test would wait for the backoff."""
    return ChatCfg(provider="azure", model="gpt-4", api_base=azure.url, api_version="2024-06-01", api_key=SecretStr(KEY), timeout_s=20, max_retries=0)


@pytest.fixture
def embed_cfg(azure: AzureOpenAIEmulator) -> EmbedCfg:
    return EmbedCfg(
        provider="azure",
        model="text-embedding-ada-002",
        dims=azure.dims,
        api_base=azure.url,
        api_version="2024-06-01",
        api_key=SecretStr(KEY),
        timeout_s=20,
        max_retries=0,
        batch_size=3,
    )
