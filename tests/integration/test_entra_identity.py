"""Identities against an Entra ID that checks what proves them: real TLS, real assertions, real proxies."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from src.errors import (
    ConfigurationError,
    DeadlineExceededError,
    ForeignServiceError,
    IdentityError,
    MissingExtraError,
    ModelCredentialsError,
    OverloadedError,
    RagError,
    ResourceClosedError,
    ServiceUnavailableError,
    TlsError,
    UnreachableError,
)
from src.infra.azure_auth import AzureTokens, Token, TokenProvider, make_token_provider
from src.infra.azure_auth.certificates import read_certificate
from src.infra.config import AzureCfg, NetworkCfg
from src.infra.network import NetworkPolicy
from src.infra.providers.key_fallback import ChatWithKeyFallback
from src.infra.resource_manager import ResourceManager
from src.infra.settings import load_settings
from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator, Reply
from tests.emulators.certificates import Issued, issue, rsa_key
from tests.emulators.entra import CLIENT, TENANT, App, EntraEmulator, EntraReply, service_account_token
from tests.emulators.proxy import Proxy
from tests.integration.agent_parts import ScriptedChat, agent_over, events_of, number_of

SECRET = "canary-client-secret-51d0"
PASSWORD = "canary-certificate-password-8c2e"
PROXY_PASSWORD = "canary-proxy-password-a9b4"


@dataclass
class World:
    """An authority, a model service that takes its tokens, and an identity that both know."""

    entra: EntraEmulator
    openai: AzureOpenAIEmulator
    folder: Path
    issued: Issued
    made: list[AzureTokens] = field(default_factory=list)

    @property
    def app(self) -> App:
        return self.entra.apps[CLIENT]

    @property
    def ca_file(self) -> Path:
        return self.folder / "authorities.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "identity.pem"

    def network(self, **keys: Any) -> NetworkPolicy:
        return NetworkPolicy(NetworkCfg(ca_bundle=keys.pop("ca_bundle", self.ca_file), **keys))

    def azure(self, **keys: Any) -> AzureCfg:
        base = {"tenant_id": TENANT, "client_id": CLIENT, "authority_host": self.entra.url, "certificate_path": self.certificate, "timeout_s": 10.0}
        return AzureCfg(**{name: value for name, value in {**base, **keys}.items() if value is not None})

    def tokens(self, network: NetworkPolicy | None = None, **keys: Any) -> AzureTokens:
        found = make_token_provider(self.azure(**keys), network or self.network())
        assert found is not None
        self.made.append(found)
        return found

    def resources(self, **keys: dict[str, Any]) -> ResourceManager:
        """The product's own parts, configured as a person would."""
        azure = {name: value for name, value in self.azure().model_dump(exclude_unset=True).items() if name != "timeout_s"}
        sections: dict[str, dict[str, Any]] = {
            "azure": azure,
            "network": {"ca_bundle": self.ca_file},
            "chat": {"provider": "azure", "model": "gpt-4", "api_base": self.openai.url, "api_version": "2024-06-01", "max_retries": 0},
            "embed": {"provider": "azure", "model": "text-embedding-ada-002", "dims": self.openai.dims, "max_retries": 0, "cache_entries": 0},
        }
        for section, values in keys.items():
            sections[section] = {**sections.get(section, {}), **values}
        flat = {f"{section}.{key}": str(value) for section, values in sections.items() for key, value in values.items() if value is not None}
        (self.folder / "empty.ini").write_text("[storage]\n")
        return ResourceManager(load_settings(self.folder / "empty.ini", overrides=flat))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    ca = trustme.CA()
    entra = EntraEmulator(ca)
    openai = AzureOpenAIEmulator(tmp_path, ca=ca)
    openai.problem_of = entra.problem_of
    (tmp_path / "authorities.pem").write_bytes(entra.ca_pem)
    issued = issue(key=rsa_key(3))
    issued.written(tmp_path / "identity.pem")
    entra.apps[CLIENT] = App(certificates=[issued.certificate], secrets={SECRET})
    with entra.running(), openai.running():
        found = World(entra, openai, tmp_path, issued)
        yield found
        for tokens in found.made:
            tokens.close()


