"""The whole product in a company's network where the proxy is the only way out: nothing tries another way, and a test that fails would see it.

In a network namespace of its own (`tests/emulators/enclave.py`), or, where none can be made, under Python's audit events (`watch.py`).
"""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme

from tests.acceptance.conftest import RAG, clean_environment
from tests.emulators.company import GATEWAY, LOGIN, OPENAI, Company
from tests.emulators.enclave import Enclave, NoNamespaceError
from tests.emulators.watch import Watch
from tests.servers.opensearch.cluster import Cluster

SEARCH = "opensearch.company.test:9200"
QUESTION = "How many days of annual leave do employees get?"


class Site:
    """The product inside: ``outside`` says what it tried to reach."""

    def __init__(self, company: Company, outside: Enclave | Watch, more: str = "") -> None:
        self.company = company
        self.outside = outside
        self._folder = company.folder
        self._hostile = hostile_environment(company.folder)
        self.configure(more)

    def configure(self, more: str = "", company: str | None = None) -> None:
        own = f"[storage]\npath = {self._folder / 'data'}\n[cache]\npath = {self._folder / 'cache'}\n[api]\nport = {self.outside.serve_port}\n"
        (self._folder / "rag.ini").write_text(f"{self.company.config() if company is None else company}{own}{more}", encoding="utf-8")

    def _started(self, *arguments: str | Path) -> subprocess.Popen[str]:
        command = self.outside.command(RAG, *map(str, arguments), "--json", "--config", str(self._folder / "rag.ini"))
        environment = clean_environment() | self._hostile | self.outside.environment
        return subprocess.Popen(command, cwd=self._folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def json(self, *arguments: str | Path) -> Any:
        out, told = (process := self._started(*arguments)).communicate(timeout=180)
        assert process.returncode == 0, (out, told)
        return json.loads(out.splitlines()[-1])

    def error(self, *arguments: str | Path) -> dict[str, Any]:
        out, told = (process := self._started(*arguments)).communicate(timeout=180)
        assert process.returncode == 1, (out, told)
        return dict(json.loads(told.splitlines()[-1])["error"])

    @contextmanager
    def serving(self) -> Iterator[httpx2.Client]:
        process = self._started("serve")
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, process.communicate()
            with self.outside.client(json.loads(line)["url"]) as client:
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def hostile_environment(folder: Path) -> dict[str, str]:
    """What other programs would follow, and this one must not without `trust_env`: a proxy that is no one's, no authority that is ours."""
    foreign = folder / "foreign.pem"
    trustme.CA().cert_pem.write_to_path(foreign)
    proxies = {name: "http://proxy.hostile.test:3128" for scheme in ("HTTP", "HTTPS", "ALL") for name in (f"{scheme}_PROXY", f"{scheme}_PROXY".lower())}
    bundles = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(foreign))
    return proxies | bundles | {"SSL_CERT_DIR": str(folder), "NO_PROXY": "*", "no_proxy": "*"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes the company with a product inside; ``watched``: without a namespace in any case."""
    with ExitStack() as stack:

        def made(*, watched: bool = False, more: str = "", **company: Any) -> Site:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rag-")))
            network = stack.enter_context(Company(tmp_path, **company).running(path=folder / "proxy.sock"))
            try:
                if not watched:
                    return Site(network, stack.enter_context(Enclave(folder, network.proxy.port).running()), more)
            except NoNamespaceError as error:
                print(f"no namespace here: {error}")
            return Site(network, stack.enter_context(Watch(folder, network.proxy.port).running()), more)

        yield made


def events(answer: httpx2.Response) -> list[tuple[str, Any]]:
    blocks = [dict(line.split(": ", 1) for line in block.split("\n") if ": " in line) for block in answer.text.split("\n\n") if block]
    return [(block["event"], json.loads(block["data"])) for block in blocks if "event" in block]


def test_ingest_ask_and_serve_reach_everything_through_the_proxy_alone(
    site: Callable[..., Site], opensearch_secured: Cluster, index_prefix: str, root: Path
) -> None:
    security = opensearch_secured.security
    assert security
    port = int(opensearch_secured.url.rsplit(":", 1)[1])
    search = f"[search]\nhost = https://{SEARCH}\nindex_alias = {index_prefix}docs\ntimeout_s = 30\n"  # the client's certificate is the user
    inside = site(authority=security.authority, others={SEARCH: port}, more=search)
    company = inside.company

    assert inside.json("ingest", root / "examples" / "handbook" / "hr")["added"] == 5
    answer = inside.json("ask", QUESTION)
    assert "26 days" in answer["answer"]
    assert (len(answer["citations"]), answer["degraded"]) == (1, [])
    assert inside.json("doctor")["ok"]
    with inside.serving() as client:
        assert client.get("/health/ready").status_code == 200
        whole = client.post("/v1/chat", json={"message": QUESTION})
        assert "26 days" in whole.json()["answer"], whole.text
        streamed = events(client.post("/v1/chat", json={"message": QUESTION, "stream": True}))
    assert "26 days" in "".join(data["text"] for name, data in streamed if name == "token")
    assert [name for name, _ in streamed if name != "token"] == ["citations", "done"]

    assert inside.outside.direct() == []
    assert set(company.proxy.asked) == {f"{LOGIN}:443", f"{OPENAI}:443", f"{GATEWAY}:443", SEARCH}
    # Each connection that left is one tunnel in the proxy's log, and nothing else reached the services.
    assert (len(company.proxy.asked), company.proxy.refused) == (inside.outside.proxied(), 0)
    assert company.direct == 0
    assert all(head["alg"] in ("RS256", "PS256") for head, _ in company.entra.assertions)
    assert company.entra.token_requests == 4  # one a process


def test_a_host_of_no_proxy_is_tried_directly_and_seen(site: Callable[..., Site], root: Path) -> None:
    inside = site()
    inside.configure(company=inside.company.config().replace("[network]", f"[network]\nno_proxy = {GATEWAY}"))
    failed = inside.error("ingest", root / "examples" / "handbook" / "hr" / "speaking-up.txt")
    assert (failed["code"], failed["setting"]) == ("unreachable", "embed.api_base")
    assert f"name {GATEWAY}" in inside.outside.direct()
    assert inside.company.proxy.asked == [f"{LOGIN}:443"]


@pytest.mark.long
@pytest.mark.parametrize("watched", [False, True], ids=["namespace", "watch"])
def test_variables_that_all_programs_share_count_with_trust_env_alone(site: Callable[..., Site], watched: bool, root: Path) -> None:
    inside = site(watched=watched)
    one = root / "examples" / "handbook" / "hr" / "speaking-up.txt"
    assert inside.json("ingest", one)["added"] == 1
    assert inside.outside.direct() == []
    assert inside.outside.proxied() == len(inside.company.proxy.asked) == 2
    # The same variables, once they are trusted: nothing goes to the proxy, and everything is seen.
    inside.configure(company=inside.company.config().replace("proxy = ", "trust_env = true\n# ", 1).replace("ca_bundle", "# ca_bundle"))
    assert inside.error("ingest", root / "examples" / "handbook" / "hr" / "leave-policy.docx")["code"] == "unreachable"
    assert inside.outside.proxied() == 2
    assert f"name {LOGIN}" in inside.outside.direct()
