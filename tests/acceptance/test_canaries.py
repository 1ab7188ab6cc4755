"""No secret comes out: canaries are planted wherever the configuration takes a secret, every hop fails in every way and repeats them all,
and what the product shows, logs, raises, answers, traces and writes is looked through for each of them, in each form.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from click.testing import CliRunner

from src.cli.main import main
from src.core.identity import AccessScope
from src.core.search import SearchRequest
from src.errors import InvalidSettingsError
from src.infra.clients import make_search_session, release_all
from src.infra.config import Settings
from src.infra.doctor import as_json, diagnose
from src.infra.resilience.retry import without_waiting
from src.infra.resource_manager import ResourceManager
from src.infra.secrets.live import current, live_secrets
from src.infra.settings import load, load_settings
from tests.acceptance.canaries import Canary, Catch, Echo, everything_logged, plant
from tests.acceptance.conftest import RAG, rag, serving
from tests.emulators.certificates import issue
from tests.emulators.service import CHAT

VARIANTS = ("keys", "tokens", "aws", "vaults")
STATUSES = (400, 401, 403, 407, 429, 500)


@dataclass
class World:
    folder: Path
    canaries: dict[str, Canary]
    catch: Catch
    echo: Echo
    authority: trustme.CA

    def value(self, place: str) -> str:
        return self.canaries[place].value

    def write(self, variant: str, more: str = "") -> Path:
        """A configuration whose secrets are canaries, as many as can stand in one."""
        text = _TEMPLATES[variant].format_map(
            {place.replace("-", "_"): canary.value for place, canary in self.canaries.items()}
            | {f"url_{place.replace('-', '_')}": canary.in_url for place, canary in self.canaries.items()}
            | {"folder": self.folder, "port": self.echo.port, "inner": self.echo._inner_port}
        )
        path = self.folder / f"{variant}.ini"
        path.write_text(_COMMON.format(folder=self.folder) + text + more)
        return path

    def settings(self, variant: str, more: str = "") -> Settings:
        return load_settings(self.write(variant, more), environ={}, secrets_dir=self.folder / "mounted")


_COMMON = """
[storage]
path = {folder}/data
[cache]
path = {folder}/cache
[api]
auth = tokens
[logging]
level = DEBUG
levels = root=DEBUG
"""
_TEMPLATES = {
    "keys": """
[search]
host = https://search.company.test
username = u
password = {opensearch_password}
max_retries = 0
timeout_s = 3
[chat]
provider = azure
model = gpt-4
api_base = https://openai.company.test
api_version = 2024-06-01
api_key = {chat_key}
max_retries = 0
timeout_s = 4
[embed]
provider = azure
model = text-embedding-ada-002
dims = 8
api_key = {embed_key}
max_retries = 0
timeout_s = 4
cache_entries = 0
[rerank]
provider = cohere
model = rerank-v3.5
api_base = https://rerank.company.test/v2
api_key = {rerank_key}
max_retries = 0
timeout_s = 4
[azure_openai]
api_key = {azure_openai_key}
[network]
proxy = http://u:{url_proxy_url_password}@127.0.0.1:{port}
no_proxy = 127.0.0.1, localhost
ca_bundle = {folder}/ca.pem
client_certificate = {folder}/client.pem
client_key_password = {client_key_password}
[persistence]
backend = postgres
dsn = postgresql://rag:{url_dsn_password}@localhost:{inner}/rag
connect_timeout_s = 2
timeout_s = 2
pool_timeout_s = 2
encryption_keys = one:{encryption_keys}
""",
    "tokens": """
