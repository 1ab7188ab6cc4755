from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from pydantic import SecretStr

from src.errors import ServiceUnavailableError
from src.infra.clients import make_chat_client, make_search_session
from src.infra.config import ChatCfg, NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.providers.openai_chat import OpenAIChatModel
from tests.emulators.azure_openai import AzureOpenAIEmulator
from tests.emulators.proxy import Proxy

HOST = "openai.company.test"


@pytest.fixture
def proxy(azure: AzureOpenAIEmulator) -> Iterator[Proxy]:
    with Proxy("user", "p@ss", {f"{HOST}:{azure.port}": azure.port}).running() as found:
        yield found


def network(azure: AzureOpenAIEmulator, proxy: Proxy, credentials: str = "user:p%40ss@", no_proxy: tuple[str, ...] = ("localhost",)) -> NetworkPolicy:
    return NetworkPolicy(NetworkCfg(ca_bundle=azure.ca_file, proxy=SecretStr(f"http://{credentials}127.0.0.1:{proxy.port}"), no_proxy=no_proxy))


def chat(cfg: ChatCfg, policy: NetworkPolicy, base: str) -> OpenAIChatModel:
    cfg = cfg.model_copy(update={"api_base": base})
    return OpenAIChatModel(lambda: make_chat_client(cfg, network=policy), cfg)


async def test_chat_goes_through_the_proxy_with_its_credentials(azure: AzureOpenAIEmulator, proxy: Proxy, chat_cfg: ChatCfg) -> None:
    model = chat(chat_cfg, network(azure, proxy), f"https://{HOST}:{azure.port}")
    assert (await model.generate("hello")).content
    assert proxy.asked == [f"{HOST}:{azure.port}"]
    assert proxy.refused == 0
    assert "proxy-authorization" not in azure.requests[0].headers
    await model.aclose()


async def test_chat_goes_round_the_proxy_where_no_proxy_says_so(azure: AzureOpenAIEmulator, proxy: Proxy, chat_cfg: ChatCfg) -> None:
    model = chat(chat_cfg, network(azure, proxy), azure.url)
    assert (await model.generate("hello")).content
    assert proxy.asked == []
    await model.aclose()


async def test_a_proxy_that_refuses_is_named(azure: AzureOpenAIEmulator, proxy: Proxy, chat_cfg: ChatCfg) -> None:
    model = chat(chat_cfg, network(azure, proxy, "user:wrong-word@"), f"https://{HOST}:{azure.port}")
    with pytest.raises(ServiceUnavailableError) as caught:
        await model.generate("hello")
    assert caught.value.setting == "network.proxy_username"
    assert "wrong-word" not in str(caught.value)
    await model.aclose()


def search(azure: AzureOpenAIEmulator) -> SearchCfg:
    return SearchCfg(host=azure.url, bearer_token=SecretStr("test-token-abc"))


BODY = {"model": "gpt-4", "messages": []}


def test_a_search_session_trusts_the_policys_authorities_and_no_others(
    azure: AzureOpenAIEmulator, policy: NetworkPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    session = make_search_session(search(azure), network=policy)
    expected = len(policy.ssl_context.get_ca_certs())
    for _ in range(2):
        assert session.post(f"{azure.url}/v1/chat/completions", json=BODY).ok
    context = session.get_adapter(azure.url)._context
    assert len(context.get_ca_certs()) == expected, "requests added certifi's"
    assert context.check_hostname
    assert azure.requests[0].headers["authorization"] == "Bearer test-token-abc"
    assert azure.connections == 1
    with pytest.raises(requests.exceptions.SSLError):
        make_search_session(search(azure), network=NetworkPolicy(NetworkCfg())).get(azure.url)


def test_a_search_session_cannot_switch_verification_off(azure: AzureOpenAIEmulator, policy: NetworkPolicy) -> None:
    session = make_search_session(search(azure), network=policy)
    with pytest.raises(Exception, match="never off"):
        session.get(azure.url, verify=False)


def test_a_search_session_uses_the_proxy_host_by_host(azure: AzureOpenAIEmulator, proxy: Proxy) -> None:
    session = make_search_session(search(azure), network=network(azure, proxy))
    assert session.post(f"{azure.url}/v1/chat/completions", json=BODY).ok
    assert proxy.asked == []
    assert session.post(f"https://{HOST}:{azure.port}/v1/chat/completions", json=BODY).ok
    assert proxy.asked == [f"{HOST}:{azure.port}"]
    assert "proxy-authorization" not in azure.requests[1].headers


def test_a_refusing_proxy_shows_no_credentials(azure: AzureOpenAIEmulator, proxy: Proxy) -> None:
    session = make_search_session(search(azure), network=network(azure, proxy, "user:wrong-word@"))
    with pytest.raises(requests.exceptions.ProxyError) as caught:
        session.get(f"https://{HOST}:{azure.port}/")
    assert "wrong-word" not in str(caught.value)


def test_a_search_session_has_a_timeout_of_its_own(azure: AzureOpenAIEmulator, policy: NetworkPolicy) -> None:
    from tests.emulators.azure_openai import Reply

    azure.script.append(Reply(delay_s=30))
    session = make_search_session(search(azure).model_copy(update={"timeout_s": 0.3}), network=policy)
    with pytest.raises(requests.exceptions.ReadTimeout):
        session.post(f"{azure.url}/v1/chat/completions", json=BODY)
