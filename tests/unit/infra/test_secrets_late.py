"""A vault that takes longer than the caller has time: the vault is at fault, not the service that the secret is for."""

from __future__ import annotations

import threading
from collections.abc import Awaitable

import pytest

from src.errors import DeadlineExceededError
from src.infra.clients import make_chat_client, make_embed_client
from src.infra.config import ChatCfg, EmbedCfg, NetworkCfg
from src.infra.network import NetworkPolicy
from src.infra.providers.openai_chat import OpenAIChatModel
from src.infra.providers.openai_embedder import OpenAIEmbedder
from src.infra.secrets.held import Timing, VaultSecret
from src.infra.secrets.live import LiveSecret
from src.infra.secrets.references import Reference

WAY = {"provider": "openai", "api_base": "https://127.0.0.1:9", "max_retries": 0, "timeout_s": 0.2}


@pytest.mark.parametrize("section", ["chat", "embed"])
async def test_a_vault_that_hangs_longer_than_the_model_may_take_is_what_the_error_names(section: str) -> None:
    gate = threading.Event()

    def read(reference: Reference) -> str:
        gate.wait(10)
        return "canary-key"

    held = VaultSecret(Reference("vault", "openai-key"), read, lambda: Timing(300, 10), lambda r: r.place("rag"), lambda _: "https://rag.vault.azure.net")
    policy, key = NetworkPolicy(NetworkCfg()), LiveSecret(("", held))
    chat, embed = ChatCfg(model="m", api_key=key, **WAY), EmbedCfg(model="m", dims=3, api_key=key, **WAY)
    try:
        asked: Awaitable[object]
        if section == "chat":
            asked = OpenAIChatModel(lambda: make_chat_client(chat, network=policy), chat).generate("hi")
        else:
            asked = OpenAIEmbedder(lambda: make_embed_client(embed, network=policy), embed).embed(["hi"])
        with pytest.raises(DeadlineExceededError) as caught:
            await asked
    finally:
        gate.set()
    assert caught.value.hop == "https://rag.vault.azure.net"
    assert caught.value.setting == "secrets.timeout_s"
    assert "Azure Key Vault rag, secret openai-key" in caught.value.message
    assert f"{section}.timeout_s" in caught.value.hint
