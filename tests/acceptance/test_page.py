"""The chat page in Chromium, over the running product."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.acceptance.page_parts import CONTRAST, QUESTION, Watched, ask, browser, open_page

__all__ = ["browser", "open_page"]

RAG = str(Path(sys.executable).parent / "rag")
DOCUMENT = "examples/handbook/safety/gas-escape-procedure.pdf"
FOLLOW_UP = "Who answers the gas emergency line?"
CANARY = """The Marzipan protocol <img src=x onerror="window.pwned=1"> demands <script>window.pwned=2</script> three keys.
The Marzipan protocol also names [a link](javascript:window.pwned=3) and <a href="javascript:window.pwned=4">another</a> key.
The Marzipan protocol ends with <svg onload=window.pwned=5> and <iframe srcdoc="<script>parent.pwned=6</script>"> keys.
"""


def test_ask_follow_up_and_open_a_citation_in_its_document(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    ask(page, QUESTION)
    answer = page.locator(".turn").first
    expect(answer.locator(".answer-text")).to_contain_text("within one hour")
    ask(page, FOLLOW_UP)
    expect(page.locator(".turn")).to_have_count(2)
    answer.locator("button.cite").first.click()
    viewer = page.get_by_role("complementary", name="Gas Escape Procedure")
    expect(viewer).to_be_visible()
    expect(viewer.locator("#viewer-where")).to_contain_text("Page 1")
    mark = viewer.locator("mark")
    expect(mark).to_have_text(re.compile("must be attended within one hour"))
    expect(mark).to_be_in_viewport()
    expect(page.locator("#viewer-title")).to_be_focused()
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(answer.locator("button.cite").first).to_be_focused()


def test_every_mark_of_an_answer_opens_a_passage_with_its_quote(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    ask(page, "What should an adviser do when a customer reports a smell of gas?")
    marks = page.locator("button.cite")
    assert marks.count() >= 1
    assert page.locator(".source").count() == marks.count()
    for place in range(marks.count()):
        marks.nth(place).click()
        expect(page.locator("#viewer-label")).to_have_text(f"Citation {place + 1}")
        expect(page.locator("#viewer mark")).to_be_visible()
        expect(page.locator("#viewer .passage.current")).to_have_count(1)


def test_neighbouring_passages_can_be_read_and_the_original_opened(open_page: Callable[..., Watched], handbook_server: Any) -> None:
    page = open_page().page
    ask(page, QUESTION)
    page.locator("button.cite").first.click()
    expect(page.locator("#viewer mark")).to_be_visible()
    before = page.locator("#viewer .passage.current").inner_text()
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#viewer-label")).to_have_text(re.compile(r"Passage \d+ of \d+"))
    expect(page.locator("#viewer .passage.current")).not_to_have_text(before)
    page.get_by_role("button", name="Previous").click()
    expect(page.locator("#viewer .passage.current")).to_have_text(before)
    link = str(page.get_by_role("link", name="Open the file").get_attribute("href"))
    assert link.endswith("/file#page=1")
    answer = page.request.get(handbook_server.url + link.split("#", maxsplit=1)[0])
    assert answer.body().startswith(b"%PDF")


def test_reloading_keeps_the_thread_and_going_back_leaves_it(open_page: Callable[..., Watched]) -> None:
    watched = open_page()
    page = watched.page
    ask(page, QUESTION)
    text = page.locator(".answer-text").inner_text()
    assert "#thread=" in page.url
    page.reload()
    watched.ready()
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator(".answer-text")).to_have_text(text, use_inner_text=True)
    expect(page.locator(".threads [aria-current=page]")).to_have_text(QUESTION)
    page.locator("button.cite").first.click()
    expect(page.locator("#viewer mark")).to_be_visible()
    page.keyboard.press("Escape")
    ask(page, FOLLOW_UP)
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    page.go_back()
    expect(page.locator(".turn")).to_have_count(2)


def test_conversations_are_listed_opened_and_deleted(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    name = "Which form records the gas readings of each single room?"
    ask(page, name)
    item = page.locator(".threads li").filter(has_text=name)
    expect(item).to_have_count(1)
    page.get_by_role("button", name="New conversation").click()
    item.get_by_role("button", name=name, exact=True).click()
    expect(page.locator(".turn .question")).to_contain_text(name)
    item.hover()
    item.get_by_role("button", name="More for").click()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Keep it").click()
    expect(item).to_have_count(1)
    expect(item.get_by_role("button", name="More for")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(item).to_have_count(0)
    expect(page.locator(".turn")).to_have_count(0)
    assert "#thread" not in page.url


def test_nothing_that_a_document_says_becomes_markup_or_runs(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    name = 'canary <img src=x onerror="window.pwned=7">.txt'
    page.locator("#files").set_input_files({"name": name, "mimeType": "text/plain", "buffer": CANARY.encode()})
    expect(page.locator(".tray-item")).to_contain_text("Added")
    ask(page, 'What does the Marzipan protocol demand? <img src=x onerror="window.pwned=8">')
    expect(page.locator(".answer-text")).to_contain_text("script>window.pwned")
    page.locator("button.cite").first.click()
    expect(page.locator("#viewer .passage.current")).to_contain_text("<iframe srcdoc=")
    page.reload()
    expect(page.locator(".answer-text")).to_contain_text("script>window.pwned")
    inside = page.locator(":is(.turns, .viewer, .threads, .tray, #title) :is(img, script, iframe, object, embed, svg[onload], a[href^='javascript'])")
    expect(inside).to_have_count(0)
    assert page.evaluate("window.pwned") is None


def test_the_policy_would_stop_a_script_that_got_in_all_the_same(browser: Browser, handbook_server: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(handbook_server.url)
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.pwned = 1'}))")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned=1\">')")
    assert page.evaluate("window.pwned") is None
    context.close()


def test_dark_mode_follows_the_system_and_can_be_chosen(open_page: Callable[..., Watched]) -> None:
    def ground(page: Page) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light, dark = open_page(color_scheme="light"), open_page(color_scheme="dark")
    assert ground(light.page) != ground(dark.page)
    toggle = light.page.get_by_role("button", name="Dark mode")
    expect(toggle).to_have_attribute("aria-pressed", "false")
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "true")
    assert ground(light.page) == ground(dark.page)
    light.page.reload()
    light.ready()
    assert ground(light.page) == ground(dark.page)


def test_the_keyboard_alone_suffices(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.type("How quickly must an uncontrolled")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("gas escape be attended?")
    assert "\n" in page.get_by_label("Your question").input_value()
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "false", timeout=30_000)
    for _ in range(30):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.classList.contains('cite')"):
            break
    name = str(page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert re.match(r"Citation \d+: Gas Escape Procedure, Page 1", name)
    page.keyboard.press("Enter")
    expect(page.locator("#viewer-title")).to_be_focused()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == name


def test_screen_readers_get_landmarks_names_and_each_sentence_once(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("navigation", name="Conversations")).to_have_count(1)
    expect(page.get_by_role("complementary", name="Conversations")).to_have_count(1)
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, textarea, a[href], select')]"
        ".filter((e) => !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim())).map((e) => e.outerHTML)"
    )
    assert nameless == []
    ask(page, QUESTION)
    spoken = page.locator("#announce")
    assert spoken.get_attribute("aria-live") == "polite"
    expect(spoken).to_contain_text("within one hour")
    assert "[1]" not in spoken.inner_text()
    expect(page.get_by_role("status")).to_contain_text("Answered with")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(open_page: Callable[..., Watched], scheme: str) -> None:
    page = open_page(color_scheme=scheme, reduced_motion="reduce").page
    ask(page, QUESTION)
    page.locator("button.cite").first.click()
    expect(page.locator("#viewer mark")).to_be_visible()
    weak = page.evaluate(CONTRAST)
    assert weak == []


def test_a_narrow_screen_shows_everything_without_sideways_scrolling(open_page: Callable[..., Watched]) -> None:
    page = open_page(viewport={"width": 390, "height": 844}).page

    def overflow() -> int:
        return int(page.evaluate("Math.max(...[document.documentElement, document.querySelector('#log')].map((e) => e.scrollWidth - e.clientWidth))"))

    ask(page, QUESTION)
    assert overflow() == 0
    page.locator("button.cite").first.click()
    expect(page.locator("#viewer mark")).to_be_in_viewport()
    assert page.evaluate("document.querySelector('#chat').inert")
    page.get_by_role("button", name="Close the passage").click()
    page.locator("#menu").click()
    expect(page.get_by_role("button", name="New conversation")).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="New conversation")).not_to_be_in_viewport()
    assert overflow() == 0


def test_a_question_beyond_the_documents_is_shown_as_refused(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    held: list[Route] = []
    page.route("**/v1/chat", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the handler, which a built-in does not allow
    page.locator("#turns").evaluate("(turns) => { turns.style.paddingTop = '900px'; }")  # as after many questions
    with page.expect_request("**/v1/chat"):
        page.get_by_label("Your question").fill("What is the price of coffee on the moon?")
        page.keyboard.press("Enter")
    log = page.locator("#log")
    assert log.evaluate("(log) => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(log.scrollTop))))") > 0
    log.evaluate("(log) => { log.scrollTop = 0; return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))); }")
    held.pop().fulfill(status=200, content_type="text/event-stream", body=REFUSED)
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "false")
    assert log.evaluate("(log) => log.scrollTop") == 0  # who reads further up stays there
    expect(page.locator(".answer.refused .note").first).to_contain_text("Not in the documents")
    expect(page.locator(".note.warn")).to_contain_text("searched by words alone")
    page.unroute("**/v1/chat")
    page.get_by_role("button", name="New conversation").click()
    ask(page, "Who approves it?")  # asked back, which is no refusal
    expect(page.locator(".answer-text")).to_contain_text("What do you mean by")
    expect(page.locator(".note")).to_have_count(0)


def test_an_error_is_shown_in_words_and_can_be_tried_again(open_page: Callable[..., Watched]) -> None:
    watched = open_page()
    page = watched.page
    page.route("**/v1/chat", lambda route: route.fulfill(status=503, content_type="application/problem+json", body=OUTAGE))
    ask(page, QUESTION)
    note = page.get_by_role("alert")
    expect(note).to_contain_text("The index does not answer.")
    expect(note).to_contain_text("Start it.")
    expect(note).to_contain_text("Reference: abc123")
    page.unroute("**/v1/chat")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".answer-text")).to_contain_text("within one hour", timeout=30_000)
    watched.faults[:] = [fault for fault in watched.faults if "503" not in fault]  # the browser's own line about the failed request


def thread_of(page: Page, question: str) -> str:
    page.get_by_role("button", name="New conversation").click()
    ask(page, question)
    return page.url.split("#thread=")[1]


def hold_back(page: Page, thread: str) -> Callable[[], None]:
    """Keeps the history of a thread on its way until what is returned is called."""
    held: list[Route] = []
    page.route(f"**/v1/threads/{thread}/history", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the handler, which a built-in does not allow

    def let_go() -> None:
        with page.expect_response(f"**/v1/threads/{thread}/history"):
            held.pop().continue_()
        page.unroute(f"**/v1/threads/{thread}/history")
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 100))")  # what the page does with it, it has done now

    return let_go


def test_a_conversation_that_arrives_late_does_not_replace_the_one_opened_since(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    first, second = "Who keeps the gas detectors calibrated?", "Who repairs a broken gas meter?"
    late, wanted = thread_of(page, first), thread_of(page, second)
    page.get_by_role("button", name="New conversation").click()
    let_go = hold_back(page, late)
    for name in (first, second):
        page.locator(".threads li").get_by_role("button", name=name, exact=True).first.click()
    expect(page.locator(".turn .question")).to_contain_text(second)
    let_go()
    expect(page.locator(".turn .question")).to_contain_text(second)
    assert page.url.endswith(wanted)
    expect(page.locator(".threads [aria-current=page]")).to_have_text(second)


def test_a_conversation_that_arrives_late_does_not_take_away_a_question_asked_since(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    let_go = hold_back(page, thread_of(page, "Who may isolate a gas supply?"))
    page.get_by_role("button", name="New conversation").click()
    page.locator(".threads li").get_by_role("button", name="Who may isolate a gas supply?", exact=True).first.click()
    ask(page, QUESTION)
    let_go()
    expect(page.locator(".turn .question")).to_contain_text(QUESTION)
    expect(page.locator(".answer-text")).to_contain_text("within one hour")


def test_a_conversation_deleted_elsewhere_goes_on_as_a_new_one(open_page: Callable[..., Watched], handbook_server: Any) -> None:
    watched = open_page()
    page = watched.page
    gone = thread_of(page, "How often are gas detectors tested?")
    ask_in_a_deleted_thread_by_editing(page, f"{handbook_server.url}/v1/threads/{gone}")
    gone = thread_of(page, "How often are gas detectors tested?")
    assert page.request.delete(f"{handbook_server.url}/v1/threads/{gone}").ok
    ask(page, QUESTION)
    note = page.get_by_role("alert")
    expect(note).to_contain_text("This conversation was deleted elsewhere.")
    assert "thread_id" not in note.inner_text()
    page.get_by_role("button", name="Ask in a new conversation").click()
    expect(page.locator(".answer-text")).to_contain_text("within one hour", timeout=30_000)
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator(".threads [aria-current=page]")).to_have_text(QUESTION)
    assert gone not in page.url
    watched.faults[:] = [fault for fault in watched.faults if "404" not in fault]


def ask_in_a_deleted_thread_by_editing(page: Page, thread: str) -> None:
    assert page.request.delete(thread).ok
    ask(page, QUESTION)
    expect(page.get_by_role("alert")).to_contain_text("This conversation was deleted elsewhere.")
    page.locator(".turn").first.get_by_role("button", name="Edit the question").click()
    page.keyboard.press("End")
    page.keyboard.type(" By whom?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "false", timeout=30_000)
    expect(page.locator(".note.bad")).to_have_count(0)
    expect(page.locator(".threads [aria-current=page]")).to_have_text("How often are gas detectors tested? By whom?")


def test_an_answer_can_be_stopped(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    held: list[Route] = []
    page.route("**/v1/chat", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the handler, which a built-in does not allow
    page.route("**/v1/chat/runs/*", lambda route: route.fulfill(status=204))
    page.get_by_label("Your question").fill(QUESTION)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop the answer").click()
    expect(page.locator(".answer .note")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    # The server hears of it as soon as it has named the run.
    with page.expect_request(lambda request: (request.method, request.url.rsplit("/", 1)[1]) == ("DELETE", "a1")):
        held.pop().fulfill(status=200, content_type="text/event-stream", headers={"X-Run-ID": "a1"}, body=REFUSED)
    expect(page.locator(".answer .note")).to_have_text("Stopped.")
    expect(page.locator(".answer-text")).to_be_empty()


def test_a_file_that_cannot_be_read_says_why(open_page: Callable[..., Watched]) -> None:
    watched = open_page()
    watched.page.locator("#files").set_input_files({"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 nothing"})
    expect(watched.page.locator(".tray-item[data-kind=bad]")).to_contain_text("broken.pdf")
    watched.faults[:] = [fault for fault in watched.faults if "422" not in fault]


def test_a_server_with_tokens_is_signed_into_for_this_tab_only(
    open_page: Callable[..., Watched], serve: Callable[..., Any], tmp_path: Path, root: Path
) -> None:
    api = {"auth": "tokens", "tokens_file": tmp_path / "tokens.json"}
    (tmp_path / "tokens.json").write_text("{}")
    with serve(tmp_path, api) as server:
        config = str(tmp_path / "config.ini")
        made = subprocess.run([RAG, "token", "create", "--user", "ana", "--config", config], check=True, capture_output=True, text=True, timeout=60)
        SignedIn.token = made.stdout.strip()
        with server.client(headers={"Authorization": f"Bearer {SignedIn.token}"}) as client, (root / DOCUMENT).open("rb") as file:
            assert client.post("/v1/documents", files={"files": file}).json()["documents"][0]["status"] == "added"
        watched = open_page(server.url, kind=SignedIn)
        page = watched.page
        ask(page, QUESTION)
        page.locator("button.cite").first.click()
        expect(page.locator("#viewer mark")).to_be_visible()
        with page.expect_response(lambda answer: "/file" in answer.url) as fetched, page.expect_popup():
            page.get_by_role("link", name="Open the file").click()
        assert fetched.value.status == 200
        assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 1]
        page.evaluate("sessionStorage.setItem('rag-token', 'to\\u200bken')")  # as an earlier release kept it
        page.reload()
        expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
        expect(page.locator("#token-message")).to_have_text("This server asks for an access token.")
        # A question that was on its way is not asked again for who signs in next.
        about = {"thread": page.url.split("#thread=")[1], "question": "First", "known": [], "listed": [], "asked": time.time() * 1000}
        kept = {"path": "/v1/chat", "json": {"message": "First", "stream": True}, "about": about, "key": "k", "id": None}
        page.evaluate("(kept) => sessionStorage.setItem('rag-pending', JSON.stringify(kept))", kept)
        page.get_by_label("Access token").fill(SignedIn.token)
        page.keyboard.press("Enter")
        expect(page.locator("html[data-ready]")).to_have_count(1)
        expect(page.locator(".turn")).to_have_count(1)
        assert page.evaluate("sessionStorage.length") == 1
        watched.faults[:] = [fault for fault in watched.faults if "401" not in fault]


class SignedIn(Watched):
    """A page of a server that asks for a token: a wrong one is asked for again."""

    token = ""

    def ready(self) -> None:
        for given, message in (
            ("to\u200bken", "This server asks for an access token."),  # copied with an invisible character
            ("wrong", re.compile("Copy it again")),
            (self.token, "The bearer token is not known."),
        ):
            expect(self.page.get_by_role("dialog", name="Sign in")).to_be_visible()
            expect(self.page.locator("#token-message")).to_have_text(message)
            expect(self.page.get_by_label("Access token")).to_be_focused()
            self.page.get_by_label("Access token").fill(given)
            self.page.keyboard.press("Enter")
        super().ready()
        self.faults[:] = [fault for fault in self.faults if "401" not in fault]


REFUSED = """event: token
data: {"text": "The documents do not say."}

