"""Take docs/images/chat.png from a running `rag serve` over the sample handbook: `python docs/screenshot.py [URL] [light|dark]`."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

TARGET = Path(__file__).parent / "images" / "chat.png"
EARLIER = ["Is hands-free OK in the van?", "When do welfare calls begin during an outage?", "How long can a payment plan run?"]
SHOWN = "What happens when a gas engineer finds a reading above 20 percent?"


def ask(page: Page, question: str) -> None:
    page.fill("#question", question)
    page.press("#question", "Enter")
    page.wait_for_selector(f".turn:has-text({question!r}) .answer[aria-busy=false]")


def main(url: str = "http://127.0.0.1:8000", scheme: str = "light") -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        for question in EARLIER:
            ask(page, question)
            page.click("#new-thread")
            page.wait_for_selector("#empty:visible")
        ask(page, SHOWN)
        page.locator(".turn").last.locator("button.cite").first.click()
        page.wait_for_selector("#viewer mark")
        TARGET.parent.mkdir(exist_ok=True)
        page.screenshot(path=TARGET)
        browser.close()
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
