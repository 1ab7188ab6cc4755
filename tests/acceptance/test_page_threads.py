"""What can be done with conversations on the chat page: named, found, copied, branched, exported; questions edited and asked again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from tests.acceptance.page_parts import CONTRAST, QUESTION, Watched, ask, browser, forgive, open_page

__all__ = ["browser", "open_page"]

FOLLOW_UP = "Who answers the gas emergency line?"
OUTAGE = '{"status": 503, "detail": "The disk is full.", "hint": "Free some room."}'


def listed(page: Page, title: str) -> Locator:
    return page.locator("#threads li").filter(has=page.get_by_role("button", name=title, exact=True))


def history(page: Page) -> list[str]:
    thread = page.url.split("#thread=")[1]
    return [turn["question"] for turn in page.request.get(f"{page.url.split('#', maxsplit=1)[0]}v1/threads/{thread}/history").json()["turns"]]


def test_a_conversation_is_renamed_with_the_keyboard_found_by_its_title_and_listed_page_by_page(open_page: Callable[..., Watched]) -> None:
    watched = open_page()
    page = watched.page
    ask(page, QUESTION)
    page.get_by_role("button", name="More for this conversation").focus()
    page.keyboard.press("Enter")
    menu = page.get_by_role("group", name=f"“{QUESTION}”")
    expect(menu.get_by_role("button", name="Rename")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(menu.get_by_role("button", name="Delete …")).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(page.get_by_role("button", name="More for this conversation")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Rename this conversation").get_by_label("Title")).to_be_focused()
    page.route("**/v1/threads/*", lambda route: route.fulfill(status=503, content_type="application/problem+json", body=OUTAGE))
    page.keyboard.type("Zähler <b>und</b> Gas")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="The disk is full. Free some room.")).to_be_visible()
    page.unroute("**/v1/threads/*")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Zähler <b>und</b> Gas")
    expect(page.get_by_role("button", name="More for this conversation")).to_be_focused()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Zähler <b>und</b> Gas")
    find = page.get_by_role("searchbox", name="Search conversations by title")
    find.fill("ZAHLER")
    expect(page.locator("#threads li")).to_have_count(1)
    expect(page.get_by_role("status").filter(has_text="1 conversation found.")).to_have_count(1)
    find.fill("no title has this")
    expect(page.get_by_text("No conversation has these words in its title.")).to_be_visible()
    find.fill("")
    expect(listed(page, "Zähler <b>und</b> Gas")).to_have_count(1)
    # A long list comes page by page.
    page.route("**/v1/threads?*", lambda route: route.continue_(url=route.request.url.replace("limit=50", "limit=1")))
    page.get_by_role("button", name="New conversation").click()
    ask(page, FOLLOW_UP)
    expect(page.locator("#threads li")).to_have_count(1)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#threads li")).to_have_count(2)
    expect(page.locator("#threads li").last.get_by_role("button").first).to_be_focused()
    watched.faults[:] = [fault for fault in watched.faults if "503" not in fault]


def test_an_answer_is_made_anew_a_question_edited_and_a_branch_begun(open_page: Callable[..., Watched]) -> None:
    watched = open_page()
    page = watched.page
    ask(page, QUESTION)
    ask(page, FOLLOW_UP)
    first, last = page.locator(".turn").first, page.locator(".turn").last
    expect(first.get_by_role("button", name="Answer again")).to_be_hidden()
    before = page.url
    last.get_by_role("button", name="Answer again").click()
    expect(page.locator(".turn:not([hidden]) [aria-busy=false]")).to_have_count(2, timeout=30_000)
    expect(page.locator(".turn")).to_have_count(2)
    assert history(page) == [QUESTION, FOLLOW_UP]
    page.route("**/v1/threads/*/fork", lambda route: route.fulfill(status=503, content_type="application/problem+json", body=OUTAGE))
    first.get_by_role("button", name="Branch from here").click()
    expect(page.get_by_role("alert").filter(has_text="The conversation could not be branched. The disk is full. Free some room.")).to_be_visible()
    page.get_by_role("button", name="Close the message").click()
    expect(page.get_by_label("Your question")).to_be_focused()
    page.unroute("**/v1/threads/*/fork")
    watched.faults[:] = [fault for fault in watched.faults if "503" not in fault]
    first.get_by_role("button", name="Branch from here").click()
    expect(page.get_by_text("This is a new conversation")).to_be_visible()
    assert page.url != before
    assert history(page) == [QUESTION]
    page.go_back()
    expect(page.locator(".turn")).to_have_count(2)
    first.get_by_role("button", name="Edit the question").click()
    expect(first.get_by_label("New wording of the question")).to_be_focused()
    expect(first.get_by_text("and of the question after it")).to_be_visible()
    assert page.evaluate(CONTRAST) == []
    page.keyboard.press("Escape")
    expect(first.get_by_role("button", name="Edit the question")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type(" Say it.")
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_count(1, timeout=30_000)
    expect(page.locator(".turn .question")).to_contain_text(f"{QUESTION} Say it.")
    assert history(page) == [f"{QUESTION} Say it."]
    edit_while_an_answer_is_on_its_way(page)
    # Somebody asks it anew in another window.
    thread, url = page.url.split("#thread=")[1], f"{page.url.split('#', maxsplit=1)[0]}v1"
    message = page.request.get(f"{url}/threads/{thread}/history").json()["turns"][0]["message_id"]
    assert page.request.post(f"{url}/chat", data={"message": FOLLOW_UP, "thread_id": thread, "replaces": message}).ok
    page.get_by_role("button", name="Answer again").click()
    expect(page.get_by_text("This conversation was changed in another window.")).to_be_visible()
    expect(page.locator(".turn .question")).to_contain_text(FOLLOW_UP)
    expect(page.get_by_label("Your question")).to_have_value(f"{QUESTION} Say it.")
    forgive(watched)


def edit_while_an_answer_is_on_its_way(page: Page) -> None:
    """What was written stays until it is asked."""
    page.get_by_role("button", name="Edit the question").click()
    box = page.get_by_label("New wording of the question")
    box.fill("Written with care")
    page.route("**/v1/chat", lambda route: None)  # never answers
    page.get_by_label("Your question").fill(FOLLOW_UP)
    page.keyboard.press("Enter")
    form = page.locator("form.edit")
    form.get_by_role("button", name="Ask").click()
    expect(form.get_by_role("alert")).to_contain_text("An answer is on its way.")
    expect(box).to_have_value("Written with care")
    page.get_by_role("button", name="Stop the answer").click()
    form.get_by_role("button", name="Cancel").click()
    page.reload()
    page.unroute("**/v1/chat")
    expect(page.locator(".turn")).to_have_count(1)


def test_a_conversation_is_copied_and_exported_and_a_stopped_answer_leaves_the_one_before(open_page: Callable[..., Watched]) -> None:
    page = open_page(viewport={"width": 390, "height": 844}).page
    ask(page, QUESTION)
    original = page.url
    page.get_by_role("button", name="More for this conversation").click()
    box = page.locator("#thread-menu").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.locator("#thread-menu").get_by_role("button", name="Make a copy").click()
    expect(page.get_by_text("This is a copy of the conversation.")).to_be_visible()
    assert page.url != original
    page.get_by_role("button", name="Close the message").click()
    with page.expect_download() as found:
        page.get_by_role("button", name="More for this conversation").click()
        page.locator("#thread-menu").get_by_role("button", name="Export as a file").click()
    assert found.value.suggested_filename == "How-quickly-must-an-uncontrolled-gas-escape-be-attended.json"
    told: dict[str, Any] = json.loads(Path(found.value.path()).read_text(encoding="utf-8"))
    assert [turn["question"] for turn in told["history"]] == [QUESTION]
    page.route("**/v1/chat", lambda route: None)  # never answers
    page.get_by_role("button", name="Answer again").click()
    expect(page.get_by_role("button", name="Edit the question")).to_be_hidden()
    page.get_by_role("button", name="Stop the answer").click()
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator(".answer-text")).to_contain_text("within one hour")
    expect(page.locator(".answer .note")).to_have_text("Stopped. The answer before stays.")
    page.get_by_label("Your question").fill(FOLLOW_UP)
    page.keyboard.press("Enter")
    page.go_back()
    expect(page.get_by_text("The answer under way was stopped, because its conversation was left.")).to_be_visible()
    expect(page.locator(".turn")).to_have_count(1)
    page.get_by_role("button", name="Edit the question").click()
    assert page.evaluate("document.querySelector('#log').scrollWidth - document.querySelector('#log').clientWidth") == 0


class Away(Watched):
    """A page whose server is gone once the page is there."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        def gone(route: Route) -> None:
            route.abort()

        for path in ("**/v1/**", "**/health/**"):
            context.route(path, gone)
        super().__init__(context, url)


