"""The bank's profile on the wire: the second sample file of the documentation, its certificate, its proxy, and whom the user's SID reaches.

Only the names are not real: the resolver of this process knows the bank's proxy and its own hosts, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from src.errors import ConfigurationError
from src.infra.aws.signing import SigV4Signer
from src.infra.clients import make_search_session
from src.infra.config import Settings
from src.infra.opensearch_client import OpenSearchClient
from src.infra.resource_manager import ResourceManager
from src.infra.search.opensearch.wire.transport import Transport
from src.infra.settings import load_settings
from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator
from tests.emulators.certificates import issue
from tests.emulators.entra import CLIENT, TENANT, EntraEmulator
from tests.emulators.proxy import Proxy
from tests.samples import BANK
from tests.servers.sigv4 import Aws, Known

SID = "N123456"
LOGIN, PROXY = "login.microsoftonline.com", "proxy.jpmchase.net"
MODELS, SEARCH = "models.company.example", "search-rag.us-east-1.es.amazonaws.com"
BANK_MODELS, BANK_SEARCH = "rag.openai.azure.com", "opensearch.jpmchase.net"
AWS_KEY, AWS_SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@dataclass
class Bank:
    folder: Path
    entra: EntraEmulator
    openai: AzureOpenAIEmulator
    aws: Aws
    proxy: Proxy
    resolved: list[str] = field(default_factory=list)
    """Names that a connection of this process was made to."""

    def settings(self, more: str = "", endpoint: str = MODELS, sample: str = BANK, **overrides: str) -> Settings:
        """The sample file, with the `[azure]` keys of a certificate behind it."""
        text = f"{sample}[network]\nca_bundle = {self.folder / 'authorities.pem'}\n[cache]\npath = {self.folder / 'cache'}\n{more}"
        (self.folder / "rag.ini").write_text(text, encoding="utf-8")
        environ = {"JPMC_USER_SID": SID, "AZURE_OPENAI_ENDPOINT": f"https://{endpoint}", "AWS_REGION": "eu-west-1"}
        return load_settings(self.folder / "rag.ini", overrides={key.replace("__", "."): value for key, value in overrides.items()}, environ=environ)

    @property
    def certificate(self) -> str:
        return f"[azure]\ntenant_id = {TENANT}\nclient_id = {CLIENT}\ncertificate_path = {self.folder / 'identity.pem'}\n"

    async def use(self, settings: Settings) -> None:
        """Chat, embeddings, OpenSearch by its client and by a session."""
        async with ResourceManager(settings) as resources:
            assert (await resources.chat.generate("hello")).content
            assert [delta async for delta in resources.chat.stream("hello")]
            assert (await resources.embedder.embed(["one", "two"])).shape == (2, 1536)
            assert isinstance(resources.search, OpenSearchClient)
            transport = Transport(settings.search, resources.network, signer=SigV4Signer(settings.search, resources.network))
            await transport.perform("GET", "/")
            await transport.aclose()
            session = make_search_session(settings.search, network=resources.network)
            assert (await asyncio.to_thread(session.get, f"{settings.search.host}/")).ok

    @property
    def sids(self) -> list[str | None]:
        return [request.headers.get("user_sid") for request in self.openai.requests]


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    authority = trustme.CA()
    entra, openai = EntraEmulator(authority), AzureOpenAIEmulator(tmp_path, 1536, authority, names=(MODELS, BANK_MODELS))
    authority.issue_cert(LOGIN).configure_cert(entra._tls)
    aws = Aws(tmp_path, known={AWS_KEY: Known(AWS_SECRET)})
    authority.issue_cert(SEARCH, BANK_SEARCH).configure_cert(aws._tls)
    authority.cert_pem.write_to_path(tmp_path / "authorities.pem")
    openai.problem_of = entra.problem_of
    identity = issue("rag-server")
    identity.written(tmp_path / "identity.pem")
    entra.apps[CLIENT].certificates.append(identity.certificate)
    with ExitStack() as stack:
        for server in (entra, openai, aws):
            stack.enter_context(server.running())
        behind = {LOGIN: entra.port, MODELS: openai.port, SEARCH: aws.port}
        proxy = stack.enter_context(Proxy("", "", {f"{name}:443": port for name, port in behind.items()}).running())
        world = Bank(tmp_path, entra, openai, aws, proxy)
        _connect_only({(PROXY, 10443): proxy.port, (BANK_MODELS, 443): openai.port, (BANK_SEARCH, 443): aws.port}, world.resolved, monkeypatch)
        _aws_credentials(tmp_path, monkeypatch)
        yield world


def _connect_only(places: dict[tuple[str, int], int], resolved: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Names get addresses of TEST-NET-2 (RFC 5737), and connections to these go where the servers are; no other place can be reached."""
    names = {f"198.51.100.{number}": name for number, (name, _) in enumerate(places, 1)}
    addresses = {name: address for address, name in names.items()}
    real_lookup, real_connect = socket.getaddrinfo, socket.socket.connect

    def getaddrinfo(host: Any, port: Any, *more: Any, **keys: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in addresses:
            resolved.append(name)
        elif name not in (None, "127.0.0.1", "localhost", *names):
            raise socket.gaierror(socket.EAI_NONAME, f"{name}: Name or service not known")
        return real_lookup(addresses.get(name, name), port, *more, **keys)

    def connect(self: socket.socket, address: Any) -> None:
        if address[0] != "127.0.0.1":
            address = ("127.0.0.1", places[names[address[0]], address[1]])
        real_connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", connect)


def _aws_credentials(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "credentials").write_text(f"[default]\naws_access_key_id = {AWS_KEY}\naws_secret_access_key = {AWS_SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "no-config"))
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


async def test_everything_goes_through_the_banks_proxy_under_the_certificate_and_the_sid_reaches_the_models_alone(bank: Bank) -> None:
    await bank.use(bank.settings(bank.certificate, search__host=f"https://{SEARCH}"))
    assert set(bank.proxy.asked) == {f"{name}:443" for name in (LOGIN, MODELS, SEARCH)}
    assert set(bank.resolved) == {PROXY}, "no connection but to the proxy"
    assert bank.entra.token_requests == 1
    (assertion,) = bank.entra.assertions
    assert assertion[1]["iss"] == CLIENT, "the certificate proved who we are"
    assert bank.sids == [SID] * 3
    assert not any("api-key" in request.headers for request in bank.openai.requests)
    assert all(request.access_key == AWS_KEY and request.status == 200 for request in bank.aws.requests)
    assert len(bank.aws.requests) == 2
    elsewhere = [*bank.entra.sent, *(request.headers for request in bank.aws.requests), *(head.decode() for head in bank.proxy.heads)]
    assert not any(SID in str(headers) or "user_sid" in str(headers) for headers in elsewhere)


async def test_the_banks_own_hosts_and_azure_openai_go_round_the_proxy(bank: Bank) -> None:
    await bank.use(bank.settings(bank.certificate, endpoint=BANK_MODELS))
    assert bank.proxy.asked == [f"{LOGIN}:443"]
    assert set(bank.resolved) == {PROXY, BANK_MODELS, BANK_SEARCH}
    assert bank.sids == [SID] * 3


async def test_the_file_as_it_stands_names_the_certificate_with_the_first_identity_call(bank: Bank) -> None:
    settings = bank.settings()
    assert settings.features.upload
    async with ResourceManager(settings) as resources:
        for call in (resources.tokens.token(), resources.chat.generate("hello"), resources.embedder.embed(["one"])):
            with pytest.raises(ConfigurationError) as caught:
                await call
            assert caught.value.setting == "azure.certificate_path"
            assert "azure.allow_api_key_fallback" in caught.value.hint
        health = {component.name: component for component in (await resources.health.check_all()).components}
    assert "azure.certificate_path" in health["identity"].message
    assert health["identity"].required
    assert not bank.proxy.asked
    assert not bank.openai.requests


async def test_where_it_is_allowed_the_key_stands_in_and_log_answer_and_health_say_so(bank: Bank, caplog: pytest.LogCaptureFixture) -> None:
    settings = bank.settings("[azure]\nallow_api_key_fallback = true\n", sample=BANK.replace("your-api-key-here", KEY))
    with caplog.at_level(logging.WARNING):
        async with ResourceManager(settings) as resources:
            answer = await resources.chat.generate("hello")
            health = {component.name: component for component in (await resources.health.check_all()).components}
    assert answer.degraded == ("the API key stood in for the Azure identity (configuration)",)
    assert "the API key stands in for the Azure identity" in caplog.text
    assert (health["identity"].status, health["identity"].required) == ("unhealthy", False)
    assert {request.headers.get("api-key") for request in bank.openai.requests} == {KEY}
    assert set(bank.sids) == {SID}


def test_nothing_of_the_bank_stands_in_the_code_but_its_profiles_data_and_its_names() -> None:
    root = Path(__file__).parents[2] / "src"
    known = re.compile(r"\b(?:jpmc_user_sid|JPMC_USER_SID|jpmc_azure)\b")  # the key of the sample file, and the profile's name, which `rag config init` offers
    profiles = root / "infra" / "configuring" / "profiles.py"
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix in (".py", ".html", ".js", ".css", ".ini", ".txt", ".json") and path != profiles:
            left = known.sub("", path.read_text(encoding="utf-8"))
            found[path] = re.findall(r".*(?:jpm|user_sid\b).*", left, re.IGNORECASE)
    assert {str(path.relative_to(root)): lines for path, lines in found.items() if lines} == {}
