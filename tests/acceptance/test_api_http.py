"""The HTTP API of a running server over the sample handbook."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

RAG = str(Path(sys.executable).parent / "rag")
QUESTION = "How quickly must an uncontrolled gas escape be attended?"
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def client(handbook_server: Any) -> Iterator[httpx2.Client]:
    with handbook_server.client() as client:
        yield client


def ask(client: httpx2.Client, message: str, **more: Any) -> dict[str, Any]:
    response = client.post("/v1/chat", json={"message": message, **more})
    assert response.status_code == 200, response.text
    return dict(response.json())


def path_of(document_id: str) -> str:
    return f"/v1/documents/{quote(document_id, safe='')}"


def send(client: httpx2.Client, name: str, data: bytes, **fields: Any) -> dict[str, Any]:
    response = client.post("/v1/documents", files={"files": (name, data)}, data=fields)
    assert response.status_code in {200, 201}, response.text
    return dict(response.json()["documents"][0])


def test_an_answer_cites_passages_whose_quotes_stand_in_them(client: httpx2.Client) -> None:
    answer = ask(client, QUESTION)
    assert "one hour" in answer["answer"]
    assert not answer["refused"]
    assert set(answer) >= {"thread_id", "message_id", "answer", "citations", "refused", "degraded", "usage", "timings_ms"}
    for citation in answer["citations"]:
        assert f"[{citation['n']}]" in answer["answer"]
        found = client.get(f"{path_of(citation['document_id'])}/passages", params={"chunk_id": citation["chunk_id"]}).json()
        (passage,) = [passage for passage in found["passages"] if passage["chunk_id"] == citation["chunk_id"]]
        assert citation["quote"] in passage["text"]
        assert passage.get("page") == citation.get("page")


def test_a_streamed_answer_is_the_same_in_pieces(client: httpx2.Client) -> None:
    with client.stream("POST", "/v1/chat", json={"message": QUESTION, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        blocks = response.read().decode().strip().split("\n\n")
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if not block.startswith(":")]
    names = [event["event"] for event in events]
    assert names == ["token"] * (len(names) - 2) + ["citations", "done"]
    whole = json.loads(events[-1]["data"])
    assert "".join(json.loads(event["data"])["text"] for event in events[:-2]) == whole["answer"]
    assert json.loads(events[-2]["data"]) == whole["citations"]


def test_a_thread_is_listed_read_and_deleted(client: httpx2.Client) -> None:
    first = ask(client, QUESTION)
    thread = first["thread_id"]
    ask(client, "And how quickly a controlled one?", thread_id=thread)
    listed = client.get("/v1/threads").json()["threads"]
    assert thread in [entry["thread_id"] for entry in listed]
    assert client.get(f"/v1/threads/{thread}").json()["turns"] == 2
    history = client.get(f"/v1/threads/{thread}/history").json()
    assert [turn["question"] for turn in history["turns"]] == [QUESTION, "And how quickly a controlled one?"]
    assert history["turns"][0]["citations"] == first["citations"]
    assert client.delete(f"/v1/threads/{thread}").status_code == 204
    for response in (client.get(f"/v1/threads/{thread}"), client.get(f"/v1/threads/{thread}/history"), client.delete(f"/v1/threads/{thread}")):
        assert response.status_code == 404
        assert response.headers["content-type"] == PROBLEM


def test_a_thread_is_renamed_forked_exported_and_its_turns_asked_anew(client: httpx2.Client) -> None:
    first = ask(client, QUESTION)
    thread = first["thread_id"]
    second = ask(client, "And how quickly a controlled one?", thread_id=thread)
    assert client.patch(f"/v1/threads/{thread}", json={"title": "Gas escapes"}).json()["title"] == "Gas escapes"
    assert thread in [found["thread_id"] for found in client.get("/v1/threads", params={"q": "ESCAPES gas"}).json()["threads"]]
    assert client.get("/v1/threads", params={"q": "no title has this"}).json() == {"threads": []}
    assert client.get("/v1/threads", params={"q": "x" * 201}).status_code == 422
    forked = client.post(f"/v1/threads/{thread}/fork", json={"message_id": first["message_id"]})
    assert forked.status_code == 201
    fork = forked.json()
    assert (fork["title"], fork["turns"]) == ("Gas escapes", 1)
    exported = client.get(f"/v1/threads/{fork['thread_id']}/export").json()
    assert exported["history"][0]["citations"] == first["citations"]
    assert exported["title"] == "Gas escapes"
    # The follow-up of a fork knows what it was forked with.
    assert ask(client, "And how quickly a controlled one?", thread_id=fork["thread_id"])["answer"] == second["answer"]
    anew = ask(client, QUESTION, thread_id=thread, replaces=second["message_id"])
    history = client.get(f"/v1/threads/{thread}/history").json()["turns"]
    assert [turn["message_id"] for turn in history] == [first["message_id"], anew["message_id"]]
    assert ask(client, QUESTION, thread_id=thread, replaces=first["message_id"])["answer"] == first["answer"]
    assert client.get(f"/v1/threads/{thread}").json()["turns"] == 1
    for response in (
        *(client.post("/v1/chat", json={"message": "x", "thread_id": thread, "replaces": first["message_id"], "stream": stream}) for stream in (False, True)),
        client.post(f"/v1/threads/{thread}/fork", json={"message_id": "nobody's"}),
        client.patch("/v1/threads/nobodys", json={"title": "x"}),
        client.get("/v1/threads/nobodys/export"),
    ):
        assert response.status_code == 404
        assert response.headers["content-type"] == PROBLEM
    for stream in (False, True):
        nowhere = client.post("/v1/chat", json={"message": "x", "replaces": "m", "stream": stream})
        assert (nowhere.status_code, nowhere.headers["content-type"]) == (400, PROBLEM)
    assert client.patch(f"/v1/threads/{thread}", json={"title": "  "}).status_code == 422
    for made in (thread, fork["thread_id"]):
        assert client.delete(f"/v1/threads/{made}").status_code == 204


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_thread_is_a_404_in_both_forms(client: httpx2.Client, stream: bool) -> None:
    response = client.post("/v1/chat", json={"message": "x", "thread_id": "nobody's", "stream": stream})
    assert response.status_code == 404
    assert response.headers["content-type"] == PROBLEM
    surrogate = client.post("/v1/chat", content=b'{"message": "x", "thread_id": "\\ud800"}', headers={"Content-Type": "application/json"})
    assert surrogate.status_code in {404, 422}


@pytest.mark.parametrize("mode", ["bm25", "knn", "hybrid"])
def test_search_finds_passages_with_the_scores_of_their_legs(client: httpx2.Client, mode: str) -> None:
    found = client.post("/v1/search", json={"query": "gas escape", "mode": mode, "top_k": 3}).json()
    assert found["mode"] == mode
    assert found["degraded"] == []
    assert isinstance(found["took_ms"], int | float)
    assert len(found["hits"]) == 3
    for hit in found["hits"]:
        assert set(hit["legs"]) == ({"bm25", "knn"} if mode == "hybrid" else {mode})
    following = client.post("/v1/search", json={"query": "gas escape", "mode": mode, "top_k": 3, "cursor": found["next_cursor"]}).json()
    assert not {hit["chunk_id"] for hit in found["hits"]} & {hit["chunk_id"] for hit in following["hits"]}


def test_filters_narrow_a_search(client: httpx2.Client) -> None:
    found = client.post("/v1/search", json={"query": "gas", "filters": {"content_type": ["application/pdf"], "page": {"gte": 2}}}).json()
    assert found["hits"]
    assert all(hit["page"] >= 2 for hit in found["hits"])


@pytest.mark.parametrize("digits", [309, 400, 990])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_number_beyond_every_page_matches_none_and_bounds_all(client: httpx2.Client, digits: int, sign: str) -> None:
    text = sign + "9" * digits
    for condition, found in [(text, False), (f'{{"lt": {text}}}', not sign), (f'{{"gt": {text}}}', bool(sign))]:
        body = f'{{"query": "gas", "filters": {{"page": {condition}}}}}'
        response = client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 200, response.text
        assert bool(response.json()["hits"]) == found
    assert client.get("/v1/documents", params={"filter": f"page={text}"}).json()["documents"] == []


def test_numbers_that_cannot_be_read_are_the_callers_mistake(client: httpx2.Client) -> None:
    digits = "9" * 4400
    assert client.get("/v1/documents", params={"filter": f"page={digits}"}).json()["code"] == "bad-filter"
    for text in (digits, "1e999"):
        body = f'{{"query": "gas", "filters": {{"page": {text}}}}}'
        assert client.post("/v1/search", content=body, headers={"Content-Type": "application/json"}).status_code in {400, 422}


def test_a_file_whose_name_holds_a_line_break_can_be_read(client: httpx2.Client, handbook_server: Any) -> None:
    folder = handbook_server.folder / "odd"
    folder.mkdir()
    path = folder / "line\nbreak.txt"
    path.write_text("The Snorkelwick valve is turned twice a year.")
    config = str(handbook_server.folder / "config.ini")
    subprocess.run([RAG, "ingest", folder, "--config", config], check=True, capture_output=True, timeout=120)
    hits = client.post("/v1/search", json={"query": "Snorkelwick valve"}).json()["hits"]
    document = hits[0]["document_id"]
    assert "\n" in document
    assert client.get(path_of(document)).json()["document_id"] == document
    assert client.get(f"{path_of(document)}/passages").json()["passages"][0]["text"] == path.read_text()
    assert client.get(f"{path_of(document)}/file").content == path.read_bytes()
    assert client.delete(path_of(document)).json() == {"deleted": 1}


def test_two_files_of_one_name_in_one_upload_are_refused_and_neither_is_kept(client: httpx2.Client) -> None:
    files = [("files", ("twin.txt", b"The first twin.")), ("files", ("other/twin.txt", b"The second twin."))]
    response = client.post("/v1/documents", files=files)
    assert response.status_code == 400
    assert "twin.txt" in response.json()["detail"]
    assert client.get("/v1/documents/twin.txt").status_code == 404


NAMES = ["contracts__Master_Agreement_V1 (1).txt", "a#b?c%2F%.txt", "Größe & Maß 100 %.md", "日本語.txt", "../up.txt", "a+b=c;d,e'.txt"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_uploaded_found_served_and_deleted_whatever_its_name(client: httpx2.Client, handbook_server: Any, name: str) -> None:
    data = f"The Quibbleflange of {NAMES.index(name)} must be greased each Tuesday with seal fat.".encode()
    result = send(client, name, data)
    assert (result["status"], result["chunks"]) == ("added", 1)
    assert send(client, name, data)["status"] == "unchanged"
    document = result["document_id"]
    hits = client.post("/v1/search", json={"query": "Quibbleflange grease", "filters": {"document_id": document}}).json()["hits"]
    assert [hit["document_id"] for hit in hits] == [document]
    assert client.get(path_of(document)).json()["own"]
    original = client.get(f"{path_of(document)}/file")
    assert original.content == data
    assert original.headers["content-security-policy"].startswith("sandbox")
    assert original.headers["content-type"].startswith("text/plain")
    assert document in [entry["document_id"] for entry in client.get("/v1/documents", params={"id": document}).json()["documents"]]
    assert client.delete(path_of(document)).json() == {"deleted": 1}
    for path in (path_of(document), f"{path_of(document)}/file", f"{path_of(document)}/passages"):
        assert client.get(path).status_code == 404
    assert client.delete(path_of(document)).status_code == 404
    assert [path for path in (handbook_server.folder / "data" / "files").rglob("*") if path.is_file() and path.read_bytes() == data] == []


@pytest.mark.parametrize("identifier", ["a/b/c", "/abs/path.txt", "x/file", "q?a=1#frag", "50%", "  padded", "ü/ 日"])
def test_an_id_of_the_callers_may_hold_slashes_and_marks(client: httpx2.Client, identifier: str) -> None:
    document = send(client, "x.txt", b"A passage about nothing in particular.", id=identifier)["document_id"]
    assert client.get(f"{path_of(document)}/file").status_code == 200
    assert client.get(f"{path_of(document)}/passages").json()["document"]["document_id"] == document
    assert client.delete("/v1/documents", params={"id": document}).json() == {"deleted": 1}


def test_a_new_version_replaces_the_old_one_and_its_kept_file(client: httpx2.Client, handbook_server: Any) -> None:
    send(client, "v.txt", b"The first version speaks of Quorndangle.")
    second = send(client, "v.txt", b"The second version speaks of Fizzlewick.")
    assert second["status"] == "updated"
    assert client.get("/v1/documents/v.txt/file").content == b"The second version speaks of Fizzlewick."
    kept = [path.read_bytes() for path in (handbook_server.folder / "data" / "files").rglob("*") if path.is_file()]
    assert b"The first version speaks of Quorndangle." not in kept
    client.delete("/v1/documents/v.txt")


def test_nothing_is_deleted_without_an_id(client: httpx2.Client) -> None:
    before = len(client.get("/v1/documents", params={"limit": 1000}).json()["documents"])
    assert client.delete("/v1/documents").status_code == 400
    assert client.delete("/v1/documents", params={"ids": "x"}).status_code == 400
    assert len(client.get("/v1/documents", params={"limit": 1000}).json()["documents"]) == before


def test_documents_are_listed_page_by_page(client: httpx2.Client) -> None:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = client.get("/v1/documents", params={"limit": 7, **({"cursor": cursor} if cursor else {})}).json()
        seen += [entry["document_id"] for entry in page["documents"]]
        cursor = page.get("next_cursor")
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) >= 25


def test_the_original_of_an_ingested_file_is_served_until_it_changes(client: httpx2.Client, handbook_server: Any) -> None:
    documents = client.get("/v1/documents", params={"filter": "content_type=application/pdf"}).json()["documents"]
    response = client.get(f"{path_of(documents[0]['document_id'])}/file")
    assert response.content == Path(documents[0]["source"]).read_bytes()
    assert response.headers["content-disposition"].startswith("inline")
    pages = client.get("/v1/documents", params={"filter": "content_type=text/html"}).json()["documents"]
    assert client.get(f"{path_of(pages[0]['document_id'])}/file").headers["content-disposition"].startswith("attachment")


def test_files_that_cannot_be_read_say_why(client: httpx2.Client) -> None:
    broken = client.post("/v1/documents", files={"files": ("broken.pdf", b"%PDF-1.7 not really")})
    assert broken.status_code == 422
    assert broken.json()["reason"] == "broken"
    mixed = client.post("/v1/documents", files=[("files", ("good.txt", b"Something worth keeping.")), ("files", ("empty.txt", b""))])
    assert mixed.status_code == 201
    assert [entry["status"] for entry in mixed.json()["documents"]] == ["added", "failed"]
    client.delete("/v1/documents/good.txt")
    for response in (
        client.post("/v1/documents", json={}),
        client.post("/v1/documents", files={"upload": ("a.txt", b"x")}),
        client.post("/v1/documents", content=b"nonsense", headers={"content-type": "multipart/form-data; boundary=x"}),
        client.post("/v1/documents", content=b"nonsense", headers={"content-type": "multipart/form-data"}),
    ):
        assert response.status_code in {400, 415}
        assert response.headers["content-type"] == PROBLEM


def test_an_upload_may_only_be_shared_with_principals_of_ones_own(client: httpx2.Client) -> None:
    response = client.post("/v1/documents", files={"files": ("a.txt", b"x y z")}, data={"allow": "group:board"})
    assert response.status_code == 403


def test_a_client_that_goes_away_leaves_no_half_thread(client: httpx2.Client, handbook_server: Any) -> None:
    before = len(client.get("/v1/threads", params={"limit": 200}).json()["threads"])
    with handbook_server.client() as other, other.stream("POST", "/v1/chat", json={"message": QUESTION, "stream": True}):
        pass
    for _ in range(100):
        after = client.get("/v1/threads", params={"limit": 200}).json()["threads"]
        if all(thread["turns"] for thread in after):
            break
        time.sleep(0.05)
    assert all(thread["turns"] for thread in after)
    assert len(after) <= before + 1


def test_health_tells_live_from_ready_and_shows_components(client: httpx2.Client) -> None:
    assert client.get("/health/live").json() == {"status": "alive"}
    assert client.get("/health/ready").json() == {"status": "ready"}
    health = client.get("/health").json()
    assert health["status"] == "healthy"
    assert set(health["components"]) >= {"search", "embedder"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = {
    "query": st.text(max_size=60) | JSON,
    "message": st.text(max_size=60) | JSON,
    "mode": st.sampled_from(["bm25", "knn", "hybrid", "x"]) | JSON,
    "top_k": st.integers(-5, 2000) | JSON,
    "filters": st.dictionaries(st.sampled_from(["page", "title", "section", "sha256", "x y"]) | st.text(max_size=10), JSON, max_size=3) | JSON,
    "cursor": st.text(max_size=40) | JSON,
    "thread_id": st.text(max_size=40) | JSON,
    "stream": st.booleans() | JSON,
}


def bodies(required: str) -> st.SearchStrategy[Any]:
    optional = {name: values for name, values in FIELDS.items() if name != required}
    return st.fixed_dictionaries({required: FIELDS[required]}, optional=optional) | JSON


@pytest.mark.parametrize(("path", "required"), [("/v1/search", "query"), ("/v1/chat", "message")])
def test_no_body_whatever_it_holds_is_more_than_the_callers_mistake(client: httpx2.Client, path: str, required: str) -> None:
    @settings(max_examples=120, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(bodies(required))
    def check(body: Any) -> None:
        response = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
        assert response.status_code < 500, (body, response.text)
        if response.status_code >= 400:
            assert response.headers["content-type"] == PROBLEM
            assert response.json()["status"] == response.status_code
        else:
            assert "event: error" not in response.text or '"status": 4' in response.text

    check()


@settings(max_examples=60, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(
    data=st.binary(max_size=200),
    path=st.sampled_from(["/v1/search", "/v1/chat", "/v1/documents"]),
    kind=st.sampled_from(["application/json", "multipart/form-data; boundary=x", "x"]),
)
def test_no_bytes_break_the_server(handbook_server: Any, data: bytes, path: str, kind: str) -> None:
    response = httpx2.post(f"{handbook_server.url}{path}", content=data, headers={"content-type": kind}, timeout=60)
    assert 400 <= response.status_code < 500
    assert response.headers["content-type"] == PROBLEM


@settings(max_examples=60, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(identifier=st.text(min_size=1, max_size=30), rest=st.sampled_from(["", "/file", "/passages"]))
def test_no_id_breaks_the_server(handbook_server: Any, identifier: str, rest: str) -> None:
    encoded = quote(identifier.encode("utf-8", "replace"), safe="")
    response = httpx2.get(f"{handbook_server.url}/v1/documents/{encoded}{rest}", timeout=60)
    assert response.status_code in {200, 400, 404}


def test_the_log_holds_no_traceback_after_all_this(handbook_server: Any, client: httpx2.Client) -> None:
    client.get("/health/live")
    assert "Traceback" not in handbook_server.log()
