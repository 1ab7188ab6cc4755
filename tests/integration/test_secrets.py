"""Secrets that change, and vaults over real TLS: a Key Vault that verifies tokens of an Entra ID, a Secrets Manager that verifies signatures."""

from __future__ import annotations

import asyncio
import base64
import builtins
import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from src.errors import (
    ConfigurationError,
    ForeignServiceError,
    IdentityError,
    MissingExtraError,
    RagError,
    ServiceCredentialsError,
    ServiceUnavailableError,
    TlsError,
    UnreachableError,
)
from src.infra.clients import make_search_session
from src.infra.config import Settings
from src.infra.network import NetworkPolicy
from src.infra.resource_manager import ResourceManager
from src.infra.search.opensearch.wire.transport import Transport
from src.infra.secrets.live import LiveSecret, current
from src.infra.settings import load_settings, source_of
from tests.emulators.azure_openai import AzureOpenAIEmulator
from tests.emulators.entra import CLIENT, TENANT, EntraEmulator
from tests.emulators.key_vault import HOST, KeyVaultEmulator, VaultReply
from tests.emulators.proxy import Proxy
from tests.servers.sigv4 import REGION, ROLE, Aws, Known

OLD, NEW = "canary-old-6f1c", "canary-new-90ab"


@dataclass
class Company:
    """An authority, a vault and a model service behind one proxy, all under one certificate authority."""

    folder: Path
    entra: EntraEmulator
    vault: KeyVaultEmulator
    openai: AzureOpenAIEmulator
    proxy: Proxy

    def text(self, secrets: str = "", network: str = "") -> str:
        return f"""
[chat]
provider = azure
model = gpt-4
api_base = https://openai.company.test
api_version = 2024-06-01
api_key = ${{vault:openai-key}}
max_retries = 0
[azure]
tenant_id = {TENANT}
client_id = {CLIENT}
client_secret = client-secret
authority_host = https://login.company.test
[network]
proxy = http://127.0.0.1:{self.proxy.port}
ca_bundle = {self.folder / "ca.pem"}
{network}
[secrets]
vault = {self.vault.url}
{secrets}
[storage]
path = {self.folder / "data"}
"""

    def settings(self, text: str | None = None) -> Settings:
        file = self.folder / "rag.ini"
        file.write_text(self.text() if text is None else text)
        return load_settings(file, environ={})


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    from azure.keyvault.secrets._shared import http_challenge_cache

    http_challenge_cache.clear()  # of the process, by host: an earlier test's would spare this one the first 401
    ca = trustme.CA()
    entra, openai = EntraEmulator(ca), AzureOpenAIEmulator(tmp_path, ca=ca)
    entra.apps[CLIENT].secrets.add("client-secret")
    vault = KeyVaultEmulator(ca, entra.problem_of, lambda: f"https://login.company.test/{TENANT}")
    vault.secrets["openai-key"] = OLD
    openai.credentials = {OLD}
    with entra.running(), vault.running(), openai.running():
        hosts = {"login.company.test:443": entra.port, f"{HOST}:443": vault.port, "openai.company.test:443": openai.port}
        with Proxy("", "", hosts).running() as proxy:
            yield Company(tmp_path, entra, vault, openai, proxy)


async def test_a_key_of_the_vault_is_read_when_it_is_first_used_and_only_then(company: Company) -> None:
    settings = company.settings(company.text().replace("client_secret = client-secret", "client_secret = client-secret\nallow_api_key_fallback = true"))
    assert company.proxy.asked == []
    assert company.vault.connections == 0
    assert isinstance(settings.chat.api_key, LiveSecret)
    assert bool(settings.chat.api_key)
    assert company.proxy.asked == []
    assert await current(settings.chat.api_key) == OLD
    assert company.vault.challenges == 1, "the vault said where its tokens come from"
    assert company.vault.reads == ["openai-key"]
    assert company.entra.token_requests == 1


def chat_by_key(settings: Settings) -> Any:
    """The model under the key alone: the identity is the vault's."""
    from src.infra.clients import make_chat_client
    from src.infra.providers.openai_chat import OpenAIChatModel

    policy = NetworkPolicy(settings.network)
    return OpenAIChatModel(lambda: make_chat_client(settings.chat, network=policy), settings.chat)


async def test_the_end_of_line_that_a_vault_kept_of_a_file_is_no_part_of_the_secret(company: Company) -> None:
    """As of secret files; ``az keyvault secret set --file`` keeps it."""
    company.vault.secrets["openai-key"] = f"{OLD}\n"
    settings = company.settings()
    assert settings.chat.api_key is not None
    assert await current(settings.chat.api_key) == OLD
    assert (await chat_by_key(settings).generate("hello")).content