[search]
host = https://search.company.test
bearer_token = {opensearch_token}
max_retries = 0
timeout_s = 3
[chat]
provider = azure
model = gpt-4
api_base = https://openai.company.test
api_version = 2024-06-01
max_retries = 0
timeout_s = 4
[embed]
provider = azure
model = text-embedding-ada-002
dims = 8
max_retries = 0
timeout_s = 4
cache_entries = 0
[azure]
credential = chain
chain = certificate, secret
tenant_id = 11111111-2222-3333-4444-555555555555
client_id = 66666666-7777-8888-9999-000000000000
authority_host = https://login.company.test
certificate_path = {folder}/identity.pfx
certificate_password = {certificate_password}
client_secret = {client_secret}
timeout_s = 1
[network]
proxy = http://127.0.0.1:{port}
proxy_username = u
proxy_password = {proxy_password}
no_proxy = 127.0.0.1, localhost
ca_bundle = {folder}/ca.pem
client_certificate = {folder}/client.pfx
client_key_password = {client_key_password}
[persistence]
backend = postgres
dsn = postgresql://rag@localhost:{inner}/rag
password = {database_password}
connect_timeout_s = 2
timeout_s = 2
pool_timeout_s = 2
""",
    "aws": """
[search]
host = https://search.company.test
use_aws_auth = true
aws_region = eu-west-1
aws_role_arn = arn:aws:iam::123456789012:role/search
max_retries = 0
timeout_s = 3
[chat]
provider = openai
model = gpt-4
api_base = https://openai.company.test/v1
api_key = ${{aws:prod/rag#key}}
max_retries = 0
timeout_s = 4
[network]
proxy = http://127.0.0.1:{port}
ca_bundle = {folder}/ca.pem
[secrets]
aws_region = eu-west-1
timeout_s = 1
""",
    "vaults": """
[search]
host = https://search.company.test
username = u
password = ${{vault:os}}
max_retries = 0
timeout_s = 3
[chat]
provider = openai
model = gpt-4
api_base = https://openai.company.test/v1
api_key = ${{vault:chat}}
max_retries = 0
timeout_s = 4
[azure]
tenant_id = 11111111-2222-3333-4444-555555555555
client_id = 66666666-7777-8888-9999-000000000000
authority_host = https://login.company.test
client_secret = {client_secret}
timeout_s = 1
[network]
proxy = http://127.0.0.1:{port}
proxy_username = u
ca_bundle = {folder}/ca.pem
[secrets]
vault = https://rag.vault.emulator.test
timeout_s = 1
""",
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    canaries, authority = plant(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issue().written(tmp_path / "client.pem", canaries["client-key-password"].value)
    issue().written(tmp_path / "client.pfx", canaries["client-key-password"].value)
    issue().written(tmp_path / "identity.pfx", canaries["certificate-password"].value)
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "api__token").write_text(canaries["api-token"].value)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": canaries["aws-secret-key"].value,
        "AWS_SESSION_TOKEN": canaries["aws-session-token"].value,
    }.items():
        monkeypatch.setenv(name, value)
    with Echo(authority, canaries.values()).running() as echo, without_waiting():
        yield World(tmp_path, canaries, Catch(canaries), echo, authority)
        release_all()


async def _pieces(stream: AsyncIterator[Any]) -> list[Any]:
    return [piece async for piece in stream]


async def drive(world: World, settings: Settings, where: str) -> None:
    """Use every hop once; what they raise or answer is caught."""
    catch = world.catch
    async with ResourceManager(settings) as resources:
        sessions: list[Any] = []
        url = f"{settings.search.host}/_search"
        scope = AccessScope("default", ("tenant:*",))

        async def database() -> None:
            if settings.persistence.backend == "postgres":
                await resources.get("database").ping()

        attempts: dict[str, Callable[[], Any]] = {
            "tokens": lambda: _tokens(resources),
            "chat": lambda: resources.chat.generate("hello"),
            "stream": lambda: _pieces(resources.chat.stream("hello")),
            "embed": lambda: resources.embedder.embed(["hello"]),
            "rerank": lambda: _reranked(resources),
            "ping": resources.search.ping,
            "search": lambda: resources.search.search(SearchRequest(text="hello", mode="bm25"), scope=scope),
            "session": lambda: asyncio.to_thread(lambda: _searched(settings, resources, sessions, url)),
            "database": database,
            **{name: (lambda secret=secret: _unshown(secret)) for name, secret in live_secrets(settings)},
        }
        for name, attempt in attempts.items():
            await _attempted(catch, f"{where}, {name}", attempt)
        health = await resources.health.check_all()
        catch.add(f"{where}, health", repr(health))
        for name in ("network", "tokens", "chat", "reranker", "search", "checkpointer"):
            try:
                catch.add_object(f"{where}, {name}", resources.get(name))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
                catch.add_error(f"{where}, {name}", error)
        catch.add_object(f"{where}, resources", resources)
        for session in sessions:
            catch.add_object(f"{where}, session", session)
            catch.add_object(f"{where}, session's auth", session.auth)
        client = getattr(resources.chat, "_client", None)
        for thing in (client, getattr(client, "_client", None), resources.network.proxies):
            catch.add_object(f"{where}, client", thing)


async def _tokens(resources: ResourceManager) -> None:
    if resources.tokens is not None:
        await resources.tokens.token()


async def _reranked(resources: ResourceManager) -> None:
    if (model := resources.get("reranker")) is not None:
        await model.score("hello", ["hello", "goodbye"])


def _searched(settings: Settings, resources: ResourceManager, sessions: list[Any], url: str) -> None:
    sessions.append(make_search_session(settings.search, network=resources.network))
    sessions[0].get(url).raise_for_status()


async def _unshown(secret: Any) -> None:
    await current(secret)


async def _attempted(catch: Catch, where: str, attempt: Callable[[], Any]) -> None:
    try:
        async with asyncio.timeout(20):
            outcome = await attempt()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
        catch.add_error(where, error)
    else:
        if not where.endswith(("search", "chat", "stream", "session")):  # what a service answers well is content, not ours to look through
            catch.add(where, repr(outcome))


def assert_none(catch: Catch) -> None:
    leaks = catch.leaks()
    assert len(catch.texts) > 20, "little was looked through"
    if leaks:
        pytest.fail(f"{len(leaks)} leaks\n" + "\n".join(leak[:600] for leak in leaks[:40]), pytrace=False)


@pytest.mark.parametrize("variant", VARIANTS)
async def test_no_error_log_or_object_shows_a_secret_however_the_hops_fail(world: World, variant: str) -> None:
    settings = world.settings(variant)
    with everything_logged(world.catch):
        for status in STATUSES:
            world.echo.status = status
            await drive(world, settings, f"{variant} {status}")
    assert world.echo.seen, "nothing reached the services"
    assert_none(world.catch)


@pytest.mark.parametrize("variant", [one if one == "tokens" else pytest.param(one, marks=pytest.mark.long) for one in VARIANTS])
async def test_no_proxy_or_certificate_that_fails_shows_one(world: World, variant: str) -> None:
    settings = world.settings(variant)
    with everything_logged(world.catch):
        for world.echo.refuse in (407, 403, 502):
            await drive(world, settings, f"{variant}, proxy {world.echo.refuse}")
        world.echo.refuse = 0
        trustme.CA().cert_pem.write_to_path(world.folder / "ca.pem")
        await drive(world, world.settings(variant), f"{variant}, another authority")
        for place in ("client.pem", "client.pfx", "identity.pfx"):
            issue().written(world.folder / place, "another-password")
        await drive(world, world.settings(variant), f"{variant}, passwords of other files")
    assert_none(world.catch)


async def test_answers_that_are_good_show_none(world: World) -> None:
    world.echo.status, world.echo.body = 200, json.dumps(CHAT).encode()
    with everything_logged(world.catch):
        for variant in ("keys", "tokens"):
            await drive(world, world.settings(variant), f"{variant}, good")
    assert_none(world.catch)


@pytest.mark.parametrize("variant", VARIANTS)
def test_settings_show_none_however_they_are_looked_at(world: World, variant: str) -> None:
    settings, catch = world.settings(variant), world.catch
    for name, thing in [("settings", settings), *settings]:
        catch.add_object(f"{variant}, {name}", thing)
        if hasattr(thing, "model_dump"):
            catch.add(f"{variant}, {name}: model_dump", repr(thing.model_dump()))
            catch.add(f"{variant}, {name}: model_dump_json", thing.model_dump_json())
        try:
            catch.add(f"{variant}, {name}: pickle", pickle.dumps(thing).decode("latin-1"))
        except TypeError as error:
            catch.add_error(f"{variant}, {name}: pickle", error)
    catch.add_object(f"{variant}, provenance", settings.provenance)
    assert_none(catch)


@pytest.mark.parametrize("variant", ["keys", *(pytest.param(more, marks=pytest.mark.long) for more in ("vaults", "tokens", "aws"))])
def test_no_command_prints_one(world: World, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.write(variant)
    monkeypatch.setenv("RAG_SECRETS_DIR", str(world.folder / "mounted"))
    monkeypatch.setenv("RAG_AZURE_OPENAI__API_KEY", world.value("azure-openai-key"))
    keys = ("search.password", "network.proxy", "persistence.dsn", "chat.api_key", "azure.client_secret")
    with everything_logged(world.catch):
        for arguments in (
            *(["config", command, "--config", str(path), *more] for command in ("show", "explain", "validate") for more in ([], ["--json"])),
            *(["config", "explain", key, "--config", str(path), "--json"] for key in keys),
            ["doctor", "--config", str(path), "--timeout", "6", "--json"],
            ["doctor", "--config", str(path), "--timeout", "6", "--fix-hints"],
            ["doctor", "--config", str(path), "--timeout", "6"],
            ["search", "hello", "--config", str(path), "--json"],
            ["ask", "hello", "--config", str(path)],
            ["index", "list", "--config", str(path)],
        ):
            done = CliRunner().invoke(main, arguments)
            world.catch.add(f"{variant}, rag {' '.join(arguments[:2])}", done.output + done.stderr)
            if done.exception is not None:
                world.catch.add_error(f"{variant}, rag {' '.join(arguments[:2])}", done.exception)
    assert_none(world.catch)


def test_a_configuration_that_is_wrong_is_told_without_the_secrets_in_it(world: World) -> None:
    value, in_url = world.value("file-secret"), world.canaries["url-password"].in_url
    for number, text in enumerate(
        (
            f"[search]\npasword = {value}\n",
            f"[search]\nhost = https://u:{in_url}@search.company.test\n",
            f"[search]\npassword = {value}\n",
            f"[chat]\napi_base = https://u:{in_url}@openai.company.test\n",
            f"[chat]\nprovider = https://u:{in_url}@x\n",
            f"[network]\nproxy = http://u:{in_url}@proxy.company.test:99999\n",
            f"[network]\nproxy = file:///{in_url}.pac\n",
            f"[persistence]\nbackend = postgres\ndsn = postgresql://u:{in_url}@:no/x\n",
            f"[secrets]\nvault = https://u:{in_url}@rag.vault.azure.net\n",
            f"[telemetry]\nendpoint = https://u:{in_url}@otlp.company.test\n",
            f"[azure]\nauthority_host = https://u:{in_url}@login.company.test\n[chat]\nprovider = azure\n",
            f"[azure]\nclient_secret = {value}\nsend_certificate_chain = {'maybe'}\n",
            f"[network]\nproxy_password = {value}\nproxy = ${{LACKING}}\n",
        )
    ):
        path = world.folder / f"wrong-{number}.ini"
        path.write_text(text)
        loaded = load(path, environ={"RAG_API__TOKEN": value, "RAG_SEARCH__PASSWRD": value})
        world.catch.add(f"wrong {number}", repr(loaded.problems))
        for command in ("validate", "show"):
            done = CliRunner().invoke(main, ["config", command, "--config", str(path), "--json"])
            world.catch.add(f"wrong {number}, {command}", done.output + done.stderr)
        try:
            settings = load_settings(path, environ={})
            world.catch.add_object(f"wrong {number}", settings)
            world.catch.add(f"wrong {number}: doctor", json.dumps(as_json(asyncio.run(diagnose(settings, timeout_s=2)))))
        except InvalidSettingsError as error:
            world.catch.add_error(f"wrong {number}", error)
    assert_none(world.catch)


@contextmanager
def recorded_spans(catch: Catch, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:  # noqa: C901 - a small method for each of the API
    """Spans and metrics of the API, as an SDK would export them: also what its context managers add by themselves."""
    from opentelemetry import trace

    from src.telemetry import sdk

    spans: list[str] = []

    class Span(trace.NonRecordingSpan):
        def __init__(self, name: str, attributes: Any) -> None:
            super().__init__(trace.INVALID_SPAN_CONTEXT)
            spans.append(name)
            self._name = name
            self.set_attributes(attributes or {})

        def set_attributes(self, attributes: Any) -> None:
            catch.add(f"span {self._name}", repr(dict(attributes)))

        def set_attribute(self, key: str, value: Any) -> None:
            catch.add(f"span {self._name}", f"{key}={value!r}")

        def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
            catch.add(f"span {self._name}", f"{name} {attributes!r}")

        def set_status(self, status: Any, description: str | None = None) -> None:
            catch.add(f"span {self._name}", f"{getattr(status, 'description', status)} {description}")

        def record_exception(self, exception: BaseException, *_: Any, **__: Any) -> None:
            catch.add_error(f"span {self._name}", exception)

    class Tracer(trace.NoOpTracer):
        def start_span(self, name: str, context: Any = None, kind: Any = None, attributes: Any = None, *_: Any, **__: Any) -> Any:
            return Span(name, attributes)

        @contextmanager
        def start_as_current_span(
            self, name: str, *_: Any, attributes: Any = None, record_exception: bool = True, set_status_on_exception: bool = True, **__: Any
        ) -> Any:
            span = Span(name, attributes)
            try:
                with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                    yield span
            except Exception as error:
                if record_exception:
                    span.record_exception(error)
                if set_status_on_exception:
                    span.set_status(f"{type(error).__name__}: {error}")
                raise

    class Provider(trace.TracerProvider):
        def get_tracer(self, *_: Any, **__: Any) -> Any:
            return Tracer()

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", Provider())
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", sys.modules.get("opentelemetry.sdk.trace") or type(sys)("opentelemetry.sdk.trace"))
    assert sdk.look()
    yield spans
    monkeypatch.undo()
    sdk.look()


async def test_spans_hold_none_and_tell_errors_by_their_kind_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from src.telemetry.stages import stage

    with recorded_spans(world.catch, monkeypatch) as spans:
        with pytest.raises(RuntimeError), stage("embed", texts=1):
            raise RuntimeError(f"a foreign library repeats {world.value('chat-key')}")
        for variant in VARIANTS:
            world.echo.status = 401
            await drive(world, world.settings(variant), f"{variant}, traced")
    assert "rag.embed" in spans
    assert_none(world.catch)


def test_the_server_answers_logs_and_writes_none(world: World, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The product as it runs: a model that refuses, callers with good and bad tokens, at level DEBUG."""
    token, catch = world.value("api-token"), world.catch
    monkeypatch.setenv("OPENAI_LOG", "debug")
    more = (
        f"[logging]\nlevel = DEBUG\nlevels = root=DEBUG\n[network]\nproxy = http://u:{world.canaries['proxy-url-password'].in_url}@127.0.0.1:{world.echo.port}\n"
        f"ca_bundle = {world.folder / 'ca.pem'}\n[azure_openai]\napi_key = {world.value('azure-openai-key')}\n[chat]\nprovider = azure\nmodel = gpt-4\n"
        "api_base = https://openai.company.test\napi_version = 2024-06-01\nmax_retries = 0\n"
    )
    folder = world.folder / "served"
    folder.mkdir()
    (folder / "note.md").write_text("# Leave\n\nEveryone has thirty days of leave a year.\n")
    with serving(folder, {"auth": "tokens", "token": token}, more) as server:
        done = rag("ingest", folder / "note.md", "--config", folder / "config.ini", cwd=folder)
        catch.add("ingest", done.stdout + done.stderr)
        arguments = Path(f"/proc/{server.process.pid}/cmdline").read_bytes().decode()
        catch.add("process list", arguments)
        assert "serve" in arguments
        for status in (401, 403, 500):
            world.echo.status = status
            for bearer in (token, token[:-1], "wrong"):
                with server.client(headers={"authorization": f"Bearer {bearer}"}) as client:
                    for answer in _asked(client):
                        catch.add(f"HTTP {answer.url}", f"{answer.status_code} {answer.headers!r} {answer.text}")
        release_all()
    assert any("openai.company.test" in path for path in world.echo.seen), "the model was asked"
    catch.add("server's log", server.log())
    for path in (folder / "data").rglob("*"):
        if path.is_file():
            catch.add_file(f"data folder: {path.name}", path)
    assert_none(catch)
    assert RAG


def _asked(client: httpx2.Client) -> Iterator[httpx2.Response]:
    for path in ("/health", "/health/ready", "/metrics", "/v1/models", "/openapi.json", "/nowhere"):
        yield client.get(path)
    yield client.post("/v1/search", json={"query": "leave", "mode": "bm25"})
    yield client.post("/v1/chat", json={"message": "How many days of leave are there?", "mode": "bm25"})
    yield client.post("/v1/chat", json={"message": "How many days of leave are there?", "mode": "bm25", "stream": True})
    yield client.post("/v1/chat", json={"nonsense": 1})


@pytest.mark.parametrize(
    "leak",
    [
        lambda value: value,
        repr,
        lambda value: json.dumps({"a": value}),
        lambda value: __import__("urllib.parse").parse.quote(value, safe=""),
        lambda value: __import__("base64").b64encode(value.encode()).decode(),
        lambda value: __import__("base64").b64encode(f"user:{value}".encode()).decode(),
        lambda value: __import__("base64").urlsafe_b64encode(f"us:{value}".encode()).decode(),
        lambda value: value.encode().hex(),
        lambda value: value.encode().hex().upper(),
    ],
    ids=["plain", "repr", "json", "url", "base64", "user and password", "urlsafe", "hex", "HEX"],
)
def test_a_leak_that_is_planted_is_found_in_every_form(leak: Callable[[str], str]) -> None:
    canaries = plant()
    for place, canary in canaries.items():
        catch = Catch(canaries)
        catch.add("here", f"before {leak(canary.value)} after")
        assert {line.split(" ")[0] for line in catch.leaks()} == {place}


async def test_a_leak_that_is_planted_in_the_product_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way of showing things is seen to show: an error, a log, a local variable of a frame, an object's attribute."""
    from src.infra.network.proxies import ProxySettings

    real = ProxySettings.authorization.fget
    assert real is not None

    def leaky(self: ProxySettings) -> str:
        password = self.password.get_secret_value()
        __import__("logging").getLogger("somewhere").debug("the password is %s", password)
        self.__class__.shown = password  # type: ignore[attr-defined] # the leak
        raise RuntimeError("no") if password else AssertionError

    monkeypatch.setattr(ProxySettings, "authorization", property(leaky))
    with everything_logged(world.catch):
        await drive(world, world.settings("keys"), "leaky")
    found = world.catch.leaks()
    assert any("log of somewhere" in line for line in found)
    assert any("with locals" in line for line in found)
