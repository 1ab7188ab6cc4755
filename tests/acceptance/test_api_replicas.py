"""Two servers on one PostgreSQL, behind PgBouncer and a round-robin proxy: conversations move between them and outlive either."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class RoundRobin:
    """A TCP proxy that gives each connection to the next server, and to the one after it where that one is gone."""

    def __init__(self, ports: list[int]) -> None:
        self._next = itertools.cycle(ports)
        self._count = len(ports)
        self.served: list[int] = []

    @contextmanager
    def running(self) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            listener.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client:
            for _ in range(self._count):
                port = next(self._next)
                try:
                    server = socket.create_connection(("127.0.0.1", port), 5)
                except OSError:
                    continue
                self.served.append(port)
                with server:
                    back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                    back.start()
                    _pump(client, server)
                    back.join()
                return


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def stream(client: httpx2.Client, message: str, **more: Any) -> dict[str, Any]:
    """The whole response of a streamed answer, whose sentences must come to the same."""
    with client.stream("POST", "/v1/chat", json={"message": message, "stream": True, **more}) as response:
        events = [part.split("data: ", 1) for part in response.read().decode().split("\n\n") if "data: " in part]
    found = [(name.partition("event: ")[2].strip(), json.loads(data)) for name, data in events]
    done = dict(found[-1][1])
    assert found[-1][0] == "done", found
    assert "".join(data["text"] for name, data in found if name == "token").strip() == done["answer"].strip()
    return done


def test_behind_a_round_robin_proxy_turns_of_one_conversation_never_mix(replicas: list[tuple[Any, httpx2.Client]]) -> None:
    ports = [httpx2.URL(server.url).port for server, _ in replicas]
    assert None not in ports
    proxy = RoundRobin([port for port in ports if port])
    questions = [QUESTION, "When is the meter read?", "How is a power cut reported?"]
    with proxy.running() as url, httpx2.Client(base_url=url, timeout=60, headers={"Connection": "close"}) as client:
        thread = ask(client, QUESTION)["thread_id"]
        for question in questions:
            stream(client, question, thread_id=thread)
        with concurrent.futures.ThreadPoolExecutor(6) as at_once:
            asked = [at_once.submit(way, client, question, thread_id=thread) for way in (ask, stream) for question in questions]
            answers = {found.result(60)["message_id"]: found.result() for found in asked}
        turns = client.get(f"/v1/threads/{thread}/history").json()["turns"]
        assert len(turns) == 10
        assert len(answers) == 6
        for turn in turns[4:]:
            assert (turn["answer"], turn["citations"]) == (answers[turn["message_id"]]["answer"], answers[turn["message_id"]]["citations"])
        assert sorted(turn["question"] for turn in turns[4:]) == sorted(questions * 2)
        assert [turn["created_at"] for turn in turns] == sorted(turn["created_at"] for turn in turns)
        assert {*proxy.served} == {*ports}
        forked = client.post(f"/v1/threads/{thread}/fork", json={"message_id": turns[3]["message_id"]}).json()
        replicas[0][0].process.kill()
        replicas[0][0].process.wait()
        assert stream(client, QUESTION, thread_id=forked["thread_id"])["thread_id"] == forked["thread_id"]
        assert client.get(f"/v1/threads/{forked['thread_id']}").json()["turns"] == 5
        assert client.get(f"/v1/threads/{thread}").json()["turns"] == 10
