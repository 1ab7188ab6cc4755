"""Two servers on one PostgreSQL, behind PgBouncer: conversations move between them and outlive either."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.servers.postgres import PASSWORD, PgBouncer, PostgresServer

QUESTION = "How quickly must an uncontrolled gas escape be attended?"


@pytest.fixture
def replicas(
    handbook_server: Any, serve: Callable[..., Any], tmp_path: Path, postgres: PostgresServer, pgbouncer: PgBouncer
) -> Iterator[list[tuple[Any, httpx2.Client]]]:
    """Both read the handbook's index, and keep threads in the database alone."""
    dsn = f"postgresql://postgres@127.0.0.1:{pgbouncer.port}/{postgres.database()}?sslmode=disable"
    more = f"[persistence]\nbackend = postgres\ndsn = {dsn}\npassword = {PASSWORD}\n"
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        (folder / "data").symlink_to(handbook_server.folder / "data")
    with serve(folders[0], None, more) as one, serve(folders[1], None, more) as two, one.client() as first, two.client() as second:
        yield [(one, first), (two, second)]


def ask(client: httpx2.Client, message: str, **more: Any) -> dict[str, Any]:
    response = client.post("/v1/chat", json={"message": message, **more})
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_conversations_move_between_two_servers_and_outlive_one_that_is_killed(replicas: list[tuple[Any, httpx2.Client]]) -> None:
    (one, first), (_, second) = replicas
    turn = itertools.cycle([first, second])
    answers = [ask(next(turn), QUESTION)]
    thread = answers[0]["thread_id"]
    answers += [ask(next(turn), QUESTION, thread_id=thread) for _ in range(3)]
    histories = [client.get(f"/v1/threads/{thread}/history").json()["turns"] for client in (first, second)]
    assert histories[0] == histories[1]
    assert [turn["message_id"] for turn in histories[0]] == [answer["message_id"] for answer in answers]
    assert histories[0][3]["citations"] == answers[0]["citations"]
    with concurrent.futures.ThreadPoolExecutor(6) as at_once:
        asked = [at_once.submit(ask, client, QUESTION, thread_id=thread) for client in (first, second) * 3]
        assert len({found.result(60)["message_id"] for found in asked}) == 6
    assert first.get(f"/v1/threads/{thread}").json()["turns"] == 10
    assert {component["status"] for component in second.get("/health").json()["components"].values()} == {"healthy"}
    one.process.kill()
    one.process.wait()
    assert ask(second, QUESTION, thread_id=thread)["answer"] == answers[0]["answer"]
    assert second.delete(f"/v1/threads/{thread}").status_code == 204
    assert second.get("/v1/threads").json()["threads"] == []
