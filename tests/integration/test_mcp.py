"""The MCP server with the protocol's own client, over streamable HTTP and over standard input and output."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import string
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import hypothesis
import hypothesis.strategies
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from src.api.app import create_app
from src.api.auth import dump_tokens, hash_token
from src.cli.serve import make_server
from src.core.identity import EVERYONE, Identity
from src.infra.config import Settings
from src.infra.resource_manager import ResourceManager
from src.ingestion.sources.upload import upload_item
from src.integrations.mcp.documents import id_of, uri_of
from src.util.aio import run_sync

LOCAL = "http://127.0.0.1"
LEAVE = "# Annual leave\n\nEmployees receive 25 days of paid annual leave each calendar year. Up to five unused days may be carried over until 31 March."
SECRET = "# Reserve\n\nThe Vexillomatic reserve of 417 crates is kept in hall nine."
QUESTION = "Where is the Vexillomatic reserve of crates kept?"
ANNE, BOB, OTTO = Identity("anne"), Identity("bob"), Identity("otto", "elsewhere")
MODES = ("legacy", "auto")
"""The handshake that clients of today speak, and the protocol of 2026-07-28 without one."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Path:
    """A data folder with one document for everybody, one of Anne's alone, and a long one of hers."""
    folder = tmp_path_factory.mktemp("mcp")
    (folder / "tokens.json").write_text(dump_tokens({hash_token(who.user): who for who in (ANNE, BOB, OTTO)}), encoding="utf-8")
    long = "# Log\n\n" + "\n\n".join(f"Entry {n}: the gauge of station {n} was read and written down, as on each day." for n in range(400))
    everyone = [upload_item(LEAVE.encode(), "leave.md", title="Annual leave")]
    hers = [upload_item(SECRET.encode(), "reserve.md", document_id="a b/ü?.md", title="Reserve"), upload_item(long.encode(), "log.md", title="Log")]

    async def fill() -> None:
        async with ResourceManager(settings_of(folder, model_cache)) as resources:
            ingestor = resources.get("ingestor")
            await ingestor.ingest(everyone, tenant=ANNE.tenant, acl=(EVERYONE,))
            await ingestor.ingest(hers, tenant=ANNE.tenant, acl=("user:anne",))

    run_sync(fill())
    return folder


def settings_of(folder: Path, model_cache: Path, **api: Any) -> Settings:
    keys = {"auth": "tokens", "tokens_file": folder / "tokens.json", **api} if api.get("auth") != "none" else api
    return Settings.model_validate({"storage": {"path": folder}, "cache": {"path": model_cache}, "api": keys})


@pytest.fixture
async def app(folder: Path, model_cache: Path) -> AsyncIterator[Any]:
    """The API in this process; its parts are built by the first call that needs them."""
    async with ResourceManager(settings_of(folder, model_cache)) as resources:
        yield create_app(resources)


@asynccontextmanager
async def connected(app: Any, token: str | None, mode: str = "legacy") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False), base_url=LOCAL, headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{LOCAL}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def text_of(result: Any) -> str:
    (block,) = result.content
    return str(block.text)


