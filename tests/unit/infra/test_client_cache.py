"""The cache of clients: one of each, least recently used out first, nothing closed that somebody holds."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from src.infra.client_cache import CACHE_SIZE, ClientCache
from src.infra.client_sizes import clients_needed, fit_caches, shortfalls
from src.infra.clients import CACHES, make_chat_client
from src.infra.config import AzureCfg, AzureOpenAICfg, CacheCfg, ChatCfg, EmbedCfg, NetworkCfg, SearchCfg, Settings
from src.infra.network import NetworkPolicy

AZURE = ChatCfg(provider="azure", model="gpt-4", api_base="https://a.example", api_version="2024-06-01", api_key=SecretStr("k"))


class Client:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def gone() -> list[str]:
    return []


@pytest.fixture
def cache(gone: list[str]) -> ClientCache[Client]:
    def closer(client: Client) -> Callable[[], None]:
        name = client.name
        return lambda: gone.append(name)

    return ClientCache(closer)


def test_the_least_recently_used_leaves_and_closes_because_nobody_holds_it(cache: ClientCache[Client], gone: list[str]) -> None:
    for name in ("a", "b", "a", "c"):
        cache.get((name,), lambda name=name: Client(name))
    gc.collect()
    assert len(cache) == CACHE_SIZE == 2
    assert gone == ["b"]


def test_an_evicted_client_stays_open_while_somebody_holds_it(cache: ClientCache[Client], gone: list[str]) -> None:
    held = cache.get(("a",), lambda: Client("a"))
    for name in ("b", "c"):
        cache.get((name,), lambda name=name: Client(name))
    gc.collect()
    assert gone == []
    assert held.name == "a"
    del held
    gc.collect()
    assert gone == ["a"]


def test_releasing_closes_at_once_and_once_evicted_clients_too(cache: ClientCache[Client], gone: list[str]) -> None:
    held = [cache.get((name,), lambda name=name: Client(name)) for name in ("a", "b", "c")]
    assert all(cache.release(client) for client in held)
    assert not any(cache.release(client) for client in held)
    assert sorted(gone) == ["a", "b", "c"]
    held.clear()
    gc.collect()
    assert len(gone) == 3


def test_clearing_closes_what_is_cached_and_what_was_evicted(cache: ClientCache[Client], gone: list[str]) -> None:
    held = [cache.get((name,), lambda name=name: Client(name)) for name in ("a", "b", "c")]
    cache.clear()
    assert sorted(gone) == sorted(client.name for client in held)
    assert len(cache) == 0


def test_it_grows_and_shrinks(cache: ClientCache[Client], gone: list[str]) -> None:
    cache.resize(3)
    for name in ("a", "b", "c"):
        cache.get((name,), lambda name=name: Client(name))
    assert (len(cache), gone) == (3, [])
    cache.resize(1)
    gc.collect()
    assert (len(cache), gone) == (1, ["a", "b"])
    assert cache.get(("c",), lambda: Client("other")).name == "c"


def test_what_could_not_be_made_leaves_nothing_behind(cache: ClientCache[Client]) -> None:
    with pytest.raises(ZeroDivisionError):
        cache.get(("a",), lambda: Client(str(1 / 0)))
    assert len(cache) == 0
    assert cache.get(("a",), lambda: Client("a")).name == "a"


@given(st.integers(1, 4), st.lists(st.sampled_from("abcdef"), max_size=30))
def test_it_holds_the_last_ones_asked_for(size: int, asked: list[str]) -> None:
    cache: ClientCache[Client] = ClientCache(lambda _client: lambda: None, size)
    for name in asked:
        assert cache.get((name,), lambda name=name: Client(name)).name == name
    recent = list(dict.fromkeys(reversed(asked)))[:size]
    made: list[str] = []
    for name in recent:
        cache.get((name,), lambda name=name: made.append(name) or Client(name))  # type: ignore[func-returns-value] # `append` for its effect
    assert made == []


def test_concurrent_first_calls_build_one_client() -> None:
    policy = NetworkPolicy(NetworkCfg())
    start = threading.Barrier(32)

    def ask(_: int) -> object:
        start.wait()
        return make_chat_client(AZURE, network=policy)

    with ThreadPoolExecutor(32) as pool:
        assert len(set(map(id, pool.map(ask, range(32))))) == 1


def test_a_model_that_a_key_may_stand_in_for_needs_two_clients() -> None:
    identity = AzureCfg(tenant_id="t", client_id="c", client_secret=SecretStr("s"), allow_api_key_fallback=True)
    embed = EmbedCfg(provider="azure", model="ada", dims=8)
    settings = Settings(chat=AZURE, embed=embed, azure=identity, search=SearchCfg(host="https://s.example"))
    assert clients_needed(settings) == {"chat": 2, "embed": 2, "search": 1}
    assert clients_needed(settings.model_copy(update={"azure": AzureCfg()})) == {"chat": 1, "embed": 1, "search": 1}
    assert clients_needed(Settings()) == {"chat": 0, "embed": 0, "search": 0}
    assert clients_needed(Settings(azure_openai=AzureOpenAICfg(api_key=SecretStr("k")))) == {"chat": 0, "embed": 0, "search": 0}


def test_a_cache_that_is_smaller_than_what_is_configured_is_told() -> None:
    identity = AzureCfg(tenant_id="t", client_id="c", client_secret=SecretStr("s"), allow_api_key_fallback=True)
    settings = Settings(chat=AZURE, azure=identity, cache=CacheCfg(clients=1))
    (text,) = shortfalls(settings)
    assert text.startswith("[chat] needs 2 clients, and [cache] clients = 1 keeps 1")
    assert shortfalls(settings.model_copy(update={"cache": CacheCfg()})) == ()
    fit_caches(settings)
    assert {section: cache.size for section, cache in CACHES.items()} == {"chat": 1, "embed": 1, "search": 1}
    fit_caches(Settings())
    assert {section: cache.size for section, cache in CACHES.items()} == {"chat": 2, "embed": 2, "search": 2}
