"""Who may ask, and from where."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection

from src.api.auth import BearerTokens, check_bind_address, hash_token, host_of, is_loopback, make_authenticator, read_tokens
from src.core.identity import Identity
from src.errors import AuthenticationError, ConfigurationError, ServiceUnavailableError
from src.infra.config import ApiCfg


def connection(authorization: str | None) -> HTTPConnection:
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    return HTTPConnection({"type": "http", "headers": headers})


def tokens_file(folder: Path, entries: dict[str, Any]) -> Path:
    path = folder / "tokens.json"
    path.write_text(json.dumps({hash_token(token): entry for token, entry in entries.items()}), encoding="utf-8")
    return path


async def test_a_token_is_the_identity_of_its_entry(tmp_path: Path) -> None:
    tokens = BearerTokens(tokens_file(tmp_path, {"t1": {"user": "ana", "tenant": "north", "groups": ["ops"]}, "t2": {"user": "bo"}}))
    assert await tokens.identify(connection("Bearer t1")) == Identity("ana", "north", ("ops",))
    assert await tokens.identify(connection("bearer  t2 ")) == Identity("bo")


async def test_the_single_token_is_the_user_api_beside_those_of_the_file(tmp_path: Path) -> None:
    tokens = BearerTokens(tokens_file(tmp_path, {"t1": {"user": "ana"}}), "single")
    assert await tokens.identify(connection("Bearer single")) == Identity("api")
    assert (await tokens.identify(connection("Bearer t1"))).user == "ana"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic dDE6", "t1", "Bearer t2", "Bearer t1x"])
async def test_anything_but_a_known_bearer_token_is_refused(tmp_path: Path, header: str | None) -> None:
    tokens = BearerTokens(tokens_file(tmp_path, {"t1": {"user": "ana"}}))
    with pytest.raises(AuthenticationError):
        await tokens.identify(connection(header))


async def test_a_hash_is_no_token(tmp_path: Path) -> None:
    tokens = BearerTokens(tokens_file(tmp_path, {"t1": {"user": "ana"}}))
    with pytest.raises(AuthenticationError):
        await tokens.identify(connection(f"Bearer {hash_token('t1')}"))


@given(st.text(alphabet=st.characters(max_codepoint=255)))
async def test_no_header_whatever_it_holds_is_more_than_an_unknown_token(header: str) -> None:
    with pytest.raises(AuthenticationError):
        await BearerTokens(None, "the-token-that-nobody-guesses").identify(connection(header))


async def test_a_changed_file_counts_at_once_and_a_removed_token_no_longer(tmp_path: Path) -> None:
    path = tokens_file(tmp_path, {"t1": {"user": "ana"}})
    tokens = BearerTokens(path)
    await tokens.identify(connection("Bearer t1"))
    tokens_file(tmp_path, {"t2": {"user": "bo"}})
    os.utime(path, ns=(1, 1))
    assert (await tokens.identify(connection("Bearer t2"))).user == "bo"
    with pytest.raises(AuthenticationError):
        await tokens.identify(connection("Bearer t1"))


@pytest.mark.parametrize("broken", [None, "", '{"%s": {"user"' % ("0" * 64)])
async def test_a_tokens_file_that_breaks_while_serving_keeps_its_last_tokens_and_tells_callers_nothing(
    tmp_path: Path, client_of: Any, caplog: pytest.LogCaptureFixture, broken: str | None
) -> None:
    path = tokens_file(tmp_path, {"t1": {"user": "ana"}})
    async with client_of(auth="tokens", tokens_file=path) as client:
        path.unlink() if broken is None else path.write_text(broken)
        for _ in range(3):
            refused = await client.get("/v1/threads", headers={"Authorization": "Bearer whatever"})
            assert refused.status_code == 401
            assert str(tmp_path) not in refused.text
            assert (await client.get("/v1/threads", headers={"Authorization": "Bearer t1"})).status_code == 200
        said = [record for record in caplog.records if "tokens file" in record.getMessage()]
        assert len(said) == 1
        tokens_file(tmp_path, {"t2": {"user": "bo"}})
        assert (await client.get("/v1/threads", headers={"Authorization": "Bearer t2"})).status_code == 200
        assert (await client.get("/v1/threads", headers={"Authorization": "Bearer t1"})).status_code == 401


async def test_a_tokens_file_that_was_never_read_lets_nobody_in(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailableError) as caught:
        await BearerTokens(tmp_path / "none.json", "single").identify(connection("Bearer single"))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"plain-token": {"user": "a"}}', '{"%s": {"user": ""}}' % ("0" * 64), '{"%s": {"user": "a", "role": "x"}}' % ("0" * 64)]
)
def test_an_unusable_tokens_file_is_a_configuration_error_that_does_not_print_its_content(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_tokens(path)
    assert caught.value.setting == "api.tokens_file"
    assert "plain-token" not in str(caught.value)


def test_a_missing_tokens_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="rag token create"):
        read_tokens(tmp_path / "none.json")


def test_tokens_without_anything_to_check_and_a_token_that_nobody_checks_are_refused(make_settings: Any) -> None:
    with pytest.raises(ConfigurationError, match="tokens_file"):
        make_authenticator(make_settings(auth="tokens"))
    with pytest.raises(ConfigurationError, match=r"api\.auth"):
        make_authenticator(make_settings(token="secret-value"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST", "::1", "[::1]", "rag.localhost", "localhost."])
def test_loopback_is_served_without_authentication(host: str) -> None:
    assert is_loopback(host)
    check_bind_address(ApiCfg(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "192.168.1.5", "example.com", "", "127.0.0.1.evil.com", "localhost.evil.com", "2130706433"])
def test_any_other_address_is_refused_without_authentication(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"api\.host.*api\.auth") as caught:
        check_bind_address(ApiCfg(host=host))
    assert caught.value.setting == "api.host"
    check_bind_address(ApiCfg(host=host, auth="tokens"))


@given(st.text())
def test_a_host_header_of_any_shape_can_be_read(authority: str) -> None:
    assert isinstance(is_loopback(host_of(authority)), bool)


@pytest.mark.parametrize("host", ["evil.com", "127.0.0.1.evil.com:8000", "10.0.0.1", "", "0.0.0.0:8000", "user@evil.com"])
async def test_a_foreign_host_header_is_misdirected_even_for_the_page(client_of: Any, host: str) -> None:
    async with client_of() as client:
        for path in ("/", "/health/live", "/v1/documents"):
            response = await client.get(path, headers={"Host": host})
            assert response.status_code == 421
            assert response.json()["code"] == "misdirected"


@pytest.mark.parametrize("origin", ["http://evil.com", "null", "http://127.0.0.1:9999", "https://127.0.0.1.evil.com", "http://["])
async def test_another_sites_page_may_not_post_to_the_local_server(client_of: Any, origin: str) -> None:
    async with client_of() as client:
        response = await client.post("/v1/documents", files={"files": ("a.txt", b"x")}, headers={"Origin": origin})
    assert response.status_code == 403


async def test_the_own_page_and_the_listed_origins_may_post(client_of: Any) -> None:
    async with client_of(cors_origins=("https://intra.company.com",)) as client:
        for origin in ("http://127.0.0.1", "https://intra.company.com"):
            response = await client.post("/v1/search", json={}, headers={"Origin": origin})
            assert response.status_code == 422


async def test_cors_is_off_unless_origins_are_listed(client_of: Any) -> None:
    preflight = {"Origin": "https://intra.company.com", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with client_of(auth="tokens", token="t") as client:
        off = await client.options("/v1/chat", headers=preflight)
    async with client_of(auth="tokens", token="t", cors_origins=("https://intra.company.com",)) as client:
        on = await client.options("/v1/chat", headers=preflight)
        refused = await client.post("/v1/search", json={}, headers={"Origin": "https://intra.company.com"})
    assert "access-control-allow-origin" not in off.headers
    assert on.status_code == 200
    assert on.headers["access-control-allow-origin"] == "https://intra.company.com"
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://intra.company.com"


async def test_everything_private_asks_for_a_token_and_says_so(client_of: Any) -> None:
    async with client_of(auth="tokens", token="the-token") as client:
        for method, path in [("GET", "/v1/threads"), ("POST", "/v1/chat"), ("GET", "/v1/documents/x/file"), ("GET", "/nothing"), ("PUT", "/v1/search")]:
            response = await client.request(method, path)
            assert response.status_code == 401, path
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert response.headers["content-type"] == "application/problem+json"
        bad = await client.get("/v1/threads", headers={"Authorization": "Bearer wrong"})
        assert 'error="invalid_token"' in bad.headers["www-authenticate"]
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/health/live")).status_code == 200