async def test_one_reading_however_many_ask(company: Company) -> None:
    key = company.settings().chat.api_key
    assert key is not None
    with ThreadPoolExecutor(20) as pool:
        threads = [pool.submit(key.get_secret_value) for _ in range(20)]
        tasks = await asyncio.gather(*(current(key) for _ in range(100)))
    assert {*tasks, *(thread.result() for thread in threads)} == {OLD}
    assert company.vault.reads == ["openai-key"]


async def test_a_key_that_was_exchanged_is_read_at_once_after_a_401_and_the_call_succeeds(company: Company) -> None:
    model = chat_by_key(company.settings())
    assert (await model.generate("hello")).content
    company.vault.secrets["openai-key"], company.openai.credentials = NEW, {NEW}
    assert (await model.generate("hello")).content
    assert company.vault.reads == ["openai-key"] * 2
    assert [request.headers["api-key"] for request in company.openai.requests] == [OLD, OLD, NEW]
    await asyncio.gather(*(model.generate("hello") for _ in range(10)))
    assert company.vault.reads == ["openai-key"] * 2


async def test_a_key_that_is_wrong_for_good_does_not_make_the_vault_busy(company: Company) -> None:
    company.openai.credentials = {"another"}
    model = chat_by_key(company.settings())
    for _ in range(5):
        with pytest.raises(RagError, match="401"):
            await model.generate("hello")
    assert company.vault.reads == ["openai-key"] * 2


async def test_an_outage_keeps_the_last_value_is_logged_and_degrades_health(company: Company, caplog: pytest.LogCaptureFixture) -> None:
    settings = company.settings(company.text("ttl_s = 0.001"))
    assert settings.chat.api_key is not None
    assert await current(settings.chat.api_key) == OLD
    company.vault.script.extend([VaultReply(503, {"error": {"message": f"{OLD} is down"}})] * 3)
    async with ResourceManager(settings, overrides={"search": _Fine(), "embedder": _Fine(), "tokens": None}) as resources:
        await asyncio.sleep(0.01)  # over the time to live
        assert settings.chat.api_key.get_secret_value() == OLD, "the old value, at once"
        held = settings.chat.api_key.held[0]
        await _until(lambda: held.error is not None)
        health = await resources.health.check_all()
        found = next(component for component in health.components if component.name == "secrets")
        assert found.status == "unhealthy"
        assert not found.required
        assert health.ready
        assert HOST in found.message
        assert "secrets.vault" in found.message
        assert OLD not in found.message
    assert any("could not be read again" in record.message for record in caplog.records)
    assert OLD not in caplog.text


async def _until(done: Any) -> None:
    async with asyncio.timeout(30):
        while not done():
            await asyncio.sleep(0.01)


class _Fine:
    async def ping(self) -> None: ...

    async def embed(self, texts: object) -> None: ...


@pytest.mark.parametrize(
    ("change", "error", "setting", "hop"),
    [
        (lambda c: c.vault.secrets.clear(), ConfigurationError, "secrets.vault", HOST),
        (lambda c: c.vault.forbidden.add("openai-key"), ServiceCredentialsError, "azure.client_id", HOST),
        (lambda c: c.vault.disabled.add("openai-key"), ServiceCredentialsError, "azure.client_id", HOST),
        (lambda c: c.entra.apps[CLIENT].secrets.clear(), IdentityError, "azure.client_secret", "login.company.test"),
        (lambda c: c.vault.script.extend([VaultReply(500, {"value": OLD})] * 3), ServiceUnavailableError, "secrets.vault", HOST),
        (lambda c: c.proxy._hosts.pop(f"{HOST}:443"), UnreachableError, "network.proxy", HOST),
        (lambda c: setattr(c.vault, "resource", "https://vault.elsewhere.test"), ForeignServiceError, "secrets.vault", HOST),
        (lambda c: c.vault.script.append(VaultReply(302, None, {"location": "https://elsewhere.test/"})), ConfigurationError, "secrets.vault", HOST),
    ],
)
async def test_what_keeps_the_first_value_away_is_told_with_hop_and_setting(
    company: Company, change: Any, error: type[RagError], setting: str, hop: str
) -> None:
    change(company)
    key = company.settings().chat.api_key
    assert key is not None
    with pytest.raises(error) as caught:
        await current(key)
    assert hop in caught.value.hop, str(caught.value)
    assert setting == caught.value.setting
    assert OLD not in str(caught.value)
    with pytest.raises(error):
        key.get_secret_value()


