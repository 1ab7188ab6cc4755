"""The emulated company: what each way to break it leads to, and a proxy that breaks TLS open."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from src.errors import RagError, TlsError
from src.infra.resource_manager import ResourceManager
from src.infra.settings import load_settings
from tests.conftest import skip_or_fail
from tests.emulators.__main__ import alone, counts
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


def test_emulators_that_run_keep_their_certificates_when_others_are_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, alone(tmp_path / "a"):
        (tmp_path / "a" / "ca.pem").write_text("theirs")
        for folder, port, words in (("a", 0, "running in"), ("b", taken.getsockname()[1], "is not free")):
            done = subprocess.run(
                [sys.executable, "-m", "tests.emulators", "--folder", str(tmp_path / folder), "--port", str(port)],
                check=False,
                cwd=Path(__file__).resolve().parents[2],
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert (done.returncode, words in done.stderr) == (1, True), done.stderr
        assert (tmp_path / "a" / "ca.pem").read_text() == "theirs"
        assert [path.name for path in (tmp_path / "b").iterdir()] == [".lock"]
    with alone(tmp_path / "a"):
        pass


def test_what_the_proxy_refuses_is_no_tunnel(tmp_path: Path) -> None:
    with Company(tmp_path, "proxy-forbids").running() as company, socket.create_connection(("127.0.0.1", company.open_proxy.port)) as way:
        way.sendall(b"CONNECT nobody.test:443 HTTP/1.1\r\n\r\n")
        assert b"502" in way.recv(100)
        assert counts(company).startswith("Tunnels: none. Refused by the proxy: 1.")