@pytest.mark.parametrize("mode", MODES)
async def test_search_finds_what_the_caller_may_see_and_fetch_reads_on(app: Any, mode: str) -> None:
    async with connected(app, "anne", mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["search", "ask", "fetch"]
        found = await client.call_tool("search", {"query": QUESTION, "top_k": 3})
        assert not found.is_error
        assert "417 crates" in text_of(found)
        best = found.structured_content["hits"][0]
        assert best["document_id"] == "a b/ü?.md"
        assert best["score"] > 0
        read = await client.call_tool("fetch", {"document_id": best["document_id"], "chunk_id": best["chunk_id"]})
        assert read.structured_content["document"]["title"] == "Reserve"
        assert "hall nine" in text_of(read)


@pytest.mark.parametrize("mode", MODES)
async def test_nobody_finds_reads_or_lists_what_is_not_theirs(app: Any, mode: str) -> None:
    for token in ("bob", "otto"):
        async with connected(app, token, mode) as client:
            found = await client.call_tool("search", {"query": QUESTION, "top_k": 50})
            assert "Vexillomatic" not in text_of(found)
            fetched = await client.call_tool("fetch", {"document_id": "a b/ü?.md"})
            unknown = await client.call_tool("fetch", {"document_id": "never-was.md"})
            assert fetched.is_error
            assert fetched.structured_content == unknown.structured_content
            with pytest.raises(MCPError, match="no such document") as foreign:
                await client.read_resource("rag://documents/a%20b%2F%C3%BC%3F.md")
            with pytest.raises(MCPError, match="no such document") as never:
                await client.read_resource("rag://documents/never-was.md")
            assert foreign.value.error == never.value.error
            listed = [resource.name for resource in (await client.list_resources()).resources]
            assert listed == (["leave.md"] if token == "bob" else [])


async def test_callers_at_the_same_time_never_get_each_others_answers(app: Any) -> None:
    async def hits(token: str) -> set[str]:
        async with connected(app, token, MODES[len(token) % 2]) as client:
            results = await asyncio.gather(*(client.call_tool("search", {"query": QUESTION, "mode": "bm25"}) for _ in range(5)))
            return {hit["document_id"] for result in results for hit in result.structured_content["hits"]}

    found = await asyncio.gather(*(hits(token) for token in ("anne", "bob", "otto") * 3))
    for token, documents in zip(("anne", "bob", "otto") * 3, found, strict=True):
        assert ("a b/ü?.md" in documents) == (token == "anne")
        assert not documents or token != "otto"


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_has_citations_and_its_thread_belongs_to_the_caller(app: Any, mode: str) -> None:
    async with connected(app, "anne", mode) as client:
        asked = await client.call_tool("ask", {"question": "How many days of annual leave do employees receive?"})
        assert not asked.is_error, text_of(asked)
        answer = asked.structured_content
        assert "25 days" in answer["answer"]
        assert answer["citations"][0]["document_id"] == "leave.md"
        assert f"[1] Annual leave: “{answer['citations'][0]['quote']}”" in text_of(asked)
        again = await client.call_tool("ask", {"question": "Until when may days be carried over?", "thread_id": answer["thread_id"]})
        assert again.structured_content["thread_id"] == answer["thread_id"]
    async with connected(app, "bob", mode) as client:
        stolen = await client.call_tool("ask", {"question": "And then?", "thread_id": answer["thread_id"]})
        assert stolen.is_error
        assert stolen.structured_content["error"]["code"] == "not-found"


async def test_a_long_document_is_fetched_in_parts_and_read_as_a_whole(app: Any) -> None:
    async with connected(app, "anne") as client:
        texts: list[str] = []
        start: int | None = 0
        while start is not None:
            part = (await client.call_tool("fetch", {"document_id": "log.md", "start": start})).structured_content
            assert sum(len(passage["text"]) for passage in part["passages"]) <= 20_000
            texts += [passage["text"] for passage in part["passages"]]
            start = part.get("next_start")
        assert len(texts) == part["total"]
        assert all(f"Entry {n}:" in "\n".join(texts) for n in range(400))
        (content,) = (await client.read_resource("rag://documents/log.md")).contents
        assert all(text in content.text for text in texts)
        assert "start counts from 0" in text_of(await client.call_tool("fetch", {"document_id": "log.md", "start": 10_000}))


async def test_documents_are_listed_in_pages_and_each_uri_of_the_list_can_be_read(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.integrations.mcp.documents.PAGE", 2)
    async with connected(app, "anne") as client:
        first = await client.list_resources()
        second = await client.list_resources(cursor=first.next_cursor)
        assert second.next_cursor is None
        listed = [*first.resources, *second.resources]
        assert [resource.name for resource in listed] == ["a b/ü?.md", "leave.md", "log.md"]
        assert (await client.list_resource_templates()).resource_templates[0].uri_template == "rag://documents/{document_id}"
        for resource in listed:
            (content,) = (await client.read_resource(resource.uri)).contents
            assert content.text
        with pytest.raises(MCPError):
            await client.list_resources(cursor="nonsense")
        for wrong in ("rag://documents/", "rag://documents/%ff", "file:///etc/passwd"):
            with pytest.raises(MCPError, match="no such resource"):
                await client.read_resource(wrong)


@hypothesis.given(hypothesis.strategies.text(min_size=1))
def test_a_uri_leads_back_to_its_document(document_id: str) -> None:
    uri = uri_of(document_id)
    assert id_of(uri) == document_id
    assert set(uri) <= set(string.ascii_letters + string.digits + "-._~%:/")


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("search", {"query": "  "}, "query:"),
        ("search", {}, "query: Field required"),
        ("search", {"query": "x", "topk": 3}, "Did you mean 'top_k'?"),
        ("search", {"query": "x", "top_k": 10_000}, "top_k:"),
        ("search", {"query": "x", "mode": "magic"}, "mode:"),
        ("search", {"query": "x", "filters": {"page": {"between": 3}}}, "Allowed:"),
        ("search", {"query": "x", "cursor": "nonsense"}, "cursor"),
        ("ask", {"question": "x" * 20_000}, "question:"),
        ("fetch", {"document_id": "leave.md", "chunk_id": "gone"}, "search again"),
    ],
)
async def test_a_wrong_argument_is_a_tool_error_that_says_what_to_do(app: Any, tool: str, arguments: dict[str, Any], said: str) -> None:
    async with connected(app, "anne") as client:
        result = await client.call_tool(tool, arguments)
        assert result.is_error
        assert said in text_of(result)
        assert result.structured_content["error"]["hint"]


