"""How an identity fails: each way names its hop and its setting."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from src.errors import (
    ConfigurationError,
    DeadlineExceededError,
    ForeignServiceError,
    IdentityError,
    OverloadedError,
    RagError,
    ServiceUnavailableError,
    TlsError,
    UnreachableError,
)
from src.infra.azure_auth import AzureTokens
from tests.emulators.entra import CLIENT, EntraEmulator, EntraReply
from tests.emulators.proxy import Proxy
from tests.integration.entra_world import PROXY_PASSWORD, World, failure


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
