"""Identities against an Entra ID that checks what proves them: real TLS, real assertions, real proxies."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pydantic import SecretStr

from src.errors import (
    ConfigurationError,
    IdentityError,
    ResourceClosedError,
)
from src.infra.azure_auth import Token, TokenProvider
from tests.emulators.certificates import Issued, issue, rsa_key
from tests.emulators.entra import CLIENT, TENANT, App, EntraReply, service_account_token
from tests.integration.entra_world import PASSWORD, SECRET, World, failure


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
        while tokens.last_error is None or "could not be renewed" not in caplog.text:
            await asyncio.sleep(0.01)
        assert await tokens.token() == first
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
