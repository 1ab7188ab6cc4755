"""Several users and tenants on one server: each sees what is theirs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

RAG = str(Path(sys.executable).parent / "rag")
SECRET = b"The Vexillomatic reserve of 417 crates is kept in hall nine."
QUESTION = "Where is the Vexillomatic reserve kept?"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "tokens.json").write_text("{}")
    with serve(folder, {"auth": "tokens", "tokens_file": folder / "tokens.json", "host": "127.0.0.1"}) as server:
        yield server


@pytest.fixture(scope="module")
def member(server: Any) -> Callable[..., httpx2.Client]:
    """A client of a user whose token is made while the server runs."""
    known: dict[tuple[str, ...], httpx2.Client] = {}

    def of(user: str, tenant: str = "north", *groups: str) -> httpx2.Client:
        if (user, tenant, *groups) not in known:
            arguments = ["--user", user, "--tenant", tenant, *(word for group in groups for word in ("--group", group))]
            done = subprocess.run(
                [RAG, "token", "create", *arguments, "--config", str(server.folder / "config.ini")], capture_output=True, text=True, check=True, timeout=60
            )
            known[user, tenant, *groups] = server.client(headers={"Authorization": f"Bearer {done.stdout.strip()}"})
        return known[user, tenant, *groups]

    return of


def send(client: httpx2.Client, name: str, data: bytes = SECRET, **fields: Any) -> str:
    response = client.post("/v1/documents", files={"files": (name, data)}, data=fields)
    assert response.status_code in {200, 201}, response.text
    return str(response.json()["documents"][0]["document_id"])


def sees(client: httpx2.Client, document: str) -> bool:
    found = client.get(f"/v1/documents/{quote(document, safe='')}").status_code == 200
    hits = client.post("/v1/search", json={"query": QUESTION, "top_k": 50}).json()["hits"]
    assert (document in {hit["document_id"] for hit in hits}) == found
    for rest in ("file", "passages"):
        assert client.get(f"/v1/documents/{quote(document, safe='')}/{rest}").status_code == (200 if found else 404)
    return found


def test_without_a_known_token_nothing_but_health_and_page_answers(server: Any) -> None:
    with server.client() as client:
        refused = client.get("/v1/documents")
        assert refused.status_code == 401
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert client.get("/v1/threads", headers={"Authorization": "Bearer guess"}).status_code == 401
        assert client.get("/health/live").status_code == 200
        components = client.get("/health").json()["components"]
        assert components
        assert all("message" not in component for component in components.values())


def test_an_upload_is_seen_by_its_uploader_alone(member: Callable[..., httpx2.Client]) -> None:
    document = send(member("ana"), "private.txt")
    assert sees(member("ana"), document)
    assert not sees(member("bo"), document)
    assert not sees(member("ana", "south"), document)


def test_a_group_shares_what_one_of_it_allows(member: Callable[..., httpx2.Client]) -> None:
    ana, bo, eve = member("ana", "north", "ops"), member("bo", "north", "ops"), member("eve", "south", "ops")
    document = send(ana, "shared.txt", allow="group:ops")
    assert sees(ana, document)
    assert sees(bo, document)
    assert not sees(member("cy"), document)
    assert not sees(eve, document)


def test_seeing_is_not_deleting_or_replacing(member: Callable[..., httpx2.Client]) -> None:
    ana, bo = member("ana"), member("bo")
    document = send(ana, "everyones.txt", allow="tenant:*")
    path = f"/v1/documents/{quote(document, safe='')}"
    assert sees(bo, document)
    assert bo.delete(path).status_code == 403
    replaced = bo.post("/v1/documents", files={"files": ("x.txt", b"nonsense")}, data={"id": document})
    assert replaced.status_code == 403
    assert ana.get(f"{path}/file").content == SECRET
    assert ana.delete(path).json() == {"deleted": 1}


def test_an_id_tells_nothing_of_what_others_hold_and_takes_nothing_from_them(member: Callable[..., httpx2.Client]) -> None:
    ana, bo = member("ana"), member("bo")
    document = send(ana, "mine.txt", id="the-id")
    assert send(ana, "mine.txt", id="the-id") == send(ana, "mine.txt", id=document) == document == "ana/the-id"
    answers = [bo.post("/v1/documents", files={"files": ("x.txt", b"nonsense")}, data={"id": name}) for name in ("ana/the-id", "ana/the-next")]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert [answer.json()["documents"][0]["document_id"] for answer in answers] == ["bo/ana/the-id", "bo/ana/the-next"]
    assert bo.delete(f"/v1/documents/{quote(document, safe='')}").status_code == 404
    assert ana.get(f"/v1/documents/{quote(document, safe='')}/file").content == SECRET
    assert send(ana, "mine.txt", id="the-next") == "ana/the-next"


def test_files_of_one_name_from_two_users_stay_two_documents(member: Callable[..., httpx2.Client]) -> None:
    first, second = send(member("ana"), "same.txt", b"Ana keeps plums."), send(member("bo"), "same.txt", b"Bo keeps pears.")
    assert first != second
    assert member("ana").get(f"/v1/documents/{quote(first, safe='')}/file").content == b"Ana keeps plums."
    assert member("bo").get(f"/v1/documents/{quote(second, safe='')}/file").content == b"Bo keeps pears."


def test_the_same_content_of_two_users_outlives_the_deletion_of_one(member: Callable[..., httpx2.Client]) -> None:
    data = b"Both hold the very same bytes about galoshes."
    first, second = send(member("ana"), "one.txt", data), send(member("bo", "south"), "two.txt", data)
    member("ana").delete(f"/v1/documents/{quote(first, safe='')}")
    assert member("bo", "south").get(f"/v1/documents/{quote(second, safe='')}/file").content == data


NEVER = "01a1ff15-78b7-71ee-b1b7-933b6bbf2fa2"
"""A thread's id that nobody was given."""
SENT = {"patch": {"title": "mine"}, "put": {"rating": "up"}, "post": {"approve": True}}


