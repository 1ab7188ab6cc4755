"""Pictures of the hotspot report and of the operator's view for docs/observability.md, from a real run: `python -m tests.acceptance.screenshots`.

A server over the sample handbook, whose embedding service becomes 400 ms slower from one minute to the next, and fails twice.
Takes one to two minutes; needs Chromium.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.acceptance.conftest import Server, rag, serving, write_config
from tests.acceptance.page_parts import ARGUMENTS
from tests.acceptance.test_hotspots import DELAY_S, DIMS, Embeddings, _Answer

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
SIZE = {"width": 1000, "height": 860}
QUESTIONS = 24


def main() -> None:
    embeddings = Embeddings(("127.0.0.1", 0), _Answer)
    threading.Thread(target=embeddings.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        more = (
            f"[embed]\nprovider = openai\nmodel = words\ndims = {DIMS}\napi_key = none\nmax_retries = 0\n"
            f"api_base = http://127.0.0.1:{embeddings.server_port}/v1\n[cache]\npath = {folder / 'cache'}\n[retrieval]\nembed_budget_s = 5\n"
        )
        done = rag("ingest", ROOT / "examples" / "handbook", "--config", write_config(folder, {}, more), cwd=folder)
        assert done.returncode == 0, done.stderr
        with serving(folder, {}, more) as server:
            run(server, embeddings)
            report = folder / "report.html"
            rag("hotspots", "--since", "1m", "--html", report, "--config", folder / "config.ini", cwd=folder)
            take(server, report)
    embeddings.shutdown()


def run(server: Server, embeddings: Embeddings) -> None:
    """A usual minute, and one in which the embedding service is slow."""
    with server.client() as client:
        _wait_for_a_minute()
        _ask(client, "usual")
        _wait_for_a_minute()
        embeddings.delay_s = DELAY_S
        _ask(client, "slow")
        embeddings.delay_s, embeddings.broken = 0.0, True
        for number in range(2):
            client.post("/v1/search", json={"query": f"broken {number}"})
        embeddings.broken = False
        client.get("/v1/admin/hotspots")


def _ask(client: Any, word: str) -> None:
    for number in range(QUESTIONS):
        client.post("/v1/search", json={"query": f"How quickly must a gas escape be attended? {word} {number}"})
    for number in range(4):
        client.post("/v1/chat", json={"message": f"Who answers the gas emergency line of area {number}?"})


def _wait_for_a_minute() -> None:
    """Until the next one begins."""
    time.sleep(60.2 - time.time() % 60)


def take(server: Server, report: Path) -> None:
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for name, url, scheme in (("hotspots.png", report.as_uri(), "light"), ("admin.png", f"{server.url}/admin", "dark")):
            page = browser.new_page(viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type] # one of its words
            page.goto(url)
            page.wait_for_selector("table")
            page.screenshot(path=PICTURES / name)
            print(f"wrote {PICTURES / name}")
        browser.close()


if __name__ == "__main__":
    main()