async def test_a_vault_under_another_authority_is_not_trusted(company: Company) -> None:
    other = trustme.CA()
    other.cert_pem.write_to_path(company.folder / "ca.pem")
    key = company.settings().chat.api_key
    assert key is not None
    with pytest.raises(TlsError) as caught:
        await current(key)
    assert caught.value.setting == "network.ca_bundle"
    assert HOST in caught.value.hop


def test_without_an_identity_the_vault_cannot_be_asked(company: Company) -> None:
    text = company.text()
    start, end = text.index("[azure]"), text.index("[network]")
    key = company.settings(text[:start] + text[end:]).chat.api_key
    assert key is not None
    with pytest.raises(ConfigurationError, match=r"needs an identity.*azure.credential"):
        key.get_secret_value()


@pytest.mark.parametrize(("reference", "extra"), [("${vault:openai-key}", "azure"), ("${aws:prod/rag#key}", "aws")])
def test_a_missing_extra_is_named(company: Company, monkeypatch: pytest.MonkeyPatch, reference: str, extra: str) -> None:
    import importlib.util

    real, find = builtins.__import__, importlib.util.find_spec

    def importing(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith(("botocore", "azure.keyvault")):
            raise ModuleNotFoundError(name)
        return real(name, *args, **more)

    for name in [name for name in sys.modules if name.startswith(("botocore", "azure.keyvault"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", importing)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name.startswith("azure.keyvault") else find(name, *more))
    key = company.settings(company.text("aws_region = eu-west-1").replace("${vault:openai-key}", reference)).chat.api_key
    assert key is not None
    with pytest.raises(MissingExtraError, match=rf"founders-rag\[{extra}\]"):
        key.get_secret_value()


class TestAws:
    @pytest.fixture
    def aws(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
        for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {
            "AWS_CONFIG_FILE": str(tmp_path / "aws-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws-credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "aws-secret",
            "HTTPS_PROXY": "http://127.0.0.1:9",
        }.items():
            monkeypatch.setenv(name, value)
        secrets = {"prod/rag": json.dumps({"key": OLD, "port": 5432, "list": []}), "numbers": '{"pin": 1e5, "rate": 1.10}', "plain": OLD}
        with Aws(tmp_path, known={"AKIDEXAMPLE": Known("aws-secret")}, secrets=secrets).running() as found:
            yield found

    def settings(self, aws: Aws, reference: str = "${aws:prod/rag#key}", more: str = "") -> Settings:
        file = aws.folder / "rag.ini"
        file.write_text(
            f"[chat]\nprovider = openai\napi_key = {reference}\n[network]\nca_bundle = {aws.ca_file}\n"
            f"[secrets]\naws_region = {REGION}\naws_endpoint = {aws.url}\n{more}\n"
        )
        return load_settings(file, environ={})

    @pytest.mark.parametrize(
        ("reference", "value"),
        [("${aws:prod/rag#key}", OLD), ("${aws:plain}", OLD), ("${aws:prod/rag#port}", "5432"), ("${aws:numbers#pin}", "1e5"), ("${aws:numbers#rate}", "1.10")],
    )
    async def test_a_secret_or_a_key_of_it_is_read_with_a_signature_that_is_good(self, aws: Aws, reference: str, value: str) -> None:
        key = self.settings(aws, reference).chat.api_key
        assert aws.connections == 0
        assert await current(key) == value  # type: ignore[arg-type] # it is configured
        (wire,) = aws.reads
        assert wire.refusal == ""
        assert wire.access_key == "AKIDEXAMPLE"

    @pytest.mark.parametrize(
        ("change", "reference", "error", "setting", "said"),
        [
            (lambda a: None, "${aws:prod/rag#nothing}", ConfigurationError, "secrets.aws_region", "has no key nothing"),
            (lambda a: None, "${aws:prod/rag#list}", ConfigurationError, "secrets.aws_region", "has no key list"),
            (lambda a: None, "${aws:plain#key}", ConfigurationError, "secrets.aws_region", "no JSON object"),
            (lambda a: None, "${aws:other}", ConfigurationError, "secrets.aws_region", "is not there"),
            (lambda a: a.forbidden.add("prod/rag"), "${aws:prod/rag#key}", ServiceCredentialsError, "secrets.aws_profile", "may not read"),
            (lambda a: a.known.clear(), "${aws:prod/rag#key}", ServiceCredentialsError, "secrets.aws_profile", "does not accept"),
        ],
    )
    async def test_what_keeps_the_first_value_away_is_told_with_hop_and_setting(
        self, aws: Aws, change: Any, reference: str, error: type[RagError], setting: str, said: str
    ) -> None:
        change(aws)
        with pytest.raises(error, match=said) as caught:
            await current(self.settings(aws, reference).chat.api_key)  # type: ignore[arg-type] # it is configured
        assert caught.value.setting == setting
        assert caught.value.hop
        assert OLD not in str(caught.value)

    async def test_a_role_is_assumed_and_credentials_that_ended_early_are_renewed(self, aws: Aws) -> None:
        (aws.folder / "aws-config").write_text(f"[default]\nregion = {REGION}\nendpoint_url = {aws.url}\n")
        key = self.settings(aws, more=f"aws_role_arn = {ROLE}").chat.api_key
        assert isinstance(key, LiveSecret)
        assert await current(key) == OLD
        assert aws.reads[0].access_key.startswith("ASIAISSUED")
        aws.expire_issued()
        aws.secrets["prod/rag"] = json.dumps({"key": NEW})
        assert await key.renewed(OLD)
        assert await current(key) == NEW
        assert len(aws.sts) == 2

    def test_credentials_that_are_lacking_are_told_as_those_of_secrets(self, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(ConfigurationError) as caught:
            self.settings(aws).chat.api_key.get_secret_value()  # type: ignore[union-attr] # it is configured
        assert caught.value.setting == "secrets.aws_profile"

    async def test_an_endpoint_where_nobody_listens_is_named(self, aws: Aws) -> None:
        key = self.settings(aws, more="timeout_s = 4").chat.api_key
        text = (aws.folder / "rag.ini").read_text().replace(aws.url, "https://127.0.0.1:9")
        (aws.folder / "rag.ini").write_text(text)
        key = load_settings(aws.folder / "rag.ini", environ={}).chat.api_key
        with pytest.raises(UnreachableError) as caught:
            await current(key)  # type: ignore[arg-type] # it is configured
        assert caught.value.setting == "secrets.aws_endpoint"
        assert caught.value.hop == "https://127.0.0.1:9"


@contextmanager
def kubernetes(folder: Path, **secrets: str) -> Iterator[Any]:
    """A mounted secret: the files are links into ``..data``, itself a link that is swapped in one step."""
    folder.mkdir()
    number = 0

    def write(**values: str) -> None:
        nonlocal number
        number += 1
        version = folder / f"..version-{number}"
        version.mkdir()
        for name, value in values.items():
            (version / name).write_text(value)
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(f"..data/{name}")
        (folder / "..data_tmp").symlink_to(version.name)
        (folder / "..data_tmp").replace(folder / "..data")

    write(**secrets)
    yield write


class TestFiles:
    async def test_an_api_key_that_kubernetes_swaps_is_used_without_a_restart(self, company: Company) -> None:
        with kubernetes(company.folder / "mounted", chat__api_key=OLD) as swap:
            file = company.folder / "rag.ini"
            file.write_text(company.text())
            settings = load_settings(file, environ={}, secrets_dir=company.folder / "mounted")
            model = chat_by_key(settings)
            await model.generate("hello")
            swap(chat__api_key=NEW)
            company.openai.credentials = {NEW}
            await model.generate("hello")
        assert [request.headers["api-key"] for request in company.openai.requests] == [OLD, NEW]
        assert company.vault.connections == 0, "the secret file beats the configuration's file"

    async def test_a_client_secret_that_was_exchanged_gives_the_next_token(self, company: Company) -> None:
        from src.infra.azure_auth import make_token_provider

        company.entra.apps[CLIENT].secrets = {OLD}
        text = company.text().replace("client_secret = client-secret", "")
        with kubernetes(company.folder / "mounted", azure__client_secret=OLD) as swap:
            (company.folder / "rag.ini").write_text(text)
            settings = load_settings(company.folder / "rag.ini", environ={}, secrets_dir=company.folder / "mounted")
            tokens = make_token_provider(settings.azure, NetworkPolicy(settings.network))
            assert tokens is not None
            first = await tokens.token()
            swap(azure__client_secret=NEW)
            company.entra.apps[CLIENT].secrets = {NEW}
            tokens.invalidate(first)
            assert await tokens.token() != first

    @pytest.mark.parametrize("kind", ["password", "bearer_token"])
    async def test_opensearch_gets_the_new_one_from_engine_and_session(self, tmp_path: Path, kind: str) -> None:
        user = "username = u\n" if kind == "password" else ""
        (tmp_path / "rag.ini").write_text(f"[search]\nhost = http://127.0.0.1:0\nmax_retries = 0\n{user}")
        with kubernetes(tmp_path / "mounted", **{f"search__{kind}": OLD}) as swap, _Search(kind).running() as server:
            settings = load_settings(tmp_path / "rag.ini", {"search.host": server.url}, environ={}, secrets_dir=tmp_path / "mounted")
            policy = NetworkPolicy(settings.network)
            transport, session = Transport(settings.search, policy), make_search_session(settings.search, network=policy)
            for value in (OLD, NEW):
                swap(**{f"search__{kind}": value})
                server.good = value
                assert (await transport.perform("GET", "/_search"))["ok"]
                assert session.get(f"{server.url}/_search").status_code == 200
            assert server.refused == 0
            await transport.aclose()

    async def test_a_proxy_password_that_changed_counts_for_the_next_connection(self, company: Company) -> None:
        company.proxy._expected = b"basic " + base64.b64encode(f"u:{OLD}".encode())
        with kubernetes(company.folder / "mounted", network__proxy_password=OLD, chat__api_key="key") as swap:
            file = company.folder / "rag.ini"
            file.write_text(company.text(network="proxy_username = u"))
            settings = load_settings(file, environ={}, secrets_dir=company.folder / "mounted")
            company.openai.credentials = {"key"}
            model = chat_by_key(settings)
            session = make_search_session(settings.search.model_copy(update={"host": "https://openai.company.test"}), network=NetworkPolicy(settings.network))
            await model.generate("hello")
            assert session.get("https://openai.company.test/").status_code == 401
            swap(network__proxy_password=NEW, chat__api_key="key")
            company.proxy._expected = b"basic " + base64.b64encode(f"u:{NEW}".encode())
            before = len(company.proxy.asked)
            await asyncio.gather(*(model.generate("hello") for _ in range(3)))
            with ThreadPoolExecutor(3) as pool:
                answers = list(pool.map(session.get, ["https://openai.company.test/"] * 3))
            assert {answer.status_code for answer in answers} == {401}
            assert len(company.proxy.asked) > before + 2, "further connections were made, with the new password"
        assert company.proxy.refused == 0

    async def test_vault_and_aws_password_of_opensearch_is_read_again_after_a_401(self, company: Company) -> None:
        company.vault.secrets["os"] = OLD
        with _Search("password").running() as server:
            text = company.text(network="no_proxy = 127.0.0.1") + f"[search]\nhost = {server.url}\nusername = u\npassword = ${{vault:os}}\nmax_retries = 0\n"
            settings = company.settings(text)
            transport = Transport(settings.search, NetworkPolicy(settings.network))
            session = make_search_session(settings.search, network=NetworkPolicy(settings.network))
            server.good = OLD
            assert (await transport.perform("GET", "/_search"))["ok"]
            server.good = company.vault.secrets["os"] = NEW
            assert (await transport.perform("GET", "/_search"))["ok"]
            assert server.refused == 1
            assert (await asyncio.to_thread(session.get, f"{server.url}/_search")).status_code == 200
            assert company.vault.reads == ["os", "os"]
            await transport.aclose()

    async def test_the_token_of_the_api_is_the_one_of_now(self, tmp_path: Path) -> None:
        from starlette.requests import HTTPConnection

        from src.api.auth import make_authenticator
        from src.errors import AuthenticationError

        (tmp_path / "rag.ini").write_text("[api]\nauth = tokens\n")
        with kubernetes(tmp_path / "mounted", api__token=OLD) as swap:
            authenticator = make_authenticator(load_settings(tmp_path / "rag.ini", environ={}, secrets_dir=tmp_path / "mounted"))

            async def enter(token: str) -> str:
                return (await authenticator.identify(HTTPConnection({"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())]}))).user

            assert await enter(OLD) == "api"
            swap(api__token=NEW)
            assert await enter(NEW) == "api"
            with pytest.raises(AuthenticationError):
                await enter(OLD)


class _Search:
    """Answers whoever shows the secret that is good now."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.good = ""
        self.refused = 0
        self.url = ""

    def allows(self, header: str) -> bool:
        expected = f"Bearer {self.good}" if self.kind == "bearer_token" else "Basic " + base64.b64encode(f"u:{self.good}".encode()).decode()
        self.refused += header != expected
        return header == expected

    @contextmanager
    def running(self) -> Iterator[_Search]:
        search = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                good = search.allows(self.headers.get("authorization", ""))
                body = b'{"ok": true}' if good else b"Unauthorized"
                self.send_response(200 if good else 401)
                self.send_header("content-type", "application/json" if good else "text/plain")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def test_explain_names_vault_and_secret_and_never_the_value(company: Company) -> None:
    settings = company.settings()
    source = str(source_of(settings, "chat.api_key"))
    assert source.endswith("(Azure Key Vault rag, secret openai-key)")
    assert "rag.ini:7" in source
    assert company.vault.connections == 0
