"""Secrets that decide who may enter: one beyond its time is read again first, and only an outage lets the last one count."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from src.api.auth import BearerTokens, RequireIdentity, hash_token
from src.errors import AuthenticationError, ConfigurationError, ServiceCredentialsError, ServicePermissionError, ServiceUnavailableError, UnreachableError
from src.infra.config import ApiCfg, Settings
from src.infra.health import HealthChecker
from src.infra.secrets import health as health_module
from src.infra.secrets.health import register_secrets
from src.infra.secrets.held import PAUSE_S, Timing, VaultSecret
from src.infra.secrets.live import LiveSecret
from src.infra.secrets.references import Reference

TTL_S = 100.0


class Vault:
    """Gives ``value``, or fails with ``error``; holds every reading while ``gate`` is shut."""

    def __init__(self) -> None:
        self.value = "old"
        self.error: Exception | None = None
        self.reads = 0
        self.now = 0.0
        self.gate = threading.Event()
        self.gate.set()
        place, hop = (lambda r: r.place("rag")), (lambda _: "https://rag.vault.azure.net")
        self.held = VaultSecret(Reference("vault", "key"), self._read, lambda: Timing(TTL_S, 5), place, hop, clock=lambda: self.now)
        self.secret = LiveSecret((self.held,))

    def _read(self, reference: Reference) -> str:
        self.reads += 1
        self.gate.wait(5)
        if self.error is not None:
            raise self.error
        return self.value


@pytest.fixture
def vault() -> Iterator[Vault]:
    made = Vault()
    yield made
    made.gate.set()


def signed(token: str) -> HTTPConnection:
    return HTTPConnection({"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())]})


async def enters(tokens: BearerTokens, token: str) -> bool:
    try:
        await tokens.identify(signed(token))
    except AuthenticationError:
        return False
    return True


async def test_a_revoked_token_does_not_open_once_its_time_is_over_and_the_new_one_does(vault: Vault) -> None:
    tokens = BearerTokens(None, vault.secret)
    assert await enters(tokens, "old")
    vault.value, vault.now = "new", TTL_S + 1
    assert not await enters(tokens, "old"), "the very first to come"
    assert await enters(tokens, "new")
    assert vault.reads <= 3


async def test_a_new_token_opens_before_the_time_of_the_old_one_is_over(vault: Vault) -> None:
    tokens = BearerTokens(None, vault.secret)
    assert await enters(tokens, "old")
    vault.value = "new"
    assert await enters(tokens, "new")
    assert not await enters(tokens, "old")


async def test_wrong_tokens_make_the_vault_be_asked_once_in_five_seconds(vault: Vault) -> None:
    tokens = BearerTokens(None, vault.secret)
    for _ in range(20):
        assert not await enters(tokens, "guess")
    assert vault.reads == 2, "the first, and one more"
    await asyncio.gather(*(enters(tokens, "guess") for _ in range(50)))
    assert vault.reads == 2
    vault.now += PAUSE_S + 1
    await asyncio.gather(*(enters(tokens, "guess") for _ in range(50)))
    assert vault.reads == 3


@pytest.mark.parametrize("error", [UnreachableError("away"), ServiceUnavailableError("503"), ServiceCredentialsError("no token")])
async def test_the_last_token_opens_while_the_vault_cannot_be_asked(vault: Vault, error: Exception) -> None:
    tokens = BearerTokens(None, vault.secret)
    assert await enters(tokens, "old")
    vault.error, vault.now = error, TTL_S + 1
    assert await enters(tokens, "old")
    assert not await enters(tokens, "guess")
    vault.error, vault.value, vault.now = None, "new", TTL_S + 1 + PAUSE_S + 1
    assert not await enters(tokens, "old")


@pytest.mark.parametrize("error", [ConfigurationError("is not there"), ServicePermissionError("disabled")])
@pytest.mark.parametrize("over", [0.0, TTL_S + 1])
async def test_a_token_that_the_vault_says_is_gone_opens_no_more_and_one_that_comes_back_does(vault: Vault, error: Exception, over: float) -> None:
    tokens = BearerTokens(None, vault.secret)
    assert await enters(tokens, "old")
    vault.error, vault.now = error, over
    with pytest.raises((ServiceUnavailableError, AuthenticationError)):
        await tokens.identify(signed("guess"))
    with pytest.raises(ServiceUnavailableError, match="Nobody can sign in"):
        await tokens.identify(signed("old"))
    vault.error, vault.value, vault.now = None, "new", vault.now + PAUSE_S + 1
    assert await enters(tokens, "new")
    assert not await enters(tokens, "old")


async def test_a_vault_that_hangs_keeps_nobody_waiting_for_long(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.api.auth.PATIENCE_S", 0.05)
    tokens = BearerTokens(None, vault.secret)
    assert await enters(tokens, "old")
    vault.now = TTL_S + 1
    vault.gate.clear()
    async with asyncio.timeout(3):  # the reading would take 5 s
        assert await enters(tokens, "old")
        vault.now += 1
        assert await enters(tokens, "old")
        assert not await enters(tokens, "guess")
    assert vault.reads == 2


async def test_those_of_the_tokens_file_ask_no_vault(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text(f'{{"{hash_token("mine")}": {{"user": "bob"}}}}')
    vault.gate.clear()
    assert (await BearerTokens(tmp_path / "tokens.json", vault.secret).identify(signed("mine"))).user == "bob"
    assert vault.reads == 0


async def test_what_is_wrong_with_the_vault_is_told_to_no_stranger(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    vault.error = ConfigurationError("The secret key is not there.", hop="https://rag.vault.azure.net", setting="secrets.vault")
    with pytest.raises(ServiceUnavailableError) as caught:
        await BearerTokens(None, vault.secret).identify(signed("x"))
    assert "vault" not in str(caught.value)
    assert "secrets.vault" in str([vars(record) for record in caplog.records])


async def test_that_the_process_is_alive_is_told_while_the_vault_hangs(vault: Vault) -> None:
    vault.gate.clear()
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])

    async def unused(*_: object) -> Message:
        raise AssertionError

    scope = {"type": "http", "path": "/health/live", "headers": [(b"authorization", b"Bearer x")]}
    await RequireIdentity(app, BearerTokens(None, vault.secret))(scope, unused, unused)  # type: ignore[arg-type] # neither is called
    assert asked == ["/health/live"]
    assert vault.reads == 0


class TestReady:
    def checker(self, vault: Vault, tokens_file: Path | None = None) -> HealthChecker:
        checker = HealthChecker(ttl_s=0)
        settings = Settings(api=ApiCfg(auth="tokens", token=vault.secret, tokens_file=tokens_file))
        register_secrets(checker, settings)
        return checker

    async def test_a_server_whose_only_token_could_never_be_read_is_not_ready_until_it_can(self, vault: Vault) -> None:
        checker = self.checker(vault)
        vault.error = ConfigurationError("The secret key is not there.", setting="secrets.vault")
        found = await checker.check_all()
        assert not found.ready
        assert any(component.name == "sign_in" and "secrets.vault" in component.message for component in found.components)
        vault.error, vault.now = None, PAUSE_S + 1
        assert (await checker.check_all()).ready, "though nobody was let in who could have asked"

    async def test_a_server_with_a_last_token_is_ready_while_the_vault_is_away(self, vault: Vault) -> None:
        checker = self.checker(vault)
        assert (await checker.check_all()).ready
        vault.error, vault.now = UnreachableError("away"), TTL_S + 1
        assert (await checker.check_all()).ready
        degraded = await checker.check_all()
        assert degraded.ready
        assert [component.status for component in degraded.components if component.name == "secrets"] == ["unhealthy"]

    async def test_a_server_whose_vault_hangs_from_the_start_is_not_ready(self, vault: Vault) -> None:
        checker = self.checker(vault)
        checker._timeout_s = 0.1
        vault.gate.clear()
        assert not (await checker.check_all()).ready

    async def test_a_server_with_a_tokens_file_is_ready_all_the_same(self, vault: Vault, tmp_path: Path) -> None:
        checker = self.checker(vault, tmp_path / "tokens.json")
        vault.error = ConfigurationError("The secret key is not there.")
        assert (await checker.check_all()).ready
        assert vault.reads == 0

    async def test_an_error_that_passed_is_seen_though_nobody_uses_the_secret(self, vault: Vault, tmp_path: Path) -> None:
        checker = self.checker(vault, tmp_path / "tokens.json")
        vault.error = UnreachableError("away")
        with pytest.raises(UnreachableError):
            vault.secret.get_secret_value()
        assert [component.status for component in (await checker.check_all()).components] == ["unhealthy"]
        vault.error, vault.now = None, PAUSE_S + 1
        await checker.check_all()  # asks
        for thread in threading.enumerate():
            if thread.name == "rag-secrets":
                thread.join(5)
        assert [component.status for component in (await checker.check_all()).components] == ["healthy"]

    def test_the_patience_is_shorter_than_a_health_check(self) -> None:
        assert HealthChecker()._timeout_s > health_module.PATIENCE_S
