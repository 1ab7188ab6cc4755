"""SigV4 against a server that checks every signature from the bytes that reached it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from pydantic import SecretStr

from src.errors import ConfigurationError, DeadlineExceededError, ServiceCredentialsError, ServiceUnavailableError, TlsError, UnreachableError
from src.infra.aws.signing import SigV4Signer, make_signer
from src.infra.clients import make_search_session
from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.search.opensearch.wire.transport import Transport
from src.infra.settings import load_settings
from tests.emulators.proxy import Proxy
from tests.samples import BANK
from tests.servers.sigv4 import REGION, ROLE, Aws, Known, Wire, canonical_path, canonical_query, canonical_request, expected_signature

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NDJSON = b'{"index":{"_id":"a/b c"}}\n{"text":"\xc3\xa9\xf0\x9f\x98\x80 line\\n"}\n' * 3
SERVICES = ["es", "aoss"]


@pytest.fixture(params=SERVICES)
def aws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Aws]:
    with Aws(tmp_path, service=request.param, known={KEY: Known(SECRET)}).running() as found:
        yield found


@pytest.fixture
def es(tmp_path: Path) -> Iterator[Aws]:
    with Aws(tmp_path, known={KEY: Known(SECRET)}).running() as found:
        yield found


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without AWS, a machine without metadata, and a hostile environment. Returns the folder for files of AWS."""
    folder = tmp_path / "aws"
    folder.mkdir()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "/nowhere.pem")
    return folder


def use_keys(folder: Path, key: str = KEY, secret: str = SECRET, token: str | None = None) -> None:
    lines = ["[default]", f"aws_access_key_id = {key}", f"aws_secret_access_key = {secret}", *([f"aws_session_token = {token}"] if token else [])]
    (folder / "credentials").write_text("\n".join(lines))


def policy(aws: Aws, **more: Any) -> NetworkPolicy:
    return NetworkPolicy(NetworkCfg(ca_bundle=aws.ca_file, **more))


def search(aws: Aws, **more: Any) -> SearchCfg:
    return SearchCfg(**{"host": aws.url, "use_aws_auth": True, "aws_region": REGION, "aws_service": aws.service, "max_retries": 0, "timeout_s": 20} | more)


def with_role(folder: Path, aws: Aws, sts: str | None = None) -> None:
    """STS is the test's own; the profile says where."""
    use_keys(folder)
    (folder / "config").write_text(f"[default]\nregion = {REGION}\nendpoint_url = {sts or aws.url}\n")


class Clock:
    def __init__(self) -> None:
        import time

        self.ahead = 0.0
        self._time = time.time

    def __call__(self) -> float:
        return self._time() + self.ahead


class TestTheChecker:
    """AWS's own published examples, so that the server below is worth asking."""

    def test_it_agrees_with_the_example_of_the_documentation(self) -> None:
        content_type = "application/x-www-form-urlencoded; charset=utf-8"
        headers = {"content-type": content_type, "host": "iam.amazonaws.com", "x-amz-date": "20150830T123600Z"}
        wire = Wire("GET", "/?Action=ListUsers&Version=2010-05-08", headers, b"")
        digest = hashlib.sha256(b"").hexdigest()
        request = canonical_request(wire, "content-type;host;x-amz-date", digest)
        assert hashlib.sha256(request.encode()).hexdigest() == "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
        found = expected_signature(wire, SECRET, "us-east-1", "iam", "content-type;host;x-amz-date", digest)
        assert found == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"

    def test_it_agrees_with_get_vanilla_of_the_test_suite(self) -> None:
        wire = Wire("GET", "/", {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}, b"")
        found = expected_signature(wire, SECRET, "us-east-1", "service", "host;x-amz-date", hashlib.sha256(b"").hexdigest())
        assert found == "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"

    def test_paths_are_encoded_once_more_and_queries_anew(self) -> None:
        assert canonical_path("/a%2Fb/c d//./x/../*,é/") == "/a%252Fb/c%20d/%2A%2C%C3%A9/"
        assert canonical_query("b=2&a=x,y&a=%2C+z&flag") == "a=%2C%20z&a=x%2Cy&b=2&flag="


