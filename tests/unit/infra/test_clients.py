from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
from pydantic import SecretStr, ValidationError

from src.errors import ConfigurationError
from src.infra.clients import make_chat_client, make_embed_client, make_search_session, release_client
from src.infra.config import ChatCfg, EmbedCfg, NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy

KEY = SecretStr("key-1")
AZURE = ChatCfg(provider="azure", model="gpt-4", api_base="https://openai.company.com", api_version="2024-06-01")


def azure(**changes: object) -> ChatCfg:
    return AZURE.model_copy(update={"api_key": KEY, **changes})


def test_importing_the_factories_loads_no_client_library() -> None:
    code = "import sys, src.infra.clients; assert not {'openai', 'requests', 'numpy', 'httpx2', 'onnxruntime'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_azure_gives_the_azure_client_and_openai_the_other() -> None:
    assert type(make_chat_client(azure())) is openai.AsyncAzureOpenAI
    client = make_chat_client(ChatCfg(provider="openai", model="gpt-4o", api_key=KEY))
    assert type(client) is openai.AsyncOpenAI
    assert str(client.base_url) == "https://api.openai.com/v1/"
    embed = EmbedCfg(provider="azure", model="ada", dims=1536, api_base="https://a.example", api_version="2024-06-01", api_key=KEY)
    assert type(make_embed_client(embed)) is openai.AsyncAzureOpenAI


def test_the_retries_are_those_of_the_configuration() -> None:
    client = make_chat_client(azure(max_retries=0))
    assert isinstance(client, openai.AsyncAzureOpenAI)
    assert client.max_retries == 0


@pytest.mark.parametrize(
    ("cfg", "keys"),
    [
        (AZURE, ["azure_openai.api_key", "azure.certificate_path"]),
        (azure(api_base=None), ["chat.api_base"]),
        (azure(api_version=None), ["chat.api_version"]),
        (azure(api_base="openai.company.com"), ["chat.api_base"]),
        (ChatCfg(provider="openai", model="gpt-4o"), ["chat.api_key"]),
    ],
)
def test_what_is_missing_is_named(cfg: ChatCfg, keys: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_chat_client(cfg)
    assert all(key in caught.value.setting for key in keys)


def test_the_environment_never_stands_in_for_a_credential_or_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "https://from.the.environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-leak: yes\nAuthorization: Bearer leaked")
    with pytest.raises(ConfigurationError):
        make_chat_client(AZURE)
    with pytest.raises(ConfigurationError):
        make_chat_client(ChatCfg(provider="openai", model="gpt-4o"))
    client = make_chat_client(ChatCfg(provider="openai", model="gpt-4o", api_key=SecretStr("only-here")))
    assert isinstance(client, openai.AsyncOpenAI)
    assert str(client.base_url) == "https://api.openai.com/v1/"
    assert client.organization == ""
    assert not {"x-leak", "X-Leak"} & set(client.default_headers)
    assert "leaked" not in str(client.default_headers)


def test_a_token_provider_is_a_credential() -> None:
    assert isinstance(make_chat_client(AZURE, lambda: "token"), openai.AsyncAzureOpenAI)


def test_one_client_serves_all_that_share_a_connection() -> None:
    policy = NetworkPolicy(NetworkCfg())
    client = make_chat_client(azure(), network=policy)
    assert make_chat_client(azure(model="gpt-4o", temperature=1.0, max_output_tokens=5), network=policy) is client
    for change in ({"api_key": SecretStr("key-2")}, {"api_version": "2025-01-01"}, {"api_base": "https://b.example"}, {"timeout_s": 5.0}, {"max_retries": 1}):
        assert make_chat_client(azure(**change), network=policy) is not client
    for change in ({"user_header": "x-user"}, {"user_header": "x-user", "user": "U1"}):
        assert make_chat_client(azure(**change), network=policy) is not client
    assert make_chat_client(azure(deployment="prod"), network=policy) is make_chat_client(azure(), network=policy)
    assert make_chat_client(azure(), network=NetworkPolicy(NetworkCfg())) is not client


def test_a_released_client_is_made_anew_for_the_next_caller() -> None:
    client = make_chat_client(azure())
    release_client(client)
    assert make_chat_client(azure()) is not client


def test_local_gives_the_local_models_shared() -> None:
    embedder = make_embed_client(EmbedCfg())
    assert embedder is make_embed_client(EmbedCfg())
    assert embedder.dims == 384
    assert make_chat_client(ChatCfg()).extractive
    assert make_chat_client(ChatCfg()) is make_chat_client(ChatCfg())


async def test_a_local_model_that_somebody_closed_is_made_anew() -> None:
    cfg = EmbedCfg(threads=1)
    embedder = make_embed_client(cfg)
    await embedder.aclose()
    assert make_embed_client(cfg) is not embedder


def test_no_repr_shows_a_key() -> None:
    client = make_chat_client(azure(api_key=SecretStr("hunter2-key")))
    assert "hunter2" not in repr(client)


def test_a_session_that_signs_for_aws_asks_for_nothing_before_its_first_request() -> None:
    cfg = SearchCfg(host="https://a.example", use_aws_auth=True)
    session = make_search_session(cfg)
    assert session is make_search_session(cfg)
    for change in ({"aws_region": "eu-west-1"}, {"aws_service": "aoss"}, {"aws_profile": "p"}, {"aws_role_arn": "arn:aws:iam::1:role/r"}):
        assert make_search_session(cfg.model_copy(update=change)) is not session


def test_pool_and_timeouts_of_a_session_are_the_configured_ones() -> None:
    session = make_search_session(SearchCfg(host="https://a.example", pool_size=7, connect_timeout_s=1.5, timeout_s=30))
    adapter = session.get_adapter("https://a.example")
    assert adapter.poolmanager.connection_pool_kw["maxsize"] == 7
    assert adapter._timeouts == (1.5, 30)


def test_a_password_without_a_user_is_an_error() -> None:
    with pytest.raises(ValidationError, match="username"):
        make_search_session(SearchCfg(host="https://a.example", password=SecretStr("p")))


def test_a_user_without_a_password_builds_and_warns(caplog: pytest.LogCaptureFixture) -> None:
    assert make_search_session(SearchCfg(host="https://b.example", username="u")).auth
    assert "no password" in caplog.text


def test_search_sessions_are_shared_and_read_no_environment() -> None:
    cfg = SearchCfg(host="https://a.example", username="u", password=SecretStr("p"))
    session = make_search_session(cfg)
    assert session is make_search_session(cfg)
    assert not session.trust_env
    assert session is not make_search_session(cfg.model_copy(update={"username": "v"}))


@dataclass
class Provider:
    """Equal by its values, and so without a hash."""

    name: str

    def __call__(self) -> str:
        return "token"


def test_a_token_provider_without_a_hash_has_a_client_of_its_own() -> None:
    with pytest.raises(TypeError):
        hash(Provider("a"))
    one, other = Provider("a"), Provider("a")
    client = make_chat_client(AZURE, one)
    assert make_chat_client(AZURE, one) is client
    assert make_chat_client(AZURE, other) is not client


def test_the_same_provider_gives_the_same_client_and_a_new_one_another() -> None:
    provider = Provider("a")
    method = provider.__call__
    assert make_chat_client(AZURE, method) is make_chat_client(AZURE, provider.__call__)
    assert make_chat_client(AZURE, lambda: "token") is not make_chat_client(AZURE, lambda: "token")