async def test_an_unknown_tool_is_an_error_of_the_protocol(app: Any) -> None:
    async with connected(app, "anne") as client:
        with pytest.raises(MCPError, match="Tools: search, ask, fetch"):
            await client.call_tool("delete", {})


async def test_an_outage_is_an_error_with_its_hint_never_an_empty_result(folder: Path, model_cache: Path) -> None:
    settings = settings_of(folder, model_cache).model_dump()
    settings["search"] = {"host": "http://127.0.0.1:9", "timeout_s": 2}
    async with ResourceManager(Settings.model_validate(settings)) as resources, connected(create_app(resources), "anne") as client:
        result = await client.call_tool("search", {"query": "leave", "mode": "bm25"})
        assert result.is_error
        assert result.structured_content["error"]["code"] == "unreachable"
        with pytest.raises(MCPError) as failure:
            await client.list_resources()
        assert failure.value.data["code"] == "unreachable"


async def test_what_is_not_ours_to_tell_stays_in_the_log(app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(*_: Any) -> Any:
        raise ValueError("inner secrets")

    monkeypatch.setattr("src.integrations.mcp.documents.whole", broken)
    monkeypatch.setattr("src.integrations.mcp.tools.whole", broken)
    async with connected(app, "anne") as client:
        result = await client.call_tool("fetch", {"document_id": "leave.md"})
        assert text_of(result) == "Something went wrong in the server. Its log tells more."
        with pytest.raises(MCPError, match="Something went wrong in the server"):
            await client.read_resource("rag://documents/leave.md")
    assert "inner secrets" in caplog.text
    failed = [record for record in caplog.records if record.message == "an MCP call failed"]
    assert [record.rag_fields["call"] for record in failed] == ["fetch", "resources/read"]
    assert all(len(record.rag_fields["correlation_id"]) == 32 for record in failed)


def initialize(**more: Any) -> dict[str, Any]:
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {**hello, **more}}