PATHS = [
    "/",
    "/docs/_search",
    "/docs-*,other/_search",
    f"/docs/_doc/{quote('a/b', safe='')}",
    f"/docs/_doc/{quote('100% of é 😀 #1?&=+;', safe='')}",
    f"/docs/_doc/{quote('a b  c', safe='')}",
    "/docs/_doc/~.-_!$'()*,;=:@",
    f"/docs/_doc/{quote('..', safe='')}%2F..%2Fx",
    "/docs//_doc/1",
    "/%3Cdocs-%7Bnow%2Fd%7D%3E/_search",
]
QUERIES: list[dict[str, str] | None] = [
    None,
    {"filter_path": "hits.hits._id,-took,*", "q": "a+b c&d=é/?:@"},
    {"b": "2", "B": "1", "a-b": "~", "a": "", "ä": "%41", "routing": "😀;"},
]


class TestSigning:
    @pytest.mark.parametrize("params", QUERIES, ids=["none", "lists", "odd"])
    async def test_every_path_and_query_is_signed_as_it_is_sent(self, aws: Aws, home: Path, params: dict[str, str] | None) -> None:
        use_keys(home)
        network = policy(aws)
        transport = Transport(search(aws), network, signer=SigV4Signer(search(aws), network))
        for path in PATHS:
            await transport.perform("GET", path, params=params)
            await transport.perform("POST", path, params=params, body={"query": {"match": {"text": "é"}}})
        await transport.aclose()
        assert {wire.status for wire in aws.requests} == {200}
        assert aws.connections == 1

    @pytest.mark.parametrize("params", QUERIES, ids=["none", "lists", "odd"])
    def test_the_requests_session_signs_them_too(self, aws: Aws, home: Path, params: dict[str, str] | None) -> None:
        use_keys(home)
        session = make_search_session(search(aws), network=policy(aws))
        for path in PATHS:
            assert session.get(aws.url + path, params=params).ok, path
            assert session.post(aws.url + path, params=params, json={"text": "é"}).ok, path
        assert aws.connections == 1

    @pytest.mark.parametrize("size", [0, 1, 300_000])
    async def test_bodies_arrive_and_are_signed_byte_for_byte(self, aws: Aws, home: Path, size: int) -> None:
        use_keys(home)
        network = policy(aws)
        transport = Transport(search(aws), network, signer=make_signer(search(aws), network))
        body = (NDJSON * (size // len(NDJSON) + 1))[: size or None]
        answer = await transport.perform("POST", "/_bulk", body=body, retry=False)
        await transport.aclose()
        assert answer["body_sha256"] == hashlib.sha256(body).hexdigest()
        session = make_search_session(search(aws), network=network)
        answers = session.post(f"{aws.url}/_bulk", data=body, headers={"content-type": "application/x-ndjson"})
        assert answers.json()["body_sha256"] == hashlib.sha256(body).hexdigest()
        assert session.post(f"{aws.url}/_bulk", data="é text", headers={"content-type": "application/x-ndjson"}).ok

    async def test_a_session_token_is_sent_and_signed(self, aws: Aws, home: Path) -> None:
        name, issued = aws.issue()
        use_keys(home, name, issued.secret, issued.token)
        network = policy(aws)
        transport = Transport(search(aws), network, signer=SigV4Signer(search(aws), network))
        await transport.perform("GET", "/")
        await transport.aclose()
        assert make_search_session(search(aws), network=network).get(aws.url).ok
        assert {wire.headers["x-amz-security-token"] for wire in aws.requests} == {issued.token}

    def test_any_header_of_a_script_may_be_there(self, aws: Aws, home: Path) -> None:
        use_keys(home)
        session = make_search_session(search(aws), network=policy(aws))
        headers = {"x-amz-custom": "two   spaces", "x-opaque-id": "1", "date": "Mon, 01 Jan 2001 00:00:00 GMT", "authorization": "Basic eDp5"}
        assert session.get(aws.url, headers=headers).ok

    def test_threads_share_a_session(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        session = make_search_session(search(es, aws_role_arn=ROLE), network=policy(es))
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda n: session.post(f"{es.url}/d/_doc/{n}", json={"n": n}).status_code, range(200)))
        assert set(found) == {200}
        assert len(es.sts) == 1


class TestRoles:
    async def test_a_role_is_assumed_through_sts_under_the_policy(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        cfg = search(es, aws_role_arn=ROLE)
        transport = Transport(cfg, policy(es), signer=SigV4Signer(cfg, policy(es)))
        await asyncio.gather(*(transport.perform("GET", f"/{n}") for n in range(100)))
        await transport.aclose()
        assert len(es.sts) == 1
        assert {wire.access_key for wire in es.requests} == {"ASIAISSUED0000000001"}

    async def test_expired_credentials_are_renewed_by_one_call_under_a_hundred_requests(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        cfg, clock = search(es, aws_role_arn=ROLE), Clock()
        transport = Transport(cfg, policy(es), signer=SigV4Signer(cfg, policy(es), clock=clock))
        await transport.perform("GET", "/")
        es.expire_issued()
        clock.ahead = es.lifetime_s
        es.lifetime_s *= 3  # so that the new ones are good on the clock that is ahead
        await asyncio.gather(*(transport.perform("GET", f"/{n}") for n in range(100)))
        await transport.aclose()
        assert len(es.sts) == 2
        assert {wire.status for wire in es.requests} == {200}

    async def test_credentials_that_the_server_refuses_before_their_time_are_renewed_and_the_request_is_repeated(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        cfg = search(es, aws_role_arn=ROLE)
        transport = Transport(cfg, policy(es), signer=SigV4Signer(cfg, policy(es)))
        await transport.perform("GET", "/")
        es.expire_issued()
        await asyncio.gather(*(transport.perform("POST", f"/{n}", body=b"{}", retry=False) for n in range(20)))
        assert len(es.sts) == 2
        es.expire_issued()
        for _ in range(3):
            with pytest.raises(ServiceCredentialsError):
                await transport.perform("GET", "/")
        assert len(es.sts) == 2, "asked again within the pause"
        await transport.aclose()

    def test_the_requests_session_renews_refused_credentials_too(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        session = make_search_session(search(es, aws_role_arn=ROLE), network=policy(es))
        assert session.get(es.url).ok
        es.expire_issued()
        assert session.post(f"{es.url}/docs/_search", json={"text": "é"}).ok
        assert len(es.sts) == 2
        es.expire_issued()
        assert session.get(es.url).status_code == 403
        assert len(es.sts) == 2, "asked again within the pause"

    async def test_a_refusal_that_other_credentials_would_not_heal_renews_nothing(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        cfg = search(es, aws_role_arn=ROLE)
        transport = Transport(cfg, policy(es), signer=SigV4Signer(cfg, policy(es)))
        await transport.perform("GET", "/")
        es.skew_s = 3600 - 60
        with pytest.raises(ServiceCredentialsError):
            await transport.perform("GET", "/")
        await transport.aclose()
        assert len(es.sts) == 1

    async def test_credentials_rotate_in_the_middle_of_a_run_and_no_request_waits_or_fails(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        cfg, clock = search(es, aws_role_arn=ROLE), Clock()
        transport = Transport(cfg, policy(es), signer=SigV4Signer(cfg, policy(es), clock=clock))
        await transport.perform("GET", "/")
        es.gate.clear()
        clock.ahead = es.lifetime_s - 600
        await asyncio.gather(*(transport.perform("GET", f"/{n}") for n in range(20)))
        assert {wire.access_key for wire in es.requests} == {"ASIAISSUED0000000001"}
        clock.ahead = 0
        es.gate.set()
        while len(es.known) < 3 or es.requests[-1].access_key == "ASIAISSUED0000000001":
            await transport.perform("GET", "/")
        es.known["ASIAISSUED0000000001"].expires = 0
        await asyncio.gather(*(transport.perform("GET", f"/{n}") for n in range(20)))
        await transport.aclose()
        assert len(es.sts) == 2
        assert {wire.status for wire in es.requests} == {200}

    async def test_the_event_loop_turns_while_sts_is_slow(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        es.gate.clear()
        cfg = search(es, aws_role_arn=ROLE)
        transport = Transport(cfg, policy(es), signer=SigV4Signer(cfg, policy(es)))
        waiting = asyncio.create_task(transport.perform("GET", "/"))
        while not es.sts:
            await asyncio.sleep(0)  # would never end on a blocked loop
        assert not waiting.done()
        es.gate.set()
        await waiting
        await transport.aclose()

    async def test_an_sts_that_hangs_is_told_from_an_opensearch_that_hangs(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        es.gate.clear()
        cfg = search(es, aws_role_arn=ROLE, timeout_s=5)  # the first to ask loads botocore, which takes a second of it
        transport = Transport(cfg, policy(es), signer=SigV4Signer(cfg, policy(es)))
        with pytest.raises(DeadlineExceededError) as caught:
            await transport.perform("GET", "/")
        assert (caught.value.hop, "AWS" in caught.value.message) == (es.url, True)
        es.gate.set()
        await transport.aclose()

    async def test_event_loops_share_a_signer(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        cfg = search(es, aws_role_arn=ROLE)
        transport = Transport(cfg, policy(es), signer=SigV4Signer(cfg, policy(es)))

        async def some() -> None:
            await asyncio.gather(*(transport.perform("GET", f"/{n}") for n in range(20)))

        await asyncio.gather(some(), *(asyncio.to_thread(asyncio.run, some()) for _ in range(3)))
        await transport.aclose()
        assert len(es.sts) == 1
        assert len(es.requests) == 80

    async def test_a_failing_sts_is_asked_again(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        es.sts_failures = 1
        cfg = search(es, aws_role_arn=ROLE)
        assert await SigV4Signer(cfg, policy(es)).headers("GET", f"{es.url}/", {}, b"")
        assert len(es.sts) == 2

    async def test_a_role_that_is_refused_names_the_role_and_no_secret(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        cfg = search(es, aws_role_arn="arn:aws:iam::123456789012:role/other")
        with pytest.raises(ServiceCredentialsError, match="AssumeRole") as caught:
            await SigV4Signer(cfg, policy(es)).headers("GET", f"{es.url}/", {}, b"")
        assert caught.value.setting == "search.aws_role_arn"
        assert SECRET not in repr(caught.value)

    async def test_a_role_of_the_profile_goes_the_same_way(self, es: Aws, home: Path) -> None:
        use_keys(home)
        (home / "config").write_text(
            f"[default]\nregion = {REGION}\nendpoint_url = {es.url}\n[profile app]\nrole_arn = {ROLE}\nsource_profile = default\nendpoint_url = {es.url}\n"
        )
        cfg = search(es, aws_profile="app")
        assert make_search_session(cfg, network=policy(es)).get(es.url).ok
        assert len(es.sts) == 1


class TestTheWayThere:
    """STS and the metadata service are reached by the policy, never by the environment, which is hostile in all tests here."""

    @pytest.mark.parametrize("password", ["p%40ss", "wrong-word"])
    async def test_sts_and_opensearch_through_a_proxy_with_its_credentials(self, es: Aws, home: Path, password: str) -> None:
        sts, host = f"sts.company.test:{es.port}", f"search.company.test:{es.port}"
        with_role(home, es, f"https://{sts}")
        cfg = search(es, aws_role_arn=ROLE, host=f"https://{host}")
        with Proxy("user", "p@ss", {sts: es.port, host: es.port}).running() as proxy:
            network = policy(es, proxy=SecretStr(f"http://user:{password}@127.0.0.1:{proxy.port}"))
            transport = Transport(cfg, network, signer=SigV4Signer(cfg, network))
            session = make_search_session(cfg, network=network)
            if password == "wrong-word":
                for attempt in (transport.perform("GET", "/"), asyncio.to_thread(session.get, f"https://{host}/")):
                    with pytest.raises(UnreachableError) as caught:
                        await attempt
                    assert caught.value.setting == "network.proxy_username"
                    assert "wrong-word" not in str(caught.value)
            else:
                await transport.perform("GET", "/")
                assert (await asyncio.to_thread(session.get, f"https://{host}/")).ok
                assert proxy.asked == [sts, host, sts, host]
                assert all("proxy-authorization" not in wire.headers for wire in es.requests + es.sts)
            await transport.aclose()

    async def test_an_sts_without_a_trusted_authority_is_a_tls_error(self, es: Aws, home: Path) -> None:
        with_role(home, es)
        cfg = search(es, aws_role_arn=ROLE)
        with pytest.raises(TlsError) as caught:
            await SigV4Signer(cfg, NetworkPolicy(NetworkCfg())).headers("GET", f"{es.url}/", {}, b"")
        assert caught.value.hop == es.url
        assert caught.value.setting == "network.ca_bundle"

    async def test_an_sts_that_is_not_there_is_an_outage_that_names_it(self, es: Aws, home: Path) -> None:
        with_role(home, es, "https://127.0.0.1:9")
        cfg = search(es, aws_role_arn=ROLE)
        with pytest.raises(ServiceUnavailableError) as caught:
            await SigV4Signer(cfg, policy(es)).headers("GET", f"{es.url}/", {}, b"")
        assert caught.value.hop == "https://127.0.0.1:9"

    async def test_the_metadata_service_is_asked_directly_round_every_proxy(self, es: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", es.metadata_url)
        network = policy(es, proxy=SecretStr("http://127.0.0.1:9"), no_proxy=("localhost",))
        cfg = search(es, host=f"https://localhost:{es.port}")
        transport = Transport(cfg, network, signer=SigV4Signer(cfg, network))
        await transport.perform("GET", "/")
        await transport.aclose()
        assert [wire.method for wire in es.metadata] == ["PUT", "GET", "GET"]
        assert es.requests[0].headers["x-amz-security-token"]


class TestRefusals:
    async def told(self, aws: Aws, **more: Any) -> ServiceCredentialsError:
        cfg, network = search(aws, **more), policy(aws)
        transport = Transport(cfg, network, signer=SigV4Signer(cfg, network))
        try:
            with pytest.raises(ServiceCredentialsError) as caught:
                await transport.perform("GET", "/docs/_search", index="docs")
        finally:
            await transport.aclose()
        assert type(caught.value) is ServiceCredentialsError
        assert caught.value.hop == aws.url
        assert make_search_session(cfg, network=network).get(f"{aws.url}/").status_code == 403
        return caught.value

    async def test_a_wrong_secret(self, aws: Aws, home: Path) -> None:
        use_keys(home, secret="hunter2-wrong-secret")
        error = await self.told(aws)
        assert "does not match" in str(error)
        assert "hunter2" not in repr(error) + str(error)

    async def test_an_unknown_key(self, aws: Aws, home: Path) -> None:
        use_keys(home, key="AKIDOTHER")
        assert "invalid" in str(await self.told(aws))

    async def test_an_expired_token(self, aws: Aws, home: Path) -> None:
        name, issued = aws.issue()
        use_keys(home, name, issued.secret, issued.token)
        aws.expire_issued()
        assert "expired" in str(await self.told(aws))

    @pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
    async def test_a_clock_that_is_wrong_is_named(self, aws: Aws, home: Path, skew_s: float) -> None:
        use_keys(home)
        aws.skew_s = skew_s
        error = await self.told(aws)
        assert "clock" in error.hint

    async def test_the_wrong_region(self, aws: Aws, home: Path) -> None:
        use_keys(home)
        error = await self.told(aws, aws_region="us-east-1")
        assert "valid region" in str(error)
        assert "aws_region" in str(error)

    async def test_the_wrong_service(self, aws: Aws, home: Path) -> None:
        use_keys(home)
        assert "correct service" in str(await self.told(aws, aws_service={"es": "aoss", "aoss": "es"}[aws.service]))

    async def test_no_signature_at_all(self, aws: Aws) -> None:
        transport = Transport(search(aws), policy(aws))
        with pytest.raises(ServiceCredentialsError, match="anonymous"):
            await transport.perform("GET", "/")
        await transport.aclose()


class TestWhatIsMissing:
    async def ask(self, cfg: SearchCfg) -> ConfigurationError:
        """Both ways fail alike, with the first request and not before."""
        network = NetworkPolicy(NetworkCfg())
        signer, session = SigV4Signer(cfg, network), make_search_session(cfg, network=network)
        with pytest.raises(ConfigurationError) as caught:
            await signer.headers("GET", "https://opensearch.jpmchase.net/", {}, b"")
        with pytest.raises(ConfigurationError) as other:
            await asyncio.to_thread(session.get, "https://opensearch.jpmchase.net/")
        assert str(other.value) == str(caught.value)
        return caught.value

    async def test_the_sample_configuration_loads_and_its_first_use_names_the_region_and_then_the_credentials(self, tmp_path: Path, home: Path) -> None:
        (tmp_path / "rag.ini").write_text(BANK)
        cfg = load_settings(tmp_path / "rag.ini", environ={"JPMC_USER_SID": "u123"}).search
        assert (await self.ask(cfg)).setting == "search.aws_region"
        error = await self.ask(cfg.model_copy(update={"aws_region": "us-east-1"}))
        for place in ("AWS_ACCESS_KEY_ID", str(home / "credentials"), str(home / "config"), "SSO", "container", "metadata", "'default'"):
            assert place in str(error), place

    async def test_a_profile_that_does_not_exist(self, home: Path) -> None:
        use_keys(home)
        error = await self.ask(SearchCfg(host="https://a.example", use_aws_auth=True, aws_profile="nobody", aws_region=REGION))
        assert error.setting == "search.aws_profile"
        assert "nobody" in str(error)

    async def test_half_a_credential(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        assert "AWS_SECRET_ACCESS_KEY" in str(await self.ask(SearchCfg(host="https://a.example", use_aws_auth=True, aws_region=REGION)))

    async def test_a_process_that_fails_has_its_output_left_out(self, home: Path) -> None:
        (home / "config").write_text(f"[default]\nregion = {REGION}\ncredential_process = {sys.executable} -c \"import sys; sys.exit('hunter2')\"\n")
        cfg = SearchCfg(host="https://a.example", use_aws_auth=True)
        with pytest.raises(ServiceCredentialsError, match="custom-process") as caught:
            await SigV4Signer(cfg, NetworkPolicy(NetworkCfg())).headers("GET", "https://a.example/", {}, b"")
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        ("host", "configured", "profile", "region"),
        [
            ("https://search-x.us-west-2.es.amazonaws.com", None, "eu-west-1", "us-west-2"),
            ("https://abc.ap-southeast-2.aoss.amazonaws.com:443", None, None, "ap-southeast-2"),
            ("https://search-x.cn-north-1.es.amazonaws.com.cn", None, None, "cn-north-1"),
            ("https://search-x.us-gov-west-1.es.amazonaws.com/", None, None, "us-gov-west-1"),
            ("https://search-x.us-west-2.es.amazonaws.com", "eu-central-1", "eu-west-1", "eu-central-1"),
            ("https://opensearch.company.com", None, "eu-west-1", "eu-west-1"),
        ],
    )
    async def test_the_region_is_the_configured_one_that_of_the_host_that_of_the_profile(
        self, home: Path, host: str, configured: str | None, profile: str | None, region: str
    ) -> None:
        use_keys(home)
        (home / "config").write_text("[default]\n" + (f"region = {profile}\n" if profile else ""))
        cfg = SearchCfg(host=host, use_aws_auth=True, aws_region=configured)
        headers = await SigV4Signer(cfg, NetworkPolicy(NetworkCfg())).headers("GET", f"{host}/", {}, b"")
        assert f"/{region}/es/aws4_request" in headers["authorization"]

    @pytest.mark.parametrize("package", ["botocore", "requests_aws4auth"])
    def test_without_the_extra_the_error_names_it(self, package: str) -> None:
        code = f"""
import asyncio, sys
sys.modules["{package}"] = None
from src.errors import MissingExtraError
from src.infra.aws.signing import SigV4Signer
from src.infra.clients import make_search_session
from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
cfg = SearchCfg(host="https://a.example", use_aws_auth=True, aws_region="eu-west-1")
try:
    if "{package}" == "botocore":
        asyncio.run(SigV4Signer(cfg, NetworkPolicy(NetworkCfg())).headers("GET", "https://a.example/", {{}}, b""))
    else:
        make_search_session(cfg)
except MissingExtraError as error:
    assert "`aws`" in str(error) and "founders-rag[aws]" in str(error), error
    print("named")
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
        assert done.stdout == "named\n"

    def test_importing_the_signer_loads_no_aws_library(self) -> None:
        code = "import sys, src.infra.aws.signing; assert not {'botocore', 'boto3', 'requests', 'requests_aws4auth'} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


async def test_no_secret_is_logged_or_shown(es: Aws, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with_role(home, es)
    cfg, network = search(es, aws_role_arn=ROLE), policy(es)
    signer, session = SigV4Signer(cfg, network), make_search_session(cfg, network=network)
    with caplog.at_level(logging.DEBUG):  # of every library
        await signer.headers("GET", f"{es.url}/", {}, b"")
        await asyncio.to_thread(session.get, es.url)
    shown = caplog.text + repr(signer) + repr(vars(signer)) + repr(session.auth) + repr(vars(session.auth))
    for who in es.known.values():
        assert who.secret not in shown
        assert who.token is None or who.token not in shown


def test_a_session_follows_no_redirect_with_its_credentials(es: Aws, home: Path) -> None:
    use_keys(home)
    session = make_search_session(search(es), network=policy(es))
    answer = requests.Response()
    answer.status_code, answer.headers["location"] = 307, "https://elsewhere.example/"
    assert list(session.resolve_redirects(answer, requests.Request("POST", es.url).prepare())) == []
