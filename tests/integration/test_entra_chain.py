"""Identities in a declared order: what is not there costs no more than its share, and what is named wrongly is never passed over."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from pydantic import SecretStr

from src.errors import ConfigurationError, DeadlineExceededError, IdentityError, RagError
from src.infra.azure_auth import AzureTokens
from src.infra.azure_auth.identity import FAILURE_PAUSE_S
from src.infra.azure_auth.transport import READ_TIMEOUT_S, IdentitySession
from tests.emulators.entra import EntraReply
from tests.integration.entra_world import SECRET, World, failure


class TestSilence:
    def test_a_metadata_service_that_says_nothing_leaves_the_certificate_its_time(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
            assert world.tokens(credential="chain", chain=("managed", "certificate"), timeout_s=3)()
        assert world.entra.token_requests == 1

    def test_a_tool_that_hangs_leaves_the_certificate_its_time(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = world.folder / "bin"
        folder.mkdir()
        (folder / "az").write_text("#!/bin/sh\nexec sleep 3\n")
        (folder / "az").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        assert world.tokens(credential="chain", chain=("cli", "certificate"), timeout_s=4)()


class TestWhatIsNamed:
    @pytest.mark.parametrize(("made", "words"), [("missing", "No such file"), ("folder", "Is a directory"), ("empty", "is empty")])
    def test_a_service_account_token_that_cannot_be_read_never_becomes_another_identity(self, world: World, made: str, words: str) -> None:
        path = world.folder / "token"
        if made != "missing":
            path.mkdir() if made == "folder" else path.write_text("")
        chained = world.tokens(credential="chain", chain=("workload", "secret"), client_secret=SecretStr(SECRET), federated_token_file=path)
        for tokens in (chained, world.tokens(credential="workload", federated_token_file=path)):
            error = failure(tokens)
            assert isinstance(error, ConfigurationError)
            assert error.setting == "azure.federated_token_file"
            assert words in error.message
            assert str(path) in error.message
        assert world.entra.token_requests == 0


class TestFailures:
    def test_after_a_refusal_nobody_is_asked_for_a_while(self, world: World) -> None:
        now = [time.time()]
        tokens = world.tokens(certificate_path=None, credential="secret", client_secret=SecretStr("wrong"))
        tokens._clock = lambda: now[0]
        for _ in range(20):
            assert isinstance(failure(tokens), IdentityError)
        assert world.entra.token_requests == 1
        now[0] += FAILURE_PAUSE_S + 1
        failure(tokens)
        assert world.entra.token_requests == 2

    def test_a_mistake_that_is_mended_here_counts_at_once(self, world: World) -> None:
        tokens = world.tokens()
        good = world.certificate.read_bytes()
        world.certificate.unlink()
        assert isinstance(failure(tokens), ConfigurationError)
        world.certificate.write_bytes(good)
        assert tokens()

    @pytest.mark.parametrize("token", ["", ["l"], None])
    def test_an_answer_whose_token_is_none_is_an_error(self, world: World, token: object) -> None:
        world.entra.script.append(EntraReply(200, {"token_type": "Bearer", "expires_in": 3600, "access_token": token}))
        assert failure(world.tokens()).setting == "azure.authority_host"

    def test_a_token_request_that_did_not_come_along_into_a_fork_is_made_anew(self, world: World) -> None:
        tokens = world.tokens(timeout_s=3)
        world.entra.script.append(EntraReply(delay_s=1))
        caller = threading.Thread(target=tokens)
        caller.start()
        while world.entra.connections == 0:  # before, libraries are loaded, which no fork survives
            time.sleep(0.01)
        child = os.fork()
        if child == 0:
            os._exit(0 if _has_token(tokens) else 1)
        _, status = os.waitpid(child, 0)
        caller.join()
        assert os.waitstatus_to_exitcode(status) == 0


def _has_token(tokens: AzureTokens) -> bool:
    try:
        return bool(tokens())
    except (RagError, DeadlineExceededError):
        return False


def test_an_attempt_is_given_a_third_of_what_is_allowed(world: World) -> None:
    assert IdentitySession(world.network(), 20.0)._adapter._read_s == 20.0
    assert IdentitySession(world.network(), 1.0)._adapter._read_s == READ_TIMEOUT_S