async def test_the_route_has_the_guards_of_every_other(app: Any, folder: Path, model_cache: Path) -> None:
    accept = {"Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False), base_url=LOCAL, headers=accept) as http:
        refused = await http.post("/mcp", json=initialize())
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        http.headers["Authorization"] = "Bearer anne"
        welcome = await http.post("/mcp", json=initialize())
        assert (welcome.status_code, welcome.headers["cache-control"]) == (200, "no-store")
        assert welcome.json()["result"]["serverInfo"]["name"] == "founders-rag"
        large = await http.post("/mcp", json=initialize(filler="x" * 1_000_001))
        assert (large.status_code, large.json()["code"]) == (413, "too-large")

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b" " * 100_000

        streamed = await http.post("/mcp", content=pieces(), headers={"Content-Type": "application/json"})
        assert (streamed.status_code, streamed.json()["code"]) == (413, "too-large")
        for method in ("GET", "DELETE"):
            other = await http.request(method, "/mcp")
            assert (other.status_code, other.headers["allow"]) == (405, "POST")
        surrogate = rb'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{"query":"\ud800"}}}'
        for body in (b"", b"nonsense", b"[]", b'{"jsonrpc": "2.0"}', surrogate):
            wrong = await http.post("/mcp", content=body, headers={"Content-Type": "application/json"})
            assert wrong.status_code < 500, body
    async with ResourceManager(settings_of(folder, model_cache, auth="none")) as resources:
        transport = httpx2.ASGITransport(app=create_app(resources), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=LOCAL, headers=accept) as http:
            assert (await http.post("/mcp", json=initialize())).status_code == 200
            assert (await http.post("/mcp", json=initialize(), headers={"Host": "evil.example"})).status_code == 421
            assert (await http.post("/mcp", json=initialize(), headers={"Origin": "https://evil.example"})).status_code == 403


async def test_without_the_extra_the_route_names_it_and_the_rest_serves(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in {"mcp", "mcp_types"} or name == "src.integrations.mcp.server"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp", None)
    monkeypatch.setitem(sys.modules, "mcp_types", None)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False), base_url=LOCAL, headers={"Authorization": "Bearer anne"}
    ) as http:
        refused = await http.post("/mcp", json=initialize())
        assert (refused.status_code, refused.json()["code"]) == (501, "missing-extra")
        assert refused.json()["hint"] == "Install founders-rag[mcp]."
        assert (await http.get("/health/live")).status_code == 200


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
async def test_when_the_caller_goes_what_it_had_asked_for_is_stopped(app: Any, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def slow(*_: Any) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    monkeypatch.setattr("src.integrations.mcp.tools.whole", slow)
    prefix = "io.modelcontextprotocol/"
    meta = {f"{prefix}protocolVersion": version, f"{prefix}clientCapabilities": {}} if version > "2026" else {}
    params = {"name": "fetch", "arguments": {"document_id": "leave.md"}, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    names = {"host": "127.0.0.1", "content-type": "application/json", "accept": "application/json, text/event-stream", "authorization": "Bearer anne"}
    names |= {"mcp-protocol-version": version, "mcp-method": "tools/call", "mcp-name": "fetch"}
    headers = [(name.encode(), value.encode()) for name, value in names.items()]
    scope = {"type": "http", "method": "POST", "path": "/mcp", "raw_path": b"/mcp", "query_string": b"", "headers": headers}
    waiting = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if waiting:
            return waiting.pop()
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await asyncio.wait_for(app(scope, receive, send), 30)
    assert stopped.is_set(), sent


async def test_a_call_that_takes_longer_than_a_request_may_is_stopped_with_504(folder: Path, model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = asyncio.Event()

    async def slow(*_: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    monkeypatch.setattr("src.integrations.mcp.tools.whole", slow)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "fetch", "arguments": {"document_id": "leave.md"}}}
    headers = {"Accept": "application/json, text/event-stream", "Authorization": "Bearer anne"}
    async with ResourceManager(settings_of(folder, model_cache, request_timeout_s=0.2)) as resources:
        transport = httpx2.ASGITransport(app=create_app(resources), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=LOCAL, headers=headers, timeout=30) as http:
            answer = await http.post("/mcp", json=call)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline")
    assert stopped.is_set()


# Standard input and output


@pytest.fixture(scope="module")
def command(folder: Path, model_cache: Path) -> StdioServerParameters:
    config = folder / "config.ini"
    config.write_text(f"[storage]\npath = {folder}\n[cache]\npath = {model_cache}\n", encoding="utf-8")
    return StdioServerParameters(command=str(Path(sys.executable).parent / "rag"), args=["mcp", "--config", str(config), "--user", "anne"], cwd=folder)


def snippet(root: Path, place: int) -> str:
    """One of the programs of the page's section."""
    section = (root / "docs" / "clients.md").read_text(encoding="utf-8").split("\n## MCP\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[place]


async def run_snippet(code: str, capsys: pytest.CaptureFixture[str]) -> str:
    await asyncio.to_thread(exec, compile(code, "clients.md", "exec"), {})
    return capsys.readouterr().out


async def test_the_page_s_program_for_standard_streams_works_and_sees_what_its_identity_may(
    command: StdioServerParameters, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(command.cwd))
    code = snippet(root, 1)
    assert 'command="rag", args=["mcp"]' in code
    said = await run_snippet(code.replace('command="rag", args=["mcp"]', f"command={command.command!r}, args={command.args!r}"), capsys)
    assert "[1] Annual leave" in said
    assert "['rag://documents/a%20b%2F%C3%BC%3F.md', 'rag://documents/leave.md', 'rag://documents/log.md']" in said


async def test_the_page_s_program_for_http_works_against_a_listening_server(app: Any, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ready = asyncio.Event()
        server = make_server(app, ready.set)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await ready.wait()
        try:
            code = snippet(root, 0).replace("127.0.0.1:8000", f"127.0.0.1:{listener.getsockname()[1]}").replace("Bearer TOKEN", "Bearer anne")
            said = await run_snippet(code, capsys)
        finally:
            server.should_exit = True
            await serving
    assert "25 days" in said
    assert said.splitlines()[-1] == "Annual leave"


async def test_a_signal_ends_the_server_at_once_though_the_client_keeps_its_side_open(command: StdioServerParameters) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAG_")}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(command.command, *command.args, cwd=command.cwd, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(initialize()).encode() + b"\n")
    answer = json.loads(await process.stdout.readline())
    assert answer["result"]["serverInfo"]["title"] == "Company documents"
    process.send_signal(signal.SIGTERM)
    rest, log = await process.communicate()
    assert (process.returncode, rest, log) == (0, b"", b"")