def doors(client: httpx2.Client, message: str) -> Iterator[tuple[str, str, Any]]:
    """Every way to a thread or run: those of the API's own description, so that none is forgotten, and those that name it in a body. `ID` stands for it."""
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations if "{thread_id}" in path or "{run_id}" in path else ():
            place = path.replace("{thread_id}", "ID").replace("{run_id}", "ID").replace("{message_id}", message).replace("{approval_id}", "0" * 32)
            yield method, place, {} if place.endswith("/fork") else SENT.get(method)
    for stream in (False, True):
        yield "post", "/v1/chat", {"message": "more", "thread_id": "ID", "stream": stream}
    yield "post", "/v1/chat", {"message": "more", "thread_id": "ID", "replaces": message}
    yield "post", "/v1/feedback", {"thread_id": "ID", "message_id": message, "rating": "up"}
    call = {"name": "ask", "arguments": {"question": "more", "thread_id": "ID"}}
    yield "post", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}


def said(client: httpx2.Client, method: str, place: str, body: Any, named: str) -> tuple[int, Any]:
    """What a door answers to an id, but for what repeats the request or differs with each."""
    sent = None if body is None else json.loads(json.dumps(body).replace('"ID"', f'"{named}"'))
    more = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"} if place == "/mcp" else {}
    answer = client.request(method, place.replace("/ID", f"/{named}"), headers=more, **({} if sent is None else {"json": sent}))
    found = answer.json()
    return answer.status_code, {key: value for key, value in found.items() if key not in ("instance", "correlation_id")} if isinstance(found, dict) else found


def test_a_foreign_thread_is_as_if_it_were_not_there_at_every_door(member: Callable[..., httpx2.Client]) -> None:
    ana = member("ana")
    send(ana, "asked.txt")
    answer = ana.post("/v1/chat", json={"message": QUESTION}).json()
    thread = answer["thread_id"]
    run = ana.post("/v1/chat", json={"message": QUESTION, "stream": True}).headers["x-run-id"]
    ways = list(doors(ana, answer["message_id"]))
    assert len(ways) >= 18
    for other in (member("bo"), member("ana", "south")):
        assert other.get("/v1/threads").json()["threads"] == []
        for method, place, body in ways:
            held, never = (run, "f" * len(run)) if "/runs/" in place else (thread, NEVER)
            refused = said(other, method, place, body, held)
            assert refused == said(other, method, place, body, never), (method, place)
            assert refused[0] == (200 if place == "/mcp" else 404), (method, place, refused)
            assert place != "/mcp" or refused[1]["result"]["isError"]
    assert ana.get(f"/v1/threads/{thread}").json()["turns"] == 1
    assert ana.get(f"/v1/chat/runs/{run}/events").status_code == 200


def test_an_answer_never_rests_on_what_the_asker_may_not_see(member: Callable[..., httpx2.Client]) -> None:
    send(member("ana"), "hidden.txt")
    answer = member("zoe", "west").post("/v1/chat", json={"message": QUESTION}).json()
    assert answer["citations"] == []
    assert "hall nine" not in answer["answer"]


@pytest.mark.long
def test_no_token_ever_stands_in_the_log(server: Any, member: Callable[..., httpx2.Client]) -> None:
    client = member("ana")
    client.get("/v1/threads")
    assert client.headers["authorization"].split()[1] not in server.log()
