"""Requests that were sent twice to a running server, and streams that are taken up again: also after a restart, never by somebody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.api.auth import dump_tokens, hash_token
from src.core.identity import Identity

from .test_api_resume import parse

ASK = {"message": "How quickly must an uncontrolled gas escape be attended?"}
KEY = {"Idempotency-Key": "3f0c9d52-8a51-4e0f-9a54-0b6e8a7f2a11"}
OTHER_KEY = {"Idempotency-Key": "stream-1"}
FILE = ("muster.txt", b"The muster point of the Leeds depot is the north gate.")


def test_what_was_answered_is_told_again_to_its_user_alone_also_after_a_restart(serve: Callable[..., Any], handbook_server: Any, tmp_path: Path) -> None:
    tokens = {"anne-key": Identity("anne"), "bob-key": Identity("bob")}
    path = tmp_path / "tokens.json"
    path.write_text(dump_tokens({hash_token(token): who for token, who in tokens.items()}), encoding="utf-8")
    (tmp_path / "data").symlink_to(handbook_server.folder / "data")
    keys = [{"Authorization": f"Bearer {token}", **KEY} for token in tokens]
    upload = {**keys[0], "Idempotency-Key": "upload-1"}
    with serve(tmp_path, {"auth": "tokens", "tokens_file": path}) as server, server.client() as client:
        first = client.post("/v1/chat", json=ASK, headers=keys[0])
        assert first.status_code == 200
        stored = client.post("/v1/documents", files={"files": FILE}, headers=upload)
        assert (stored.status_code, stored.json()["documents"][0]["status"]) == (201, "added")
        # Another boundary, and the same form: told again instead of "unchanged".
        again = client.post("/v1/documents", files={"files": FILE}, headers=upload)
        assert (again.status_code, again.json()) == (201, stored.json())
        assert client.post("/v1/documents", files={"files": (FILE[0], b"other")}, headers=upload).status_code == 422
        events = parse(client.post("/v1/chat", json={**ASK, "stream": True}, headers={**keys[0], **OTHER_KEY}).text)
    with serve(tmp_path, {"auth": "tokens", "tokens_file": path}) as server, server.client() as client:
        assert client.post("/v1/chat", json=ASK, headers=keys[0]).content == first.content
        assert len(client.get("/v1/threads", headers=keys[0]).json()["threads"]) == 2
        assert parse(client.post("/v1/chat", json={**ASK, "stream": True}, headers={**keys[0], **OTHER_KEY}).text) == events
        run = f"/v1/chat/runs/{events[0]['id'].partition(':')[0]}"
        assert parse(client.get(f"{run}/events", headers={**keys[0], "Last-Event-ID": events[0]["id"]}).text) == events[1:]
        assert [client.get(f"{run}/events", headers=keys[1]).status_code, client.delete(run, headers=keys[1]).status_code] == [404, 404]
        theirs = client.post("/v1/chat", json=ASK, headers=keys[1]).json()
        assert theirs["thread_id"] != first.json()["thread_id"]
        # What was answered goes with its thread, and the key is free.
        assert client.delete(f"/v1/threads/{first.json()['thread_id']}", headers=keys[0]).status_code == 204
        assert client.post("/v1/chat", json=ASK, headers=keys[0]).json()["message_id"] != first.json()["message_id"]
        name = client.get("/v1/documents?id=anne/muster.txt", headers=keys[0]).json()["documents"][0]["document_id"]
        assert client.delete(f"/v1/documents?id={name}", headers=keys[0]).status_code == 200
