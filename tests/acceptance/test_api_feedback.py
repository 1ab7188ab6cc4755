"""Feedback as a user gives it and an operator takes it out."""

from __future__ import annotations

import json
from typing import Any

from .conftest import rag


def test_a_word_on_an_answer_is_kept_shown_taken_out_as_a_collection_and_taken_back(handbook_server: Any) -> None:
    with handbook_server.client() as client:
        answer = client.post("/v1/chat", json={"message": "Which form is a gas reading written on?"}).json()
        thread, message = answer["thread_id"], answer["message_id"]
        cited = {citation["document_id"] for citation in answer["citations"]}
        place = f"/v1/threads/{thread}/messages/{message}/feedback"
        posted = client.post("/v1/feedback", json={"thread_id": thread, "message_id": message, "rating": "down"})
        assert (posted.status_code, posted.json()["rating"], posted.json()["message_id"]) == (200, "down", message)
        given = client.put(place, json={"rating": "up", "comment": "exactly"})
        assert (given.status_code, given.json()["rating"], given.json()["message_id"]) == (200, "up", message)
        assert [one["comment"] for one in client.get(f"/v1/threads/{thread}/feedback").json()["feedback"]] == ["exactly"]

        out = handbook_server.folder / "learned"
        done = rag("feedback", "export", "--out", out, "--config", handbook_server.folder / "config.ini", "--json", cwd=handbook_server.folder)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["judgements"] >= len(cited) >= 1
        queries = [json.loads(line) for line in (out / "queries.jsonl").read_text().splitlines()]
        assert {"_id": message, "text": "Which form is a gas reading written on?"} in queries
        rows = [line.split("\t") for line in (out / "qrels" / "feedback.tsv").read_text().splitlines()]
        assert rows[0] == ["query-id", "corpus-id", "score"]
        assert {name for query, name, score in rows[1:] if query == message and score == "1"} == cited
        kept = next(one for line in (out / "feedback.jsonl").read_text().splitlines() if (one := json.loads(line))["message_id"] == message)
        assert set(kept["cited"]) <= set(kept["retrieved"])
        assert set(kept["versions"]) == {"chat", "embed"}
        listed = rag("feedback", "list", "--config", handbook_server.folder / "config.ini", cwd=handbook_server.folder)
        assert "up    Which form is a gas reading written on?  - exactly" in listed.stdout

        assert client.delete(place).status_code == 204
        assert client.get(f"/v1/threads/{thread}/feedback").json() == {"feedback": []}


def test_what_is_no_feedback_is_the_callers_mistake(handbook_server: Any) -> None:
    with handbook_server.client() as client:
        answer = client.post("/v1/chat", json={"message": "Which form is a gas reading written on?"}).json()
        place = f"/v1/threads/{answer['thread_id']}/messages/{answer['message_id']}/feedback"
        for body in ({"rating": "good"}, {}, {"rating": "up", "stars": 5}, {"rating": "up", "comment": "x" * 4001}, {"rating": "up", "comment": "a\0"}):
            assert client.put(place, json=body).status_code in (400, 422), body
        for path in (place.replace(answer["thread_id"], "unknown"), place.replace(answer["message_id"], "unknown")):
            assert client.put(path, json={"rating": "up"}).status_code == 404
            assert client.delete(path).status_code == 404
        assert client.get("/v1/threads/unknown/feedback").status_code == 404
        assert client.post("/v1/feedback", json={"thread_id": "unknown", "message_id": answer["message_id"], "rating": "up"}).status_code == 404
        assert client.post("/v1/feedback", json={"rating": "up"}).status_code == 422


def test_what_was_said_under_a_key_is_not_told_again_once_its_thread_is_gone(handbook_server: Any) -> None:
    with handbook_server.client() as client:
        answer = client.post("/v1/chat", json={"message": "Which form is a gas reading written on?"}).json()
        body = {"thread_id": answer["thread_id"], "message_id": answer["message_id"], "rating": "up", "comment": "canary"}
        keyed = {"json": body, "headers": {"Idempotency-Key": f"feedback-{answer['message_id']}"}}
        assert [client.post("/v1/feedback", **keyed).headers.get("idempotent-replayed") for _ in range(2)] == [None, "true"]
        assert client.delete(f"/v1/threads/{answer['thread_id']}").status_code == 204
        gone = client.post("/v1/feedback", **keyed)
        assert (gone.status_code, "canary" in gone.text) == (404, False)
