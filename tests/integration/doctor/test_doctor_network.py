"""`rag doctor` on the way to a service: which step fails, whose setting it is, and what would mend it. Real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from src.infra.config import Settings
from src.infra.doctor import HopReport, channel, diagnose
from tests.emulators.azure_openai import AzureOpenAIEmulator
from tests.emulators.proxy import Proxy
from tests.emulators.service import Service, client_certificate
from tests.integration.doctor.checks import azure_values, checked, settings_of, states

CHAT = {"chat.provider": "openai", "chat.model": "gpt-4", "chat.api_key": "a-secret-key"}


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA(organization_name="Bank of Tests")


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "bank-ca.pem")
    return str(tmp_path / "bank-ca.pem")


@pytest.fixture
def asking(tmp_path: Path, bundle: str) -> Callable[..., Settings]:
    """Settings of a chat model at a service of the authority."""

    def make(url: str, **more: Any) -> Settings:
        given = {name.replace("__", "."): value for name, value in more.items()}
        return settings_of(tmp_path, {**CHAT, "chat.api_base": f"{url}/v1", "network.ca_bundle": bundle, **given})

    return make


def fix_of(hop: HopReport) -> dict[str, str]:
    return {fix.key: fix.value for fix in hop.worst.told.fixes}


async def test_a_good_way_is_told_step_by_step_with_signer_and_expiry(authority: trustme.CA, asking: Callable[..., Settings]) -> None:
    with Service(authority).running() as service:
        hop = await checked(asking(service.url), "chat")
        assert states(hop) == {"settings": "ok", "name": "ok", "tcp": "ok", "tls": "warning", "identity": "ok", "service": "ok"}
        assert "Bank of Tests" in hop.steps[3].finding.message
        assert "expires in" in hop.message
        assert service.requests == 1


async def test_an_unknown_name_is_the_address_s_fault_and_nothing_after_it_is_reached(asking: Callable[..., Settings]) -> None:
    hop = await checked(asking("https://no-such-host.invalid"), "chat")
    assert (hop.status, hop.step, hop.setting, hop.source) == ("failed", "name", "chat.api_base", "override")
    assert states(hop) == {"settings": "ok", "name": "failed", "tcp": "not reached", "tls": "not reached", "identity": "not reached", "service": "not reached"}
    assert hop.hint


async def test_a_closed_port_fails_at_tcp(asking: Callable[..., Settings]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    hop = await checked(asking(f"https://localhost:{port}"), "chat")
    assert (hop.step, hop.setting) == ("tcp", "chat.api_base")


async def test_a_missing_authority_is_named_and_so_is_the_bundle(authority: trustme.CA, asking: Callable[..., Settings], tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with Service(authority).running() as service:
        hop = await checked(asking(service.url, network__ca_bundle=str(other)), "chat")
        assert service.requests == 0
    assert (hop.step, hop.setting, hop.code) == ("tls", "network.ca_bundle", "tls")
    assert "missing here is" in hop.message
    assert "Bank of Tests" in hop.message
    assert list(fix_of(hop)) == ["network.ca_bundle"]


async def test_an_authority_of_the_same_name_with_another_key_is_told_as_that(asking: Callable[..., Settings], tmp_path: Path) -> None:
    old, new = (trustme.CA(organization_name="Bank", organization_unit_name="Root") for _ in range(2))
    old.cert_pem.write_to_path(tmp_path / "old.pem")
    with Service(new).running() as service:
        hop = await checked(asking(service.url, network__ca_bundle=str(tmp_path / "old.pem")), "chat")
    assert (hop.step, hop.setting) == ("tls", "network.ca_bundle")
    assert "with another key" in hop.message
    assert "Replace it" in hop.hint


@pytest.mark.parametrize(("mode", "status"), [("add", "warning"), ("replace", "failed")])
async def test_authorities_that_let_nothing_be_trusted_are_told_with_what_to_do(
    mode: str, status: str, authority: trustme.CA, asking: Callable[..., Settings], tmp_path: Path
) -> None:
    from datetime import timedelta

    from tests.emulators.certificates import issue

    empty, loose, ended = tmp_path / "empty", tmp_path / "loose", tmp_path / "ended.pem"
    empty.mkdir()
    loose.mkdir()
    authority.cert_pem.write_to_path(loose / "bank.pem")
    issue("Old Root", authority=True, starts=timedelta(days=-9), ends=timedelta(days=-2)).written(ended)
    for place, word in ((empty, "holds no authority"), (loose, "openssl rehash"), (ended, "has expired")):
        hop = await checked(asking("https://localhost:1", network__ca_bundle=str(place), network__ca_mode=mode), "network")
        assert (hop.status, hop.step, hop.setting) == (status, "authorities", "network.ca_bundle")
        assert word in f"{hop.message} {hop.hint}"


async def test_a_folder_of_authorities_by_hash_is_good(authority: trustme.CA, asking: Callable[..., Settings], tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "0a1b2c3d.0")
    assert (await checked(asking("https://localhost:1", network__ca_bundle=str(tmp_path), network__ca_mode="replace"), "network")).status == "ok"


async def test_a_self_signed_certificate_is_called_that(asking: Callable[..., Settings], tmp_path: Path) -> None:
    from tests.emulators.certificates import issue

    leaf = issue("localhost").written(tmp_path / "self.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf)
    with serving(context) as port:
        hop = await checked(asking(f"https://localhost:{port}"), "chat")
    assert (hop.step, hop.setting) == ("tls", "network.ca_bundle")
    assert "self-signed" in hop.message


async def test_an_expired_certificate_says_when_it_ended(authority: trustme.CA, asking: Callable[..., Settings]) -> None:
    with Service(authority, expired=True).running() as service:
        hop = await checked(asking(service.url), "chat")
    assert (hop.step, hop.setting) == ("tls", "chat.api_base")
    assert "ended on" in hop.message


async def test_another_host_s_certificate_names_its_hosts_and_the_address_that_would_do(authority: trustme.CA, asking: Callable[..., Settings]) -> None:
    with Service(authority, "chat.bank.test", "other.bank.test").running() as service:
        hop = await checked(asking(service.url), "chat")
    assert (hop.step, hop.setting) == ("tls", "chat.api_base")
    assert "chat.bank.test" in hop.message
    assert fix_of(hop) == {"chat.api_base": f"https://chat.bank.test:{service.port}/v1"}


@pytest.mark.parametrize("newest", ["1.2", "1.3"])
async def test_a_client_certificate_that_is_demanded_fails_at_tls_and_mends_it(
    newest: str, authority: trustme.CA, asking: Callable[..., Settings], tmp_path: Path
) -> None:
    with Service(authority, demands_certificate=True, newest=newest).running() as service:
        hop = await checked(asking(service.url), "chat")
        assert (hop.step, hop.setting) == ("tls", "network.client_certificate")
        assert list(fix_of(hop)) == ["network.client_certificate"]
        shown = client_certificate(authority, tmp_path / "client.pem")
        hop = await checked(asking(service.url, network__client_certificate=str(shown)), "chat")
        assert hop.status != "failed"


async def test_an_old_server_under_a_strict_minimum_names_the_minimum(authority: trustme.CA, asking: Callable[..., Settings]) -> None:
    with Service(authority, newest="1.2").running() as service:
        hop = await checked(asking(service.url, network__tls_min_version="1.3"), "chat")
        assert (hop.step, hop.setting) == ("tls", "network.tls_min_version")
        assert fix_of(hop) == {"network.tls_min_version": "1.2"}


async def test_plain_http_at_an_https_address_names_the_address(authority: trustme.CA, asking: Callable[..., Settings]) -> None:
    with Service(authority, way="plain").running() as service:
        hop = await checked(asking(service.url), "chat")
    assert (hop.step, hop.setting) == ("tls", "chat.api_base")
    assert fix_of(hop) == {"chat.api_base": f"http://localhost:{service.port}/v1"}


async def test_a_silent_server_ends_with_the_hop_s_time_and_says_whose_limit_that_was(authority: trustme.CA, asking: Callable[..., Settings]) -> None:
    with Service(authority, way="silent").running() as service:
        hop = await checked(asking(service.url), "chat", timeout_s=3)
    assert (hop.step, hop.setting) == ("tls", "chat.api_base")
    assert "--timeout" in hop.hint
    assert hop.hint.count("network.connect_timeout_s") == 1


@pytest.mark.parametrize("way", ["close", "cut", "garbage"])
async def test_a_service_that_answers_badly_fails_at_its_own_step(way: Any, authority: trustme.CA, asking: Callable[..., Settings]) -> None:
    with Service(authority, way=way).running() as service:
        hop = await checked(asking(service.url), "chat")
    assert (hop.step, hop.setting) == ("service", "chat.api_base")


# -- the proxy


@pytest.fixture
def proxy(azure: AzureOpenAIEmulator) -> Iterator[Proxy]:
    with Proxy("clerk", "pr0xy-passw0rd", {f"localhost:{azure.port}": azure.port}).running() as found:
        yield found


async def test_through_the_proxy_every_step_is_the_proxy_s_or_the_host_s(azure: AzureOpenAIEmulator, proxy: Proxy, tmp_path: Path) -> None:
    url = f"http://clerk:pr0xy-passw0rd@localhost:{proxy.port}"
    settings = settings_of(tmp_path, azure_values(azure, network__proxy=url))
    hop = await checked(settings, "chat")
    assert states(hop) == dict.fromkeys(["settings", "name", "tcp", "proxy", "tls", "identity", "service"], "ok")
    assert set(proxy.asked) == {f"localhost:{azure.port}"}
    assert (await checked(settings, "proxy")).status == "ok"


async def test_a_credential_that_the_proxy_refuses_names_it_at_the_proxy_and_at_each_hop_behind(
    azure: AzureOpenAIEmulator, proxy: Proxy, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, azure_values(azure, network__proxy=f"http://clerk:wrong-passw0rd@localhost:{proxy.port}"))
    for name in ("proxy", "chat", "embed"):
        hop = await checked(settings, name)
        assert (hop.step, hop.setting) == ("proxy", "network.proxy_username")
        assert "wrong-passw0rd" not in repr(hop)
        assert {fix.key: fix.ready for fix in hop.worst.told.fixes} == {"network.proxy_username": False, "network.proxy_password": False}
    assert azure.requests == []


async def test_a_proxy_that_is_not_there_fails_at_its_own_tcp_step(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = settings_of(tmp_path, azure_values(azure, network__proxy=f"http://localhost:{port}"))
    for name in ("proxy", "chat"):
        hop = await checked(settings, name)
        assert (hop.step, hop.setting) == ("tcp", "network.proxy")


@pytest.mark.parametrize("status", [403, 502])
async def test_a_host_that_the_proxy_refuses_is_offered_for_no_proxy_and_goes_green_with_it(status: int, azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    with refusing(f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n") as port:
        values = azure_values(azure, network__proxy=f"http://localhost:{port}", network__no_proxy="10.0.0.0/8")
        hop = await checked(settings_of(tmp_path, values), "chat")
        assert (hop.step, hop.setting) == ("proxy", "network.proxy")
        assert fix_of(hop) == {"network.no_proxy": "10.0.0.0/8, localhost"}
        assert (await checked(settings_of(tmp_path, values | fix_of(hop)), "chat")).status == "ok"
        assert (await checked(settings_of(tmp_path, values), "proxy")).status == "ok"


async def test_plain_http_meets_the_proxy_in_its_requests_and_fails_at_the_proxy_s_step_all_the_same(tmp_path: Path) -> None:
    with Proxy("clerk", "passw0rd", {}).running() as found:
        values = {**CHAT, "chat.api_base": "http://model.bank.test/v1", "network.proxy": f"http://localhost:{found.port}"}
        values |= {"search.host": "http://search.bank.test:9200", "telemetry.enabled": True, "telemetry.endpoint": "http://otel.bank.test:4318"}
        report = await diagnose(settings_of(tmp_path, values), hops=["chat", "search", "otlp"])
    for hop in report.hops:
        assert (hop.step, hop.setting) == ("proxy", "network.proxy_username")
        assert list(fix_of(hop)) == ["network.proxy_username", "network.proxy_password"]


async def test_a_proxy_that_takes_no_basic_credential_says_what_it_takes_and_what_then(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    answer = "HTTP/1.1 407 Who?\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\ncontent-length: 0\r\n\r\n"
    with refusing(answer) as port:
        settings = settings_of(tmp_path, azure_values(azure, network__proxy=f"http://localhost:{port}"))
        for name in ("proxy", "chat"):
            hop = await checked(settings, name)
            assert (hop.step, hop.setting) == ("proxy", "network.proxy_username")
            assert "Negotiate, NTLM only" in hop.message
            assert "relay" in hop.hint


async def test_a_host_that_goes_round_the_proxy_and_cannot_be_found_points_at_the_exceptions(azure: AzureOpenAIEmulator, proxy: Proxy, tmp_path: Path) -> None:
    values = azure_values(azure, network__proxy=f"http://localhost:{proxy.port}", network__no_proxy="invalid", chat__api_base="https://no-such-host.invalid")
    hop = await checked(settings_of(tmp_path, values), "chat")
    assert hop.step == "name"
    assert "network.no_proxy" in hop.hint


async def test_an_address_whose_first_machine_is_silent_is_reached_by_its_second(monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing("") as port:
        given = asyncio.open_connection

        async def silent_at_first(address: str, at: int) -> Any:
            if address == "::1":
                await asyncio.Event().wait()
            return await given(address, at)

        monkeypatch.setattr(asyncio, "open_connection", silent_at_first)
        found, address = await channel.connect(["::1", "127.0.0.1"], port)
        found.close()
    assert address == "127.0.0.1"


@pytest.mark.parametrize("answer", ["", "SSH-2.0-OpenSSH\r\n\r\n"])
async def test_something_that_is_no_proxy_fails_at_the_proxy_s_step(answer: str, azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    with refusing(answer) as port:
        hop = await checked(settings_of(tmp_path, azure_values(azure, network__proxy=f"http://localhost:{port}")), "chat")
    assert (hop.step, hop.setting) == ("proxy", "network.proxy")


PAGE = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 19\r\n\r\n<html>Log in</html>"


@pytest.mark.parametrize("answer", ["HTTP/1.1 302 Login\r\nlocation: /login\r\n\r\n", "HTTP/1.1 511 Sign in\r\n\r\n", PAGE])
async def test_a_login_page_in_place_of_an_open_way_is_the_proxy_s_failure(answer: str, azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    with refusing(answer) as port:
        settings = settings_of(tmp_path, azure_values(azure, network__proxy=f"http://clerk:word@localhost:{port}"))
        for name in ("proxy", "chat"):
            hop = await checked(settings, name)
            assert (hop.status, hop.step, hop.setting) == ("failed", "proxy", "network.proxy")
            assert "login" in hop.hint


async def test_a_proxy_that_refuses_a_host_is_not_said_to_take_the_user(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    with refusing("HTTP/1.1 502 No\r\ncontent-length: 0\r\n\r\n") as port:
        hop = await checked(settings_of(tmp_path, azure_values(azure, network__proxy=f"http://clerk:word@localhost:{port}")), "proxy")
    assert hop.status == "ok"
    assert "takes the user" not in hop.steps[-1].finding.message


async def test_a_proxy_that_says_to_wait_has_said_nothing_yet(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    for answer, status in (("HTTP/1.1 100 Wait\r\n\r\n", "failed"), ("HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "ok")):
        with refusing(answer) as port:
            hop = await checked(settings_of(tmp_path, azure_values(azure, network__proxy=f"http://localhost:{port}")), "proxy")
        assert hop.status == status


async def test_a_name_outside_ascii_is_asked_for_as_the_clients_write_it(tmp_path: Path) -> None:
    with Proxy("", "", {}).running() as found:
        values = {**CHAT, "chat.api_base": "https://банк.test/v1", "network.proxy": f"http://localhost:{found.port}"}
        hop = await checked(settings_of(tmp_path, values), "chat")
    assert found.asked[0] == "xn--80ab2al.test:443"
    assert (hop.step, hop.code) == ("proxy", "unreachable")


async def test_a_proxy_whose_address_cannot_be_read_is_a_hop_that_fails(tmp_path: Path) -> None:
    hop = await checked(settings_of(tmp_path, {**CHAT, "chat.api_base": "https://model.bank.test/v1", "network.proxy": "http://:99999"}), "proxy")
    assert (hop.status, hop.step, hop.setting) == ("failed", "settings", "network.proxy")


async def test_a_proxy_over_tls_is_verified_like_every_host(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    stranger = trustme.CA()
    with Service(stranger).running() as service:
        hop = await checked(settings_of(tmp_path, azure_values(azure, network__proxy=service.url)), "chat")
    assert (hop.status, hop.step, hop.setting) == ("failed", "proxy", "network.ca_bundle")
    assert "The proxy" in hop.message


async def test_a_proxy_auto_config_file_stops_every_hop_with_the_same_words(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, azure_values(azure, network__proxy="http://bank.test/proxy.pac"))
    for name in ("network", "chat"):
        hop = await checked(settings, name)
        assert (hop.status, hop.setting) == ("failed", "network.proxy")
    assert "PAC" in hop.message


# -- the policy


async def test_a_bundle_that_cannot_be_read_fails_at_the_policy_and_at_each_hop(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, azure_values(azure, network__ca_bundle=str(tmp_path / "gone.pem")))
    assert (await checked(settings, "network")).step == "authorities"
    hop = await checked(settings, "chat")
    assert (hop.step, hop.setting) == ("tls", "network.ca_bundle")


async def test_a_client_certificate_that_ends_soon_is_a_warning_and_one_that_ended_a_failure(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    from datetime import timedelta

    from tests.emulators.certificates import issue

    for name, ends, status, word in (
        ("soon.pem", timedelta(days=9), "warning", "expires in"),
        ("gone.pfx", timedelta(hours=-1), "failed", "expired on"),
    ):
        shown = issue("client", ends=ends).written(tmp_path / name)
        hop = await checked(settings_of(tmp_path, azure_values(azure, network__client_certificate=str(shown))), "network")
        assert (hop.status, hop.step, hop.setting) == (status, "certificate", "network.client_certificate")
        assert word in hop.message


async def test_a_client_certificate_that_cannot_be_used_fails_at_its_own_step(azure: AzureOpenAIEmulator, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, azure_values(azure, network__client_certificate=str(tmp_path / "gone.pem")))
    hop = await checked(settings, "network")
    assert (hop.step, hop.setting) == ("certificate", "network.client_certificate")
    assert states(hop)["authorities"] == "ok"


async def test_plain_http_to_another_machine_is_a_warning_and_to_this_one_is_none(tmp_path: Path) -> None:
    values = {**CHAT, "network.connect_timeout_s": 0.2}
    far = await checked(settings_of(tmp_path, values | {"chat.api_base": "http://192.0.2.1:9/v1"}), "chat", timeout_s=5)
    assert far.steps[1].warnings
    assert "plain http" in far.steps[1].warnings[0].message
    near = await checked(settings_of(tmp_path, values | {"chat.api_base": "http://127.0.0.1:9/v1"}), "chat", timeout_s=5)
    assert not near.steps[1].warnings


@contextmanager
def refusing(answer: str) -> Iterator[int]:
    """A server that reads a request's head and says one thing."""

    def serve(conversation: socket.socket) -> None:
        while b"\r\n\r\n" not in conversation.recv(65536):
            pass
        conversation.sendall(answer.encode())

    with _listening(serve) as port:
        yield port


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[int]:
    """A server that does no more than a handshake."""

    def serve(conversation: socket.socket) -> None:
        context.wrap_socket(conversation, server_side=True).recv(1)

    with _listening(serve) as port:
        yield port


@contextmanager
def _listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    conversation, _ = listener.accept()
                except OSError:
                    return
                with conversation:
                    conversation.settimeout(5)
                    try:
                        serve(conversation)
                    except OSError:
                        continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
