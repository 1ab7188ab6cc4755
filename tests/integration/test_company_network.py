"""The emulated company: what each way to break it leads to, and a proxy that breaks TLS open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from src.errors import RagError, TlsError
from src.infra.resource_manager import ResourceManager
from src.infra.settings import load_settings
from tests.conftest import skip_or_fail
from tests.emulators.breaks import BREAKS
from tests.emulators.company import GATEWAY, LOGIN, OPENAI, Company
from tests.emulators.interceptor import Interceptor, UnavailableHereError, package_folder

TUNNELS = {f"{name}:443" for name in (LOGIN, OPENAI, GATEWAY)}
ONCE = {"chat.max_retries": 0, "embed.max_retries": 0}


@asynccontextmanager
async def product(path: Path, **overrides: Any) -> AsyncIterator[ResourceManager]:
    own = {"storage.path": path.parent / "data", "cache.path": path.parent / "cache"}
    async with ResourceManager(load_settings(path, ONCE | own | overrides)) as made:
        yield made


async def talk(made: ResourceManager) -> str:
    vectors = await made.embedder.embed(["annual leave"])
    assert vectors.shape == (1, 1536)
    return "".join([delta.text async for delta in made.chat.stream("How many days?")])


@pytest.mark.parametrize("way", BREAKS)
async def test_each_way_to_break_it_ends_in_the_error_that_it_announces(way: str, tmp_path: Path) -> None:
    with Company(tmp_path, way).running():
        async with product(tmp_path / "config.ini", **{"chat.timeout_s": 2 if way == "slow" else 30}) as made:
            with pytest.raises(RagError) as caught:
                await talk(made)
    assert (caught.value.code, caught.value.setting) == (BREAKS[way].code, BREAKS[way].setting)


async def test_unbroken_everything_goes_through_the_proxy(tmp_path: Path) -> None:
    with Company(tmp_path).running() as company:
        async with product(tmp_path / "config.ini") as made:
            assert await talk(made)
        assert set(company.proxy.asked) == TUNNELS
        assert (company.proxy.refused, company.direct) == (0, 0)
        assert company.gateway.clients


@pytest.fixture(scope="module")
def intercepted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Company, Interceptor, Path]]:
    """The company behind mitmproxy, and the configuration that leads through it, with the servers' authority alone."""
    try:
        package_folder()
    except UnavailableHereError as error:
        skip_or_fail(str(error))
    folder = tmp_path_factory.mktemp("intercepted")
    with Company(folder).running() as company, Interceptor(company).running() as interceptor:
        config = folder / "intercepted.ini"
        config.write_text(company.config(f"http://127.0.0.1:{interceptor.port}"), encoding="utf-8")
        yield company, interceptor, config


async def test_a_proxy_that_breaks_tls_open_is_not_trusted_without_its_authority(intercepted: tuple[Company, Interceptor, Path]) -> None:
    company, _, config = intercepted
    async with product(config) as made:
        with pytest.raises(TlsError) as token:
            await talk(made)
    # A key instead of the identity: the model's own hop says the same.
    async with product(config, **{"chat.provider": "openai", "chat.api_key": "k"}) as made:
        with pytest.raises(TlsError) as chat:
            await made.chat.generate("How many days?")
    assert (token.value.setting, token.value.hop) == ("network.ca_bundle", f"https://{LOGIN}")
    assert (chat.value.setting, chat.value.hop) == ("network.ca_bundle", f"https://{OPENAI}")
    assert not company.entra.token_requests


async def test_with_its_authority_in_the_bundle_it_is_a_proxy_like_any_other(intercepted: tuple[Company, Interceptor, Path]) -> None:
    company, interceptor, config = intercepted
    async with product(config, **{"network.ca_bundle": interceptor.ca_file}) as made:
        assert await talk(made)
    assert set(company.proxy.asked) == TUNNELS
    assert company.direct == 0
