"""What the tests of the chat page share: one browser a file, and pages that are watched for what should not happen on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
QUESTION = "How quickly must an uncontrolled gas escape be attended?"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


class Watched:
    """A page together with everything that should not happen on it."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type in {"error", "warning"} else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", self._dismissed)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.add_init_script("addEventListener('securitypolicyviolation', (event) => console.error('CSP ' + event.violatedDirective))")
        self.page.goto(url)
        self.ready()

    def _dismissed(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def ready(self) -> None:
        expect(self.page.locator("html[data-ready]")).to_have_count(1)


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Watched]]:
    """Opens pages, of the handbook's server unless an address is given."""
    contexts: list[BrowserContext] = []
    opened: list[Watched] = []

    def open_one(url: str = "", kind: type[Watched] = Watched, **options: Any) -> Watched:
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options}))
        opened.append(kind(contexts[-1], url or request.getfixturevalue("handbook_server").url))
        return opened[-1]

    yield open_one
    for watched in opened:
        origin = watched.page.url.split("/", 3)[2]
        assert watched.faults == []
        assert [url for url in watched.requests if not url.startswith(("data:", "blob:")) and url.split("/", 3)[2] != origin] == []
    for context in contexts:
        context.close()


def ask(page: Page, question: str) -> None:
    before = page.locator(".turn").count()
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_count(before + 1)
    expect(page.locator(".turn").last.locator(".answer")).to_have_attribute("aria-busy", "false", timeout=30_000)


def forgive(watched: Watched) -> None:
    """A browser tells of each request that found nobody."""
    expected = ("ERR_CONNECTION", "ERR_EMPTY_RESPONSE", "ERR_FAILED", "ERR_INCOMPLETE_CHUNKED", "ERR_SOCKET", "404 (Not Found)")
    watched.faults[:] = [fault for fault in watched.faults if not any(one in fault for one in expected)]


CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const channel = (value) => { const c = value / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const weak = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const hidden = !element.checkVisibility({ opacityProperty: true }) || element.closest('.visually-hidden, :disabled, noscript');
    if (hidden || !walker.currentNode.data.trim()) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) weak.push(`${walker.currentNode.data.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return weak;
}"""
