"""A stage that has become 400 ms slower is found with one command, and on the operator's page; what is shown holds no content and runs no script."""

from __future__ import annotations

import base64
import json
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from src.api.auth import dump_tokens, hash_token
from src.core.identity import Identity
from src.infra.hotspots.batch import Batch, Summing
from src.infra.hotspots.store import FILE, HotspotStore
from src.telemetry.recording import Finished
from tests.acceptance.conftest import Server, rag
from tests.acceptance.page_parts import ARGUMENTS, CONTRAST

DELAY_S = 0.4
DIMS = 16
CANARY = "Zirconflux"
SCRIPT = "<img src=x onerror=window.pwned=1>"
QUESTIONS = [f"Which {CANARY} valve closes hall {number}?" for number in ("one", "two", "three", "four", "five", "six", "seven", "eight")]


class Embeddings(ThreadingHTTPServer):
    """OpenAI's embeddings, made of a text's words; slow or broken on demand."""

    delay_s = 0.0
    broken = False


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Embeddings

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        time.sleep(self.server.delay_s)
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        data = [{"object": "embedding", "index": at, "embedding": shaped(vector(text), asked)} for at, text in enumerate(texts)]
        body = {"object": "list", "model": asked["model"], "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        sent = json.dumps(body).encode()
        self.send_response(500 if self.server.broken else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        pass


def vector(text: str) -> list[float]:
    found = [0.01] * DIMS
    for word in text.lower().split():
        found[zlib.crc32(word.encode()) % DIMS] += 1.0
    return found


def shaped(numbers: list[float], asked: dict[str, Any]) -> Any:
    return base64.b64encode(struct.pack(f"<{DIMS}f", *numbers)).decode() if asked.get("encoding_format") == "base64" else numbers


@dataclass
class Planted:
    """A server whose embeddings took 400 ms, and the tokens of an operator and of somebody else."""

    server: Server
    embeddings: Embeddings
    operator: str
    other: str

    def get(self, path: str, token: str = "") -> Any:
        with self.server.client(headers={"Authorization": f"Bearer {token or self.operator}"}) as client:
            return client.get(path)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> Iterator[Planted]:
    folder = tmp_path_factory.mktemp("hotspots")
    operator, other = "operators-token", "token-of-ana"
    entries = {hash_token(operator): Identity("olga", groups=("rag-admins",)), hash_token(other): Identity("ana")}
    (folder / "tokens.json").write_text(dump_tokens(entries))
    embeddings = Embeddings(("127.0.0.1", 0), _Answer)
    threading.Thread(target=embeddings.serve_forever, daemon=True).start()
    more = (
        f"[embed]\nprovider = openai\nmodel = words\ndims = {DIMS}\napi_key = none\nmax_retries = 0\n"
        f"api_base = http://127.0.0.1:{embeddings.server_port}/v1\n[cache]\npath = {folder / 'cache'}\n[retrieval]\nembed_budget_s = 10\n"
        "[telemetry]\nenabled = true\nexporter = none\n"
    )
    api = {"auth": "tokens", "tokens_file": folder / "tokens.json", "admin_group": "rag-admins"}
    with serve(folder, api, more) as server:
        with server.client(headers={"Authorization": f"Bearer {other}"}) as client:
            text = f"The {CANARY} valve of hall one is closed by the warden. The {CANARY} valve of hall two is closed by hand.".encode()
            files = [("files", ("halls.txt", text)), ("files", (f"{SCRIPT}.pdf", b"no pdf at all"))]
            assert client.post("/v1/documents", files=files).status_code < 300
            embeddings.delay_s = DELAY_S
            for question in QUESTIONS:
                assert client.post("/v1/search", json={"query": question}).status_code == 200
            assert (
                client.post("/v1/chat", json={"message": f"Who closes the {CANARY} valve of hall one?"}, headers={"X-Request-ID": "slow-one"}).status_code
                == 200
            )
            embeddings.delay_s, embeddings.broken = 0.0, True
            assert client.post("/v1/search", json={"query": f"{CANARY} of hall nine"}).json()["degraded"]
            embeddings.broken = False
        yield Planted(server, embeddings, operator, other)
    embeddings.shutdown()
    embeddings.server_close()


def hotspots(planted: Planted, *arguments: str | Path) -> str:
    folder = planted.server.folder
    planted.get("/v1/admin/hotspots")  # the server writes what it holds; by itself it does each two seconds
    done = rag("hotspots", *arguments, "--config", folder / "config.ini", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_command_names_the_stage_that_is_slow_and_writes_a_page_that_loads_nothing(planted: Planted, tmp_path: Path) -> None:
    lines = hotspots(planted, "--html", tmp_path / "report.html").splitlines()
    assert re.match(r"Most of the time of questions: embed, \d+%: .* in 10 calls, p50 ", lines[1])
    first = lines[lines.index(next(line for line in lines if line.startswith("Questions"))) + 1]
    assert first.startswith("embed ")
    assert "█" in first
    assert any("slow-one" in line for line in lines)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<td>embed</td>" in page
    assert re.findall(r"<script|<link|src=|href=|url\(|@import|https?:", page) == []


def test_its_json_has_what_the_text_says_and_more(planted: Planted) -> None:
    report = json.loads(hotspots(planted, "--since", "15m", "--json"))
    embed = report["stages"][0]
    assert (embed["stage"], embed["budget_ms"], embed["missed"]) == ("embed", 10_000, 0)
    assert embed["p50_ms"] >= 0.95 * DELAY_S * 1000
    assert embed["change"]["verdict"] == "nothing before"
    assert sum(line["share"] for line in report["stages"]) == pytest.approx(1, abs=0.01)
    assert report["requests"]["retrieve"] == {"count": 9, "failed": 0, "cancelled": 0, "degraded": 1}
    slow = next(one for one in report["worst"] if one["correlation_id"] == "slow-one")
    assert slow["kind"] == "chat"
    assert re.fullmatch(r"[0-9a-f]{32}", slow["trace_id"])
    assert slow["ms"] == pytest.approx(sum(part["ms"] for part in slow["stages"]), rel=0.2)


def test_operators_get_the_report_others_are_refused_and_strangers_asked_who_they_are(planted: Planted) -> None:
    assert planted.get("/v1/admin/hotspots?since=15m").json()["stages"][0]["stage"] == "embed"
    assert planted.get("/v1/admin/hotspots?tenant=nobody").json()["stages"] == []
    for path in ("hotspots", "degraded", "ingestion"):
        refused = planted.get(f"/v1/admin/{path}", planted.other)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert planted.get(f"/v1/admin/{path}", "nobodys-token").status_code == 401
    wrong = planted.get("/v1/admin/hotspots?since=soon")
    assert (wrong.status_code, wrong.json()["hint"]) == (400, "Write 15m, 1h or 2d.")


def test_neither_a_collector_nor_telemetry_is_needed(handbook_server: Server) -> None:
    with handbook_server.client() as client:
        assert client.post("/v1/search", json={"query": "gas escape"}).status_code == 200
        report = client.get("/v1/admin/hotspots?since=1d").json()
    assert {"retrieve", "embed", "search"} <= {line["stage"] for line in report["stages"]}
    assert not any("trace_id" in one and one["trace_id"] for one in report["worst"])


def test_degraded_answers_and_runs_of_ingestion_are_told_by_reason(planted: Planted) -> None:
    (degraded,) = [one for one in planted.get("/v1/admin/degraded").json()["requests"] if one["kind"] == "retrieve" and one["tenant"] == "default"]
    assert "searched by words alone" in degraded["degraded"][0]
    assert degraded["correlation_id"]
    (run,) = planted.get("/v1/admin/ingestion").json()["runs"]
    assert (run["added"], run["failures"]) == (1, {"broken": 1})


def test_neither_file_nor_reports_hold_content(planted: Planted) -> None:
    folder = planted.server.folder / "data"
    planted.get("/v1/admin/hotspots")
    kept = b"".join(path.read_bytes() for path in folder.glob(f"{FILE}*"))
    assert b"embed" in kept
    for text in (CANARY, "halls.txt", "onerror", "warden", "olga", 'ana"'):
        assert text.encode() not in kept
        assert text not in "".join(planted.get(f"/v1/admin/{path}").text for path in ("hotspots", "degraded", "ingestion"))


def test_the_page_shows_the_slow_stage_first_and_never_runs_what_it_shows(planted: Planted, chromium: str) -> None:
    plant_script(planted.server.folder / "data" / FILE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text) if message.type in {"error", "warning"} and "401" not in message.text else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.add_init_script("addEventListener('securitypolicyviolation', (event) => console.error('CSP ' + event.violatedDirective))")
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{planted.server.url}/admin")
        look_at(page, planted)
        assert faults == ["Failed to load resource: the server responded with a status of 403 (Forbidden)"]
        assert [url for url in requests if not url.startswith((planted.server.url, "data:"))] == []
        browser.close()


def look_at(page: Page, planted: Planted) -> None:
    sign_in(page, planted.other)
    expect(page.locator("#notice")).to_contain_text("Only operators may see this")
    page.get_by_role("button", name="Use another token").click()
    sign_in(page, planted.operator)
    expect(page.locator("#headline")).to_contain_text("embed")
    expect(page.locator("#questions tbody tr").first.locator("th")).to_have_text("embed")
    expect(page.locator("#health li").first).to_contain_text("healthy")
    expect(page.locator("#worst")).to_contain_text("slow-one")
    expect(page.locator("#degraded")).to_contain_text("searched by words alone")
    expect(page.locator("#degraded")).to_contain_text(SCRIPT)
    expect(page.locator("#ingestion")).to_contain_text("broken 1")
    assert page.evaluate("window.pwned") is None
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 1]
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # one of its words
        assert page.evaluate(CONTRAST) == []


def sign_in(page: Page, given: str) -> None:
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    page.get_by_label("Access token of an operator").fill(given)
    page.keyboard.press("Enter")


def plant_script(path: Path) -> None:
    """What a tool of somebody's own might give as its reason."""
    batch, summing = Batch(), Summing({})
    request = Finished("chat", "default", time.time(), 0.001, {"chat": 0.001}, degraded=(f"the tool {SCRIPT} failed",), correlation_id=SCRIPT)
    summing.finished(batch, request)
    summing.finished(batch, replace(request, kind="ingest", tenant=SCRIPT, counts={f"failed.{SCRIPT}": 1}))
    HotspotStore(path, days=7, megabytes=32).write(batch, time.time())
