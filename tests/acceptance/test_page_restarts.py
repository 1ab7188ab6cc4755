"""The chat page over a server that is stopped, killed and cut off: answers go on, decisions wait, and what is the matter stands on the page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.page_parts import CONTRAST, QUESTION, Watched, ask, browser, forgive, open_page
from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator, Reply
from tests.emulators.listening import listening

__all__ = ["browser", "open_page"]

SENTENCES = [
    "An uncontrolled escape must be attended within one hour of the call, at any time of day [1]. ",
    "A ",
    "controlled escape must be attended within two hours [1].",
]
"""The first is whole, and checked, once the second has begun."""
NEEDS_TOOL = "Which escape procedure does the crew follow?"
ARGUMENTS = '{"query": "<img src=x onerror=\\"window.pwned=1\\"> escape\u202e"}'


class Relay:
    """Stands between the browser and the server, whose port changes; cuts connections where a test wants it."""

    def __init__(self) -> None:
        self.port = 0
        self.target: int | None = None
        self.writers: set[asyncio.StreamWriter] = set()

    @contextmanager
    def running(self) -> Iterator[Relay]:
        with listening(self._serve, self.writers, None) as (self.port,):
            yield self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """All connections that there are now."""
        for writer in list(self.writers):
            writer.get_extra_info("socket")  # an open one
            asyncio.run_coroutine_threadsafe(_abort(writer), self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._loop = asyncio.get_running_loop()
        self.writers.add(writer)
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.target or 1)
            self.writers.add(forth)
            await asyncio.wait({asyncio.create_task(_copy(reader, forth)), asyncio.create_task(_copy(back, writer))}, return_when=asyncio.FIRST_COMPLETED)
            self.writers.discard(forth)
            forth.transport.abort()
        except OSError:
            pass
        finally:
            self.writers.discard(writer)
            writer.transport.abort()


async def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass


class World:
    """A model that is scripted, `rag serve` over one data folder, and the way to it."""

    def __init__(self, folder: Path, serve: Callable[..., Any], model: AzureOpenAIEmulator, relay: Relay, document: Path) -> None:
        self.folder, self.model, self.relay, self.document = folder, model, relay, document
        self._serve = serve

    @contextmanager
    def serving(self) -> Iterator[Any]:
        with self._serve(self.folder, {}, self.more) as server:
            self.relay.target = int(server.url.rsplit(":", 1)[1])
            if not (self.folder / "filled").exists():
                with server.client() as client, self.document.open("rb") as file:
                    assert client.post("/v1/documents", files={"files": file}).json()["documents"][0]["status"] == "added"
                (self.folder / "filled").touch()
            yield server
        self.relay.target = None

    @property
    def more(self) -> str:
        chat = f"[chat]\nprovider = azure\nmodel = gpt-4\napi_base = {self.model.url}\napi_version = 2024-06-01\napi_key = {KEY}\nmax_retries = 0\n"
        return f"{chat}[network]\nca_bundle = {self.model.ca_file}\n[agent]\ntools = search\napprove = search\nrewrite = rules\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, root: Path, serve: Callable[..., Any]) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("restarts")
    with AzureOpenAIEmulator(folder).running() as model, Relay().running() as relay:
        yield World(folder, serve, model, relay, root / "examples/handbook/safety/gas-escape-procedure.pdf")


def begin(page: Page, question: str) -> None:
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    expect(page.locator(".turn .answer-text")).to_contain_text("within one hour", timeout=30_000)


def whole(page: Page) -> None:
    """One question, with the whole answer, on the page and in the thread."""
    expect(page.locator(".answer-text")).to_contain_text("within two hours", timeout=60_000)
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "false")
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator(".connection")).to_be_hidden()
    thread = page.url.split("#thread=")[1]
    turns = page.request.get(f"{page.url.split('#', maxsplit=1)[0]}v1/threads/{thread}/history").json()["turns"]
    assert [turn["question"] for turn in turns] == [QUESTION]


def test_answers_outlive_cut_connections_reloads_and_restarts_and_decisions_wait(open_page: Callable[..., Watched], world: World) -> None:
    model = world.model
    with world.serving():
        watched, other = (open_page(world.relay.url, reduced_motion="reduce") for _ in range(2))
        page = watched.page
        # The connection is cut while the answer comes: the rest of the same answer follows.
        model.script += [Reply(pieces=SENTENCES, event_gap_s=0.7)]
        begin(page, QUESTION)
        world.relay.cut()
        expect(page.locator(".connection")).to_contain_text("The connection to the server broke. Trying again")
        whole(page)
        # The page is loaded again in the middle.
        page.get_by_role("button", name="New conversation").click()
        model.script += [Reply(pieces=SENTENCES, event_gap_s=0.7)]
        begin(page, QUESTION)
        page.reload()
        whole(page)
        assert len(model.requests) == 2
        # A tool waits for a decision on another page, and the server is stopped in the middle of an answer.
        model.script += [Reply(calls=[("search", ARGUMENTS)])]
        ask(other.page, NEEDS_TOOL)
        check_asked(other.page)
        page.get_by_role("button", name="New conversation").click()
        model.script += [Reply(pieces=SENTENCES, stall_after=3), Reply(pieces=SENTENCES)]
        begin(page, QUESTION)
    expect(page.locator(".connection")).to_contain_text("The connection to the server broke. Trying again")
    assert page.evaluate(CONTRAST) == []
    with world.serving():
        page.evaluate("dispatchEvent(new Event('online'))")  # it need not wait for the next try
        whole(page)
        assert len(model.requests) == 5
        other.page.reload()
        check_asked(other.page)
        page.reload()
        decide_on_another_page(page, model)
    forgive(watched)
    forgive(other)


def decide_on_another_page(page: Page, model: AzureOpenAIEmulator) -> None:
    waiting = page.get_by_role("region", name="Waiting for your decision")
    waiting.get_by_role("button", name=NEEDS_TOOL).click()
    check_asked(page)
    assert page.evaluate(CONTRAST) == []
    page.get_by_label("Your question").fill("And now?")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This conversation waits for your decision.")).to_be_visible()
    expect(page.get_by_role("heading", name="May this tool run?")).to_be_focused()
    model.script += [Reply(calls=[("search", '{"query": "escape"}')]), Reply(pieces=SENTENCES)]
    page.get_by_role("button", name="Allow").click()
    expect(page.locator(".arguments")).to_have_text('{"query": "escape"}')  # the model asks for one more
    page.get_by_role("button", name="Refuse").click()
    expect(page.locator(".answer-text")).to_contain_text("within two hours", timeout=30_000)
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(waiting).to_be_hidden()
    assert "did not allow this call" in str(model.requests[-1].body["messages"])
    assert page.evaluate("window.pwned") is None


def check_asked(page: Page) -> None:
    card = page.get_by_role("dialog", name="May this tool run?")
    expect(card).to_be_visible()
    expect(card.get_by_role("heading")).to_be_focused()
    expect(card).to_contain_text("Tool search with these arguments")
    shown = card.get_by_role("region", name="Arguments of search")
    expect(shown).to_have_text(ARGUMENTS.replace("\u202e", "⟨U+202E⟩"))
    expect(card.locator("img")).to_have_count(0)


@pytest.mark.long
def test_an_answer_is_asked_for_again_after_its_server_was_killed(open_page: Callable[..., Watched], world: World) -> None:
    with world.serving() as server:
        watched = open_page(world.relay.url)
        page = watched.page
        world.model.script += [Reply(pieces=SENTENCES, stall_after=3), Reply(pieces=SENTENCES)]
        begin(page, QUESTION)
        server.process.kill()
        server.process.wait()
    with world.serving():
        expect(page.locator(".connection")).to_have_text("Connected again. Waiting for the rest of the answer …", timeout=30_000)
        whole(page)
        forgive(watched)