def test_a_server_that_is_away_when_the_page_opens_is_waited_for_and_half_a_page_says_so(open_page: Callable[..., Watched]) -> None:
    watched = open_page(kind=Away)
    page = watched.page
    away = page.get_by_role("alert").filter(has_text="The server cannot be reached. This page goes on by itself")
    expect(away).to_be_visible()
    assert page.evaluate(CONTRAST) == []
    page.get_by_label("Your question").fill(QUESTION)
    page.keyboard.press("Enter")
    expect(page.locator(".connection")).to_contain_text("Trying again")
    for path in ("**/v1/**", "**/health/**"):
        page.context.unroute(path)
    page.get_by_role("button", name="Try now").click()
    expect(away).to_be_hidden()
    expect(page.locator(".answer-text")).to_contain_text("within one hour", timeout=30_000)
    expect(page.locator("#threads li").first).to_contain_text(QUESTION)
    # The page is left with a question on its way, and opened again before the server is back.
    page.route("**/v1/chat", lambda route: None)  # never answers
    page.get_by_label("Your question").fill(FOLLOW_UP)
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_count(2)
    for path in ("**/v1/**", "**/health/**"):
        page.context.route(path, lambda route: route.abort())
    page.reload()
    expect(away).to_be_visible()
    page.unroute("**/v1/chat")
    for path in ("**/v1/**", "**/health/**"):
        page.context.unroute(path)
    page.get_by_role("button", name="Try now").click()
    expect(page.locator(".turn")).to_have_count(2)
    expect(page.locator(".answer-text").last).not_to_be_empty()
    expect(page.locator(".answer").last).to_have_attribute("aria-busy", "false", timeout=30_000)
    assert history(page) == [QUESTION, FOLLOW_UP]
    # Scripts that do not come.
    expect(page.get_by_text("This page did not load whole")).to_be_hidden()
    page.route("**/static/stream.js", lambda route: route.abort())
    page.reload()
    page.evaluate("document.getAnimations().forEach((one) => one.finish())")  # after ten seconds
    expect(page.get_by_text("This page did not load whole")).to_be_visible()
    forgive(watched)
