"""Several users and tenants on one server: each sees what is theirs."""

from __future__ import annotations

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


def test_a_foreign_thread_is_as_if_it_were_not_there(member: Callable[..., httpx2.Client]) -> None:
    ana = member("ana")
    send(ana, "asked.txt")
    answer = ana.post("/v1/chat", json={"message": QUESTION}).json()
    thread = answer["thread_id"]
    assert ana.get(f"/v1/threads/{thread}/history").status_code == 200
    for other in (member("bo"), member("ana", "south")):
        assert thread not in [entry["thread_id"] for entry in other.get("/v1/threads").json()["threads"]]
        assert other.get(f"/v1/threads/{thread}").status_code == 404
        assert other.get(f"/v1/threads/{thread}/history").status_code == 404
        assert other.delete(f"/v1/threads/{thread}").status_code == 404
        for stream in (False, True):
            assert other.post("/v1/chat", json={"message": "more", "thread_id": thread, "stream": stream}).status_code == 404
    assert ana.get(f"/v1/threads/{thread}").json()["turns"] == 1


def test_an_answer_never_rests_on_what_the_asker_may_not_see(member: Callable[..., httpx2.Client]) -> None:
    send(member("ana"), "hidden.txt")
    answer = member("zoe", "west").post("/v1/chat", json={"message": QUESTION}).json()
    assert answer["citations"] == []
    assert "hall nine" not in answer["answer"]


def test_no_token_ever_stands_in_the_log(server: Any, member: Callable[..., httpx2.Client]) -> None:
    client = member("ana")
    client.get("/v1/threads")
    assert client.headers["authorization"].split()[1] not in server.log()