@contextmanager
def demanding_server(ca: trustme.CA, client_ca: trustme.CA) -> Iterator[str]:
    """Demands a client certificate, and says so with TLS's own alert."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    client_ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as tls:
                with suppress(ssl.SSLError):
                    tls.do_handshake()
                # Closing with unread data resets the connection, which may overtake the alert.
                tls.settimeout(5)
                with suppress(OSError):
                    socket.socket.shutdown(tls, socket.SHUT_WR)
                    while socket.socket.recv(tls, 10_000):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://localhost:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def failure(tokens: TokenProvider) -> RagError:
    with pytest.raises(RagError) as caught:
        tokens()
    return caught.value


class TestKinds:
    @pytest.mark.parametrize("name", ["id.pem", "id.pfx"])
    @pytest.mark.parametrize("password", ["", PASSWORD])
    def test_a_certificate_in_any_form_brings_a_token(self, world: World, name: str, password: str) -> None:
        path = world.issued.written(world.folder / name, password)
        token = world.tokens(certificate_path=path, certificate_password=SecretStr(password) if password else None)()
        assert world.entra.problem_of(token) == ""
        head, claims = world.entra.assertions[0]
        assert head["alg"] in ("RS256", "PS256")
        assert "x5c" not in head
        assert claims["aud"] == f"{world.entra.url}/{TENANT}/oauth2/v2.0/token"

    def test_a_sent_chain_proves_a_certificate_that_is_not_registered(self, world: World) -> None:
        root = issue("Company Root", key=rsa_key(1), authority=True)
        issued = issue("rag.company.test", key=rsa_key(2), by=root)
        world.entra.apps[CLIENT] = App(authority=root.certificate, subject="CN=rag.company.test")
        path = issued.written(world.folder / "sni.pem")
        assert world.tokens(certificate_path=path, send_certificate_chain=True)()
        assert len(world.entra.assertions[-1][0]["x5c"]) == 2
        error = failure(world.tokens(certificate_path=path))
        assert isinstance(error, IdentityError)
        assert "AADSTS700027" in str(error)

    def test_a_secret_brings_a_token(self, world: World) -> None:
        token = world.tokens(certificate_path=None, client_secret=SecretStr(SECRET))()
        assert world.entra.problem_of(token) == ""

    def test_a_workload_identity_sends_its_service_account_token(self, world: World) -> None:
        key = rsa_key(7)
        world.entra.apps[CLIENT] = App(federated=("https://cluster.test", "system:serviceaccount:rag:rag", key.public_key()))
        path = world.folder / "token"
        path.write_text(service_account_token(key, "https://cluster.test", "system:serviceaccount:rag:rag"))
        assert world.tokens(certificate_path=None, credential="workload", federated_token_file=path)()
        path.write_text(service_account_token(key, "https://cluster.test", "system:serviceaccount:rag:other"))
        error = failure(world.tokens(certificate_path=None, credential="workload", federated_token_file=path))
        assert (error.setting, error.hop) == ("azure.federated_token_file", world.entra.url)

    def test_a_workload_identity_takes_what_the_platform_set(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        key = rsa_key(7)
        world.entra.apps[CLIENT] = App(federated=("https://cluster.test", "rag", key.public_key()))
        path = world.folder / "token"
        path.write_text(service_account_token(key, "https://cluster.test", "rag"))
        for name, value in {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_FEDERATED_TOKEN_FILE": str(path)}.items():
            monkeypatch.setenv(name, value)
        assert world.tokens(certificate_path=None, tenant_id=None, client_id=None, credential="workload")()

    def test_a_managed_identity_asks_the_metadata_service_and_never_the_proxy(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", world.entra.metadata_url)
        nowhere = world.network(proxy=SecretStr("http://127.0.0.1:9"))
        token = world.tokens(nowhere, certificate_path=None, credential="managed")()
        assert world.entra.problem_of(token) == ""
        assert world.entra.metadata_requests == 1
        world.entra.apps.clear()
        error = failure(world.tokens(certificate_path=None, credential="managed"))
        assert "There is no managed identity here (HTTP 400)" in str(error)

    def test_a_managed_identity_of_app_service(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{world.entra.metadata_url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", world.entra.identity_header)
        assert world.tokens(certificate_path=None, client_id=None, credential="managed")()

    def test_the_cli_is_asked(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = world.folder / "bin"
        folder.mkdir()
        tool = folder / "az"
        answer = json.dumps({"accessToken": "canary-cli-token", "expires_on": int(time.time() + 3600)})
        tool.write_text(f"#!/bin/sh\nprintf '%s' '{answer}'\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        assert world.tokens(certificate_path=None, credential="cli")() == "canary-cli-token"
        tool.write_text("#!/bin/sh\necho 'Please run az login' >&2\nexit 1\n")
        error = failure(world.tokens(certificate_path=None, credential="cli"))
        assert isinstance(error, IdentityError)
        assert "az login" in error.hint

    def test_a_chain_goes_on_where_a_kind_is_not_to_be_had_and_stops_where_it_is_refused(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")
        monkeypatch.setenv("PATH", "/nowhere")
        chain = ("cli", "workload", "managed", "secret", "certificate")
        tokens = world.tokens(credential="chain", chain=chain)
        assert tokens()
        assert world.entra.assertions, "the secret is not configured, so the certificate was used"
        error = failure(world.tokens(credential="chain", chain=chain, client_secret=SecretStr("wrong")))
        assert error.setting == "azure.client_secret"
        error = failure(world.tokens(credential="chain", chain=("cli", "secret", "managed")))
        assert error.setting == "azure.chain"
        assert "cli, secret (azure.client_secret not set), managed" in str(error)

    def test_a_sovereign_clouds_scope_is_asked_for(self, world: World) -> None:
        token = world.tokens(scope="https://cognitiveservices.azure.us/.default")()
        assert world.entra.problem_of(token, "https://cognitiveservices.azure.us") == ""
        assert world.entra.problem_of(token) == "audience"

    def test_the_environment_does_not_choose_the_authority(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", "https://127.0.0.1:9")
        monkeypatch.setenv("AZURE_REGIONAL_AUTHORITY_NAME", "westeurope")
        monkeypatch.setenv("MSAL_FORCE_REGION", "westeurope")
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
        assert world.tokens()()


class TestOneTokenForAll:
    async def test_a_hundred_threads_and_tasks_at_once_make_one_request(self, world: World) -> None:
        tokens = world.tokens()
        world.entra.script.append(EntraReply(delay_s=0.2))
        with ThreadPoolExecutor(50) as pool:
            loop = asyncio.get_running_loop()
            threads = [loop.run_in_executor(pool, tokens) for _ in range(50)]
            found = await asyncio.gather(*threads, *(tokens.token() for _ in range(50)))
        assert len(set(found)) == 1
        assert world.entra.token_requests == 1

    def test_callers_of_several_loops_share_the_request(self, world: World) -> None:
        tokens = world.tokens()
        world.entra.script.append(EntraReply(delay_s=0.2))
        found: list[str] = []

        async def several() -> None:
            found.extend(await asyncio.gather(*(tokens.token() for _ in range(10))))

        loops = [threading.Thread(target=lambda: asyncio.run(several())) for _ in range(5)]
        for thread in loops:
            thread.start()
        for thread in loops:
            thread.join()
        assert len(found) == 50
        assert len(set(found)) == 1
        assert world.entra.token_requests == 1

    async def test_a_caller_that_is_cancelled_leaves_the_others_their_token(self, world: World) -> None:
        tokens = world.tokens()
        world.entra.script.append(EntraReply(delay_s=0.2))
        first, second = asyncio.create_task(tokens.token()), asyncio.create_task(tokens.token())
        await asyncio.sleep(0.05)
        first.cancel()
        assert await second
        assert world.entra.token_requests == 1

    async def test_a_failure_reaches_all_who_wait_each_with_an_error_of_its_own(self, world: World) -> None:
        world.app.certificates.clear()
        tokens = world.tokens()
        found = await asyncio.gather(*(tokens.token() for _ in range(20)), return_exceptions=True)
        assert all(isinstance(error, IdentityError) for error in found)
        assert len({id(error) for error in found}) == 20
        assert world.entra.token_requests == 1

    async def test_a_renewal_happens_behind_the_calls_and_none_waits(self, world: World) -> None:
        world.entra.expires_in = 4  # renewed from 2 s on
        tokens = world.tokens()
        first = await tokens.token()
        world.entra.expires_in = 3600
        world.entra.script.append(EntraReply(delay_s=0.5))
        slowest, found = 0.0, first
        while found == first:
            start = time.perf_counter()
            found = await tokens.token()
            slowest = max(slowest, time.perf_counter() - start)
            await asyncio.sleep(0.005)
        assert world.entra.token_requests == 2
        assert slowest < 0.25, "a call that waited for the renewal would have taken 0.5 s"

    async def test_a_renewal_that_fails_leaves_the_old_token_in_service(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        world.entra.expires_in = 4
        tokens = world.tokens()
        first = await tokens.token()
        world.entra.script.append(EntraReply(401, {"error": "invalid_client", "error_description": "AADSTS7000222: expired"}))
        await asyncio.sleep(2.1)
        assert await tokens.token() == first
        while tokens.last_error is None:
            await asyncio.sleep(0.01)
        assert await tokens.token() == first
        assert "could not be renewed" in caplog.text
        assert world.entra.token_requests == 2

    def test_after_closing_there_is_no_token(self, world: World) -> None:
        tokens = world.tokens()
        tokens()
        tokens.close()
        with pytest.raises(ResourceClosedError):
            tokens()

    def test_a_token_in_hand_costs_about_a_microsecond(self) -> None:
        tokens = TokenProvider(lambda: Token.issued("t", time.time(), time.time() + 3600), timeout_s=5)
        tokens()
        start = time.perf_counter()
        for _ in range(10_000):
            tokens()
        assert time.perf_counter() - start < 1.0, "100 µs a call, a hundred times what was measured"


class TestRotation:
    def test_a_rotated_certificate_is_used_without_a_restart(self, world: World) -> None:
        tokens = world.tokens()
        first = tokens()
        new = issue(key=rsa_key(4))
        new.written(world.certificate)
        world.app.certificates[:] = [new.certificate]
        tokens.invalidate(first)
        assert tokens() != first
        assert world.entra.assertions[0][0] != world.entra.assertions[1][0]

    def test_half_a_file_is_an_error_and_the_whole_one_is_used_next(self, world: World) -> None:
        tokens = world.tokens()
        whole = world.certificate.read_bytes()
        world.certificate.write_bytes(whole[: len(whole) // 2])
        assert failure(tokens).setting == "azure.certificate_path"
        world.certificate.write_bytes(whole)
        assert tokens()

    @pytest.mark.parametrize(
        ("issued", "words"),
        [
            (issue(starts=timedelta(days=-20), ends=timedelta(days=-1)), "has expired"),
            (issue(starts=timedelta(days=1)), "is not valid before"),
            (Issued(issue().certificate, rsa_key(8)), "does not belong"),
        ],
    )
    def test_a_certificate_that_cannot_be_used_fails_before_anything_is_sent(self, world: World, issued: Issued, words: str) -> None:
        issued.written(world.certificate)
        error = failure(world.tokens())
        assert isinstance(error, ConfigurationError)
        assert words in str(error)
        assert error.setting == "azure.certificate_path"
        assert world.entra.connections == 0

    def test_without_a_certificate_the_first_token_names_the_key(self, world: World) -> None:
        tokens = world.tokens(certificate_path=None, tenant_id=None, credential="certificate")
        error = failure(tokens)
        assert isinstance(error, ConfigurationError)
        assert error.setting == "azure.certificate_path"
        assert world.entra.connections == 0


FAULTS: list[tuple[EntraReply, type[RagError], str]] = [
    (EntraReply(401, {"error": "invalid_client", "error_description": "AADSTS7000215: x"}), IdentityError, "azure.client_secret"),
    (EntraReply(400, {"error": "unauthorized_client", "error_description": "AADSTS700016: x"}), IdentityError, "azure.client_id"),
    (EntraReply(400, {"error": "invalid_scope", "error_description": "no number"}), IdentityError, "azure.scope"),
    (EntraReply(401, {"error": "invalid_client", "error_description": "AADSTS999999: x"}), IdentityError, "azure.certificate_path"),
    (EntraReply(403, b"<html>forbidden</html>"), ForeignServiceError, "azure.authority_host"),
    (EntraReply(200, b"<html>Sign in to the proxy</html>"), IdentityError, "azure.authority_host"),
    (EntraReply(302, {}, {"location": "https://elsewhere.test/"}), ForeignServiceError, "azure.authority_host"),
    (EntraReply(429, {"error": "temporarily_unavailable"}, {"retry-after": "30"}), OverloadedError, "azure.timeout_s"),
    (EntraReply(404, b"nothing", path="/openid-configuration"), IdentityError, "azure.authority_host"),
    (EntraReply(200, b"<html>", path="/openid-configuration"), IdentityError, "azure.authority_host"),
]


class TestFaults:
    @pytest.mark.parametrize(("reply", "kind", "setting"), FAULTS, ids=lambda value: str(getattr(value, "status", getattr(value, "__name__", value))))
    def test_each_names_the_hop_and_the_setting(self, world: World, reply: EntraReply, kind: type[RagError], setting: str) -> None:
        world.entra.script.append(reply)
        error = failure(world.tokens())
        assert type(error) is kind
        assert (error.setting, error.hop) == (setting, world.entra.url)

    def test_an_authority_that_fails_is_asked_three_times_and_then_named(self, world: World) -> None:
        world.entra.script.extend([EntraReply(503, {}), EntraReply(500, b"x"), EntraReply(502, b"x")])
        error = failure(world.tokens())
        assert type(error) is ServiceUnavailableError
        assert error.hop == world.entra.url
        assert world.entra.token_requests == 3
        world.entra.script.append(EntraReply(503, {}))
        assert world.tokens()(), "one failure is overcome"

    def test_a_connection_that_breaks_off_is_tried_again(self, world: World) -> None:
        world.entra.script.append(EntraReply(drop=True))
        assert world.tokens()()
        assert world.entra.token_requests == 2

    def test_a_wait_that_the_authority_asks_for_is_kept(self, world: World) -> None:
        world.entra.script.append(EntraReply(429, {"error": "x"}, {"retry-after": "40"}))
        tokens = world.tokens()
        for _ in range(3):
            assert isinstance(failure(tokens), OverloadedError)
        assert world.entra.token_requests == 1
        world.entra.script.append(EntraReply(429, {"error": "x"}, {"retry-after": "1"}))
        assert world.tokens()()

    def test_an_authority_that_does_not_answer_ends_within_the_time_allowed(self, world: World) -> None:
        world.entra.script.append(EntraReply(delay_s=30))
        error = failure(world.tokens(timeout_s=0.5))
        assert type(error) is DeadlineExceededError
        assert error.hop == world.entra.url

    def test_an_authority_that_is_not_trusted_is_a_question_of_the_bundle(self, world: World) -> None:
        error = failure(world.tokens(world.network(ca_bundle=None)))
        assert type(error) is TlsError
        assert (error.setting, error.hop) == ("network.ca_bundle", world.entra.url)

    def test_another_host_name_in_the_certificate_is_a_question_of_the_address(self, world: World) -> None:
        error = failure(world.tokens(authority_host=f"https://127.0.0.2:{world.entra.port}"))
        assert isinstance(error, (TlsError, UnreachableError))
        assert error.setting == "azure.authority_host"

    def test_an_authority_whose_own_certificate_has_expired(self, world: World) -> None:
        with EntraEmulator(world.entra.ca, not_after=datetime.now(UTC) - timedelta(days=1)).running() as other:
            error = failure(world.tokens(authority_host=other.url))
        assert (type(error), error.hop) == (TlsError, other.url)
        assert "certificate has expired" in str(error)

    def test_an_authority_that_demands_a_client_certificate(self, world: World) -> None:
        ca = trustme.CA()
        ca.issue_cert("rag@company.test").private_key_and_cert_chain_pem.write_to_path(str(world.folder / "mtls.pem"))
        with demanding_server(world.entra.ca, ca) as url:
            error = failure(world.tokens(authority_host=url, timeout_s=5))
            assert (type(error), error.setting, error.hop) == (TlsError, "network.client_certificate", url)
        with EntraEmulator(world.entra.ca, client_ca=ca).running() as other:
            other.apps[CLIENT] = world.app
            error = failure(world.tokens(authority_host=other.url, timeout_s=3))  # asyncio's server ends without its alert
            assert "network.client_certificate" in str(error)
            assert world.tokens(world.network(client_certificate=world.folder / "mtls.pem"), authority_host=other.url)()

    def test_nothing_listening_and_names_that_do_not_resolve(self, world: World) -> None:
        error = failure(world.tokens(authority_host="https://127.0.0.1:9", timeout_s=3))
        assert type(error) is UnreachableError
        assert (error.setting, error.hop) == ("azure.authority_host", "https://127.0.0.1:9")
        error = failure(world.tokens(authority_host="login.nowhere.invalid", timeout_s=3))
        assert type(error) is UnreachableError
        assert "its name is unknown" in str(error)

    @pytest.mark.parametrize(
        ("keys", "setting"),
        [
            ({"tenant_id": "a/b"}, "azure.tenant_id"),
            ({"scope": "a b"}, "azure.scope"),
            ({"client_id": None}, "azure.client_id"),
            ({"tenant_id": None}, "azure.tenant_id"),
        ],
    )
    def test_values_that_cannot_be_right_are_refused_before_anything_is_sent(self, world: World, keys: dict[str, Any], setting: str) -> None:
        error = failure(world.tokens(**keys))
        assert isinstance(error, ConfigurationError)
        assert error.setting == setting
        assert world.entra.connections == 0

    def test_an_unknown_tenant_is_named(self, world: World) -> None:
        error = failure(world.tokens(tenant_id="contoso.test"))
        assert (type(error), error.setting) == (IdentityError, "azure.tenant_id")


class TestProxy:
    @pytest.fixture
    def proxy(self, world: World) -> Iterator[Proxy]:
        hosts = {f"login.company.test:{world.entra.port}": world.entra.port}
        with Proxy("user", PROXY_PASSWORD, hosts).running() as found:
            yield found

    def tokens(self, world: World, proxy: Proxy, password: str = PROXY_PASSWORD) -> AzureTokens:
        address = SecretStr(f"http://127.0.0.1:{proxy.port}")
        network = world.network(proxy=address, proxy_username="user", proxy_password=SecretStr(password))
        return world.tokens(network, authority_host=f"https://login.company.test:{world.entra.port}")

    def test_tokens_come_through_the_proxy_with_its_credentials(self, world: World, proxy: Proxy) -> None:
        assert self.tokens(world, proxy)()
        assert set(proxy.asked) == {f"login.company.test:{world.entra.port}"}
        assert proxy.refused == 0

    def test_a_proxy_that_refuses_is_the_hop_that_is_named(self, world: World, proxy: Proxy) -> None:
        error = failure(self.tokens(world, proxy, "canary-wrong-password"))
        assert type(error) is UnreachableError
        assert (error.setting, error.hop) == ("network.proxy_username", f"proxy to https://login.company.test:{world.entra.port}")
        assert error.proxy == f"http://127.0.0.1:{proxy.port}"
        assert "canary" not in str(error)
        assert proxy.refused == 1

    def test_a_proxy_that_is_not_there_is_named(self, world: World) -> None:
        network = world.network(proxy=SecretStr("http://127.0.0.1:9"))
        error = failure(world.tokens(network, timeout_s=3))
        assert (error.setting, error.hop) == ("network.proxy", f"proxy to {world.entra.url}")
        assert error.proxy == "http://127.0.0.1:9"

    def test_a_proxy_that_says_nothing_ends_within_the_time_allowed(self, world: World) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            network = world.network(proxy=SecretStr(f"http://127.0.0.1:{silent.getsockname()[1]}"))
            tokens = world.tokens(network, timeout_s=1)
            start = time.monotonic()
            error = failure(tokens)
            assert time.monotonic() - start < 4
        assert isinstance(error, ServiceUnavailableError)
        assert error.setting == "network.proxy"


class TestModels:
    async def test_chat_and_embeddings_use_one_identity_and_one_token(self, world: World) -> None:
        async with world.resources() as resources:
            answers = await asyncio.gather(
                resources.chat.generate("hello"), resources.embedder.embed(["a"]), *(resources.chat.generate("again") for _ in range(20))
            )
            assert answers[0].content
            assert answers[0].degraded == ()
        assert world.entra.token_requests == 1
        assert all("api-key" not in request.headers for request in world.openai.requests)

    async def test_a_refused_token_is_replaced_once_and_the_request_repeated_once(self, world: World) -> None:
        async with world.resources() as resources:
            await resources.chat.generate("hello")
            world.entra.revoke_all()
            before = len(world.openai.requests)
            assert (await resources.chat.generate("hello")).content
            assert len(world.openai.requests) - before == 2
            assert world.entra.token_requests == 2
            world.entra.revoke_all()
            assert len([piece async for piece in resources.chat.stream("hello")]) > 1
            world.entra.revoke_all()
            assert (await resources.embedder.embed(["a"])).shape == (1, world.openai.dims)

    async def test_many_refusals_of_one_token_bring_one_new_one(self, world: World) -> None:
        async with world.resources() as resources:
            await resources.chat.generate("hello")
            world.entra.revoke_all()
            answers = await asyncio.gather(*(resources.chat.generate("hello") for _ in range(30)))
            assert all(answer.content for answer in answers)
        assert world.entra.token_requests == 2

    async def test_a_token_that_is_refused_twice_is_an_error_of_this_servers_credential(self, world: World) -> None:
        world.openai.problem_of = lambda _token: "revoked"
        async with world.resources() as resources:
            with pytest.raises(ModelCredentialsError, match="neither the identity's token nor a new one") as caught:
                await resources.chat.generate("hello")
        assert caught.value.setting == "azure.scope"
        assert len(world.openai.requests) == 2
        assert world.entra.token_requests == 2

    async def test_an_identity_that_fails_while_a_token_is_replaced_is_what_is_told(self, world: World) -> None:
        async with world.resources() as resources:
            await resources.chat.generate("hello")
            world.entra.revoke_all()
            world.app.certificates.clear()
            with pytest.raises(IdentityError) as caught:
                await resources.chat.generate("hello")
        assert caught.value.setting == "azure.certificate_path"

    async def test_the_clients_own_repeats_do_not_hide_what_the_identity_says(self, world: World) -> None:
        async with world.resources(chat={"max_retries": 2}) as resources:
            await resources.chat.generate("hello")
            world.entra.revoke_all()
            world.app.certificates.clear()
            with pytest.raises(IdentityError):
                await resources.chat.generate("hello")
            with pytest.raises(IdentityError):
                [piece async for piece in resources.chat.stream("hello")]

    async def test_a_key_beside_an_identity_is_not_used_unless_that_is_allowed(self, world: World) -> None:
        world.app.certificates.clear()
        async with world.resources(azure_openai={"api_key": KEY}) as resources:
            with pytest.raises(IdentityError):
                await resources.chat.generate("hello")
            assert not (await resources.health.check_all()).ready
        assert world.openai.requests == []

    async def test_an_allowed_key_stands_in_and_the_answer_says_so(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        world.app.certificates.clear()
        keys = {"azure_openai": {"api_key": KEY}, "azure": {"allow_api_key_fallback": True}}
        async with world.resources(**keys) as resources:
            answer = await resources.chat.generate("hello")
            pieces = [piece async for piece in resources.chat.stream("hello")]
            assert (await resources.embedder.embed(["a"])).shape == (1, world.openai.dims)
            health = {component.name: component for component in (await resources.health.check_all()).components}
            assert resources.embedder.degraded == answer.degraded
        assert answer.degraded == ("the API key stood in for the Azure identity (identity)",)
        assert pieces[0].degraded == answer.degraded
        assert pieces[-1].finish_reason == "stop"
        assert "stands in" in caplog.text
        assert (health["identity"].status, health["identity"].required) == ("unhealthy", False)

    async def test_a_key_that_may_stand_in_does_not_where_the_identity_serves(self, world: World) -> None:
        async with world.resources(azure_openai={"api_key": KEY}, azure={"allow_api_key_fallback": True}) as resources:
            assert (await resources.chat.generate("hello")).degraded == ()
            world.openai.script.append(Reply(503, {}))
            with pytest.raises(ServiceUnavailableError):
                await resources.chat.generate("hello")
        assert all("api-key" not in request.headers for request in world.openai.requests)

    async def test_a_profile_that_asks_for_a_certificate_names_the_key_where_there_is_none(self, world: World) -> None:
        keys = {"environment": {"cloud_profile": "jpmc_azure"}, "azure": {"certificate_path": None}, "network": {"proxy": "", "ca_bundle": world.ca_file}}
        async with world.resources(azure_openai={"api_key": KEY}, **keys) as resources:
            with pytest.raises(ConfigurationError) as caught:
                await resources.chat.generate("hello")
        assert caught.value.setting == "azure.certificate_path"

    async def test_health_tells_of_the_identity_and_of_a_certificate_near_its_end(self, world: World) -> None:
        ending = issue(key=rsa_key(3), ends=timedelta(days=20))
        ending.written(world.certificate)
        world.app.certificates[:] = [ending.certificate]
        async with world.resources() as resources:
            health = await resources.health.check_all()
        found = {component.name: component for component in health.components}
        assert found["identity"].status == "healthy"
        assert found["certificate"].status == "unhealthy"
        assert "expires in 19 days" in found["certificate"].message
        assert not found["certificate"].required


async def test_the_answer_tells_that_a_key_stood_in(tmp_path: Path, model_cache: Path) -> None:
    class NoToken:
        async def token(self) -> str:
            raise IdentityError("refused")

        def invalidate(self, token: str) -> bool:
            return False

    by_key = ScriptedChat(lambda content: [f"Crews reach most customers within 90 minutes [{number_of(content, 'Crews')}]."])
    chat = ChatWithKeyFallback(ScriptedChat(lambda _content: ["never asked"]), by_key, NoToken())
    async with agent_over(tmp_path, model_cache, chat) as (agent, _):  # type: ignore[arg-type] - it takes any chat model
        _tokens, others = await events_of(agent, "How long until a crew reaches customers?")
    assert others[-1].answer.degraded == ("the API key stood in for the Azure identity (identity)",)


class TestNothingLeaks:
    async def test_no_secret_is_in_a_log_an_error_a_repr_or_a_traceback(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        path = world.issued.written(world.folder / "id.pfx", PASSWORD)
        said: list[str] = []
        echo = {"error": "invalid_client", "error_description": f"AADSTS7000215: {SECRET} {PASSWORD}", "access_token": "canary-token"}
        plain, half = {"certificate_path": None, "client_secret": SecretStr(SECRET)}, {"certificate_path": path, "certificate_password": SecretStr(PASSWORD)}
        for keys in (plain, half):
            tokens = world.tokens(**keys)
            said += [repr(tokens), repr(tokens._identity), repr(vars(tokens))]
            assert await tokens.token()
            for reply in (EntraReply(401, echo), EntraReply(200, echo), EntraReply(429, echo), EntraReply(302, echo), EntraReply(200, b"canary-token")):
                world.entra.script.extend([reply] * 3)
                try:
                    await world.tokens(**keys, timeout_s=1).token()
                except RagError as error:
                    said += [str(error), repr(error), "".join(traceback.format_exception(error)), repr(error.__context__)]
                world.entra.script.clear()
        said += [repr(read_certificate(path, SecretStr(PASSWORD))), caplog.text, *(str(vars(record)) for record in caplog.records)]
        canaries = [SECRET, PASSWORD, "canary-token", "PRIVATE KEY", *world.entra.issued]
        assert [(canary, text) for canary in canaries for text in said if canary in text] == []


def test_configuring_an_identity_reads_and_connects_nothing(world: World) -> None:
    world.certificate.unlink()
    world.tokens()
    assert make_token_provider(AzureCfg(), world.network()) is None
    assert world.entra.connections == 0


def test_without_the_extra_the_first_token_names_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    error = failure(world.tokens())
    assert isinstance(error, MissingExtraError)
    assert "founders-rag[azure]" in error.hint


def test_only_models_on_azure_get_tokens(world: World) -> None:
    resources = world.resources(chat={"provider": "openai", "api_base": world.openai.url + "/v1"}, embed={"provider": "local"})
    with resources, pytest.raises(ConfigurationError, match="has no credential"):
        asyncio.run(resources.chat.generate("hello"))
    assert world.entra.token_requests == 0
