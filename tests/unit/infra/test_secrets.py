"""References to vaults, secrets that change, and when they are read again."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from src.errors import DeadlineExceededError, InvalidSettingsError, ServiceUnavailableError
from src.infra.configuring.interpolation import escape, interpolate
from src.infra.secrets import held as held_module
from src.infra.secrets.held import PAUSE_S, FileSecret, Timing, VaultSecret
from src.infra.secrets.live import LiveSecret, current, live_secrets, renewed, renewed_blocking
from src.infra.secrets.references import Reference, parse_reference
from src.infra.secrets.vaults import vault_name
from src.infra.settings import load_settings, source_of


class Vault:
    """Gives ``value``, or fails with ``error``; holds every reading while ``gate`` is shut."""

    def __init__(self, ttl_s: float = 100, timeout_s: float = 5) -> None:
        self.value = "one"
        self.error: Exception | None = None
        self.reads = 0
        self.now = 0.0
        self.gate = threading.Event()
        self.gate.set()
        self.done = threading.Semaphore(0)
        place, hop = (lambda r: r.place("rag")), (lambda _: "https://rag.vault.azure.net")
        self.held = VaultSecret(Reference("vault", "key"), self._read, lambda: Timing(ttl_s, timeout_s), place, hop, clock=lambda: self.now)
        self.secret = LiveSecret((self.held,))

    def _read(self, reference: Reference) -> str:
        self.reads += 1
        self.gate.wait(5)
        try:
            if self.error is not None:
                raise self.error
            return self.value
        finally:
            self.done.release()


def settled(vault: Vault) -> None:
    """Wait until the reading under way is taken in."""
    assert vault.done.acquire(timeout=5)
    for thread in threading.enumerate():
        if thread.name == "rag-secrets":
            thread.join(5)


class TestReferences:
    @pytest.mark.parametrize(
        ("scheme", "text", "found"),
        [
            ("vault", "openai-key", Reference("vault", "openai-key")),
            ("vault", f"key/{'a1' * 16}", Reference("vault", "key", "a1" * 16)),
            ("aws", "prod/rag", Reference("aws", "prod/rag")),
            ("aws", "prod/rag#openai_key", Reference("aws", "prod/rag", "openai_key")),
            (
                "aws",
                "arn:aws:secretsmanager:eu-west-1:1:secret:prod/rag-AbCdEf#k",
                Reference("aws", "arn:aws:secretsmanager:eu-west-1:1:secret:prod/rag-AbCdEf", "k"),
            ),
        ],
    )
    def test_names_are_read_as_the_vaults_write_them(self, scheme: str, text: str, found: Reference) -> None:
        assert parse_reference(scheme, text) == found

    @pytest.mark.parametrize(
        ("scheme", "text"), [("vault", ""), ("vault", "a b"), ("vault", "a_b"), ("vault", "a/1"), ("aws", ""), ("aws", "a#"), ("aws", "#k")]
    )
    def test_what_can_be_no_name_says_how_one_is_written(self, scheme: str, text: str) -> None:
        with pytest.raises(ValueError, match=r"write \$\{"):
            parse_reference(scheme, text)

    def test_a_reference_stands_between_text_and_variables(self) -> None:
        found = interpolate("postgresql://${USER_NAME:rag}:${vault:pg}@db/${aws:a#b}", {})
        assert found.pieces == ("postgresql://", "rag", ":", ("vault", "pg"), "@db/", ("aws", "a#b"), "")
        assert found.variables == ("USER_NAME",)

    def test_what_a_variable_holds_is_no_reference(self) -> None:
        assert interpolate("${A}", {"A": "${vault:key}"}).pieces == ()
        assert interpolate("${A}", {"A": "${vault:key}"}).text == "${vault:key}"

    @given(st.text())
    def test_escaped_text_holds_no_reference(self, text: str) -> None:
        assert interpolate(escape(text + "${vault:key}"), {}).pieces == ()

    def test_a_variable_may_be_called_vault_where_no_secret_is_named(self) -> None:
        assert interpolate("${vault}", {"vault": "x"}).text == "x"

    @pytest.mark.parametrize(("address", "name"), [("https://rag.vault.azure.net/", "rag"), ("https://rag.vault.azure.cn", "rag"), ("", "(no address)")])
    def test_a_vault_is_called_by_the_first_label_of_its_host(self, address: str, name: str) -> None:
        assert vault_name(address) == name


class TestConfiguration:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("[search]\nhost = ${vault:host}\n", "only keys that are secret"),
            ("[network]\nproxy_password = ${vault:proxy}\n", "the way to it needs this key"),
            ("[network]\nproxy = ${aws:proxy}\n", "the way to it needs this key"),
            ("[azure]\nclient_secret = ${vault:secret}\n", "the way to it needs this key"),
            ("[chat]\napi_key = ${vault:key}\n", "no vault is configured"),
            ("[chat]\napi_key = ${vault:under_score}\n", "names no secret"),
            ("[chat]\napi_key = ${vault:key}${LACKING}\n", "LACKING is not set"),
        ],
    )
    def test_what_no_vault_can_give_is_a_problem_of_the_configuration(self, tmp_path: Path, text: str, problem: str) -> None:
        (tmp_path / "rag.ini").write_text(text)
        with pytest.raises(InvalidSettingsError, match=problem):
            load_settings(tmp_path / "rag.ini", environ={})

    def test_a_shadowed_reference_needs_no_vault(self, tmp_path: Path) -> None:
        (tmp_path / "rag.ini").write_text("[chat]\napi_key = ${vault:key}\n")
        loaded = load_settings(tmp_path / "rag.ini", environ={"RAG_CHAT__API_KEY": "mine"})
        assert loaded.chat.api_key == SecretStr("mine")
        assert source_of(loaded, "chat.api_key").vaults == ()

    def test_an_azure_secret_may_come_from_aws_and_each_key_says_where_from(self, tmp_path: Path) -> None:
        text = "[azure]\nclient_secret = ${aws:prod/rag#azure}\n[persistence]\ndsn = postgresql://u:${vault:pg}@db/${aws:n}\n[secrets]\nvault = https://rag.vault.azure.net\n"
        (tmp_path / "rag.ini").write_text(text)
        loaded = load_settings(tmp_path / "rag.ini", environ={})
        assert dict(live_secrets(loaded)).keys() == {"azure.client_secret", "persistence.dsn"}
        assert source_of(loaded, "azure.client_secret").vaults == ("AWS Secrets Manager, secret prod/rag, key azure",)
        assert str(source_of(loaded, "persistence.dsn")).endswith("(Azure Key Vault rag, secret pg; AWS Secrets Manager, secret n)")

    def test_the_same_places_are_the_same_secret_and_those_of_another_vault_are_not(self, tmp_path: Path) -> None:
        def load(vault: str, name: str = "key") -> SecretStr | None:
            (tmp_path / "rag.ini").write_text(f"[chat]\napi_key = ${{vault:{name}}}\n[secrets]\nvault = https://{vault}\n")
            return load_settings(tmp_path / "rag.ini", environ={}).chat.api_key

        assert load("a") == load("a")
        assert hash(load("a")) == hash(load("a"))
        assert load("a") != load("b")
        assert load("a") != load("a", "other")

    @pytest.mark.parametrize(
        ("text", "hop"),
        [
            ("${vault:key}\n[secrets]\nvault = https://rag.vault.azure.net/", "https://rag.vault.azure.net"),
            ("${aws:key}", "AWS Secrets Manager"),
            ("${aws:key}\n[secrets]\naws_endpoint = https://vpce.company.com", "https://vpce.company.com"),
        ],
    )
    def test_each_vault_has_an_address_for_errors(self, tmp_path: Path, text: str, hop: str) -> None:
        (tmp_path / "rag.ini").write_text(f"[persistence]\npassword = {text}\n")
        [(_, secret)] = live_secrets(load_settings(tmp_path / "rag.ini", environ={}))
        [place] = secret.held
        assert isinstance(place, VaultSecret)
        assert place._hop(place.reference) == hop


class TestVaultSecret:
    def test_it_is_read_when_it_is_first_asked_for(self) -> None:
        vault = Vault()
        assert vault.reads == 0
        assert vault.secret.get_secret_value() == "one"
        assert vault.secret.get_secret_value() == "one"
        assert vault.reads == 1

    async def test_all_who_ask_share_one_reading(self) -> None:
        vault = Vault()
        vault.gate.clear()
        asking = [asyncio.create_task(current(vault.secret)) for _ in range(100)]
        await asyncio.sleep(0)
        asking[0].cancel()
        vault.gate.set()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert outcomes[1:] == ["one"] * 99
        assert vault.reads == 1

    def test_over_its_time_the_old_value_serves_until_the_new_one_is_there(self) -> None:
        vault = Vault(ttl_s=100)
        vault.secret.get_secret_value()
        settled(vault)
        vault.value, vault.now = "two", 100.0
        vault.gate.clear()
        assert [vault.secret.get_secret_value() for _ in range(5)] == ["one"] * 5
        vault.gate.set()
        settled(vault)
        assert vault.secret.get_secret_value() == "two"
        assert vault.reads == 2

    def test_an_outage_keeps_the_last_value_and_is_told(self) -> None:
        vault = Vault(ttl_s=100)
        vault.secret.get_secret_value()
        settled(vault)
        vault.now, vault.error = 100.0, ServiceUnavailableError("down", hop="https://rag")
        assert vault.secret.get_secret_value() == "one"
        settled(vault)
        assert vault.held.error is vault.error
        assert [vault.secret.get_secret_value() for _ in range(5)] == ["one"] * 5
        assert vault.reads == 2, "it is left alone for a while"
        vault.now, vault.error, vault.value = 100 + PAUSE_S, None, "two"
        vault.secret.get_secret_value()
        settled(vault)
        assert vault.secret.get_secret_value() == "two"
        assert vault.held.error is None

    def test_a_first_reading_that_fails_is_an_error_for_each_and_asked_again_after_a_pause(self) -> None:
        vault = Vault()
        vault.error = ServiceUnavailableError("down", hop="https://rag")
        errors = []
        for _ in range(3):
            with pytest.raises(ServiceUnavailableError) as caught:
                vault.secret.get_secret_value()
            errors.append(caught.value)
        assert vault.reads == 1
        assert len({id(error) for error in errors}) == 3
        vault.now, vault.error = PAUSE_S, None
        assert vault.secret.get_secret_value() == "one"

    async def test_who_waits_in_vain_learns_for_whom_and_how_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(held_module, "GRACE_S", 0.0)
        vault = Vault(timeout_s=0.01)
        vault.gate.clear()
        with pytest.raises(DeadlineExceededError) as blocking:
            vault.secret.get_secret_value()
        with pytest.raises(DeadlineExceededError) as awaited:
            await current(vault.secret)
        vault.gate.set()
        assert {(found.value.hop, found.value.setting) for found in (blocking, awaited)} == {("https://rag.vault.azure.net", "secrets.timeout_s")}

    def test_what_a_library_fails_with_is_not_repeated(self) -> None:
        vault = Vault()
        vault.error = RuntimeError("with a canary-6a6a in it")
        with pytest.raises(Exception, match="RuntimeError") as caught:
            vault.secret.get_secret_value()
        assert "canary" not in str(caught.value)

    async def test_a_refused_value_is_read_again_once_however_many_were_refused(self) -> None:
        vault = Vault()
        await current(vault.secret)
        vault.value = "two"
        assert all(await asyncio.gather(*(renewed(vault.secret, "one") for _ in range(50))))
        assert vault.reads == 2
        assert await current(vault.secret) == "two"

    async def test_a_value_that_stays_wrong_is_not_asked_for_with_each_refusal(self) -> None:
        vault = Vault()
        await current(vault.secret)
        assert [await renewed(vault.secret, "one") for _ in range(10)] == [False] * 10
        assert vault.reads == 2
        vault.now = PAUSE_S
        assert not renewed_blocking(vault.secret, "one")
        assert vault.reads == 3

    async def test_a_vault_that_is_down_when_a_value_was_refused_changes_nothing(self) -> None:
        vault = Vault()
        await current(vault.secret)
        vault.error = ServiceUnavailableError("down")
        assert not await renewed(vault.secret, "one")
        assert await current(vault.secret) == "one"


class TestLiveSecret:
    def test_comparing_asks_no_vault(self) -> None:
        vault = Vault()
        assert vault.secret != SecretStr("one")
        assert vault.reads == 0
        vault.secret.get_secret_value()
        assert vault.secret == SecretStr("one")

    def test_parts_and_text_make_one_value(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("word\n")
        secret = LiveSecret(("postgresql://u:", FileSecret(tmp_path / "f"), "@db"))
        assert secret.get_secret_value() == "postgresql://u:word@db"
        assert secret.derived(str.upper).get_secret_value() == "POSTGRESQL://U:WORD@DB"

    def test_it_shows_nothing_of_itself_and_is_not_pickled(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("canary-17")
        secret = LiveSecret((FileSecret(tmp_path / "f"),))
        assert secret.get_secret_value() == "canary-17"
        assert "canary" not in f"{secret} {secret!r} {vars(secret)}"
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(secret)
        assert copy.copy(secret) is secret
        assert copy.deepcopy(secret) is secret

    async def test_plain_secrets_are_current_and_never_renewed(self) -> None:
        assert await current(SecretStr("x")) == "x"
        assert not await renewed(SecretStr("x"), "x")
        assert not renewed_blocking(SecretStr("x"), "x")


class TestFileSecret:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        (tmp_path / "f").write_text("one\n")
        return tmp_path / "f"

    @pytest.mark.parametrize(
        "write",
        [
            lambda file: file.write_text(" two \n"),
            lambda file: (file.parent / "new").write_text("two") and (file.parent / "new").replace(file),
        ],
        ids=["in place", "by renaming"],
    )
    def test_a_file_that_changed_is_read_again(self, file: Path, write: Callable[[Path], object]) -> None:
        held = FileSecret(file)
        assert held.ask() == "one"
        write(file)
        assert held.ask() == "two"
        assert held.error is None

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda file: file.unlink(), "cannot be read"),
            (lambda file: file.write_text(""), "is empty"),
            (lambda file: file.write_bytes(b"\xff\xfe\xff"), "is not UTF-8"),
            (lambda file: file.write_bytes(b"x" * 2**21), "is not UTF-8 text of at most"),
        ],
        ids=["gone", "empty", "bytes", "large"],
    )
    def test_the_last_value_serves_while_the_file_cannot_and_that_is_told(self, file: Path, spoil: Callable[[Path], object], said: str) -> None:
        held = FileSecret(file)
        spoil(file)
        assert held.ask() == "one"
        assert said in str(held.error)
        file.write_text("two")
        assert held.ask() == "two"
        assert held.error is None