event: citations
data: []

event: done
data: {"thread_id": "t", "message_id": "m", "answer": "The documents do not say.", "citations": [], "refused": true, "degraded": ["searched by words alone"]}

"""
OUTAGE = '{"type": "urn:rag:problem:unavailable", "status": 503, "detail": "The index does not answer.", "hint": "Start it.", "correlation_id": "abc123"}'


def test_a_word_on_an_answer_stays_after_a_reload_and_can_be_taken_back(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    ask(page, QUESTION)
    good, bad = page.get_by_role("button", name="Good answer"), page.get_by_role("button", name="Bad answer")
    expect(page.get_by_label("What was good or bad about it")).to_be_hidden()
    good.click()
    expect(good).to_have_attribute("aria-pressed", "true")
    page.get_by_label("What was good or bad about it").fill("typed, not sent")
    bad.click()
    expect(good).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_label("What was good or bad about it")).to_have_value("typed, not sent")
    page.get_by_label("What was good or bad about it").fill("<b>wrong form</b>")
    page.get_by_role("group", name="Feedback on this answer").get_by_role("button", name="Send").click()
    expect(page.locator(".feedback-said")).to_have_text("Thank you.")
    page.reload()
    expect(page.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("What was good or bad about it")).to_have_value("<b>wrong form</b>")
    assert page.evaluate(CONTRAST) == []
    page.get_by_role("button", name="Bad answer").click()
    expect(page.locator(".feedback-said")).to_have_text("Taken back.")
    page.reload()
    expect(page.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "false")
