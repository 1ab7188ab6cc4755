"""The fault proxy's faults are the ones they are called, seen from a plain client."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.servers.faults import FaultProxy, HalfOpen, ItemStorm, Latency, Refuse, Reset, Storm, Truncate
from tests.servers.opensearch.cluster import Cluster


class Echo(BaseHTTPRequestHandler):
    """Answers with the body it got, chunked where the path says so."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    served: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.served.append(self.path)
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(body), 7):
                part = body[start : start + 7]
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def served() -> list[str]:
    """Paths of the requests that reached the server."""
    return []


@pytest.fixture
def proxy(served: list[str]) -> Iterator[FaultProxy]:
    handler = type("OneEcho", (Echo,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with FaultProxy(f"http://127.0.0.1:{server.server_port}").running() as running:
            yield running
        server.shutdown()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    yield connection
    connection.close()


def post(client: http.client.HTTPConnection, path: str = "/", body: bytes = b"hello") -> tuple[int, bytes]:
    client.request("POST", path, body)
    answer = client.getresponse()
    return answer.status, answer.read()


def test_without_faults_everything_passes_over_one_connection(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    large = bytes(range(256)) * 5000
    assert [post(client), post(client, "/chunked"), post(client, body=large), post(client, body=b"")] == [
        (200, b"hello"),
        (200, b"hello"),
        (200, large),
        (200, b""),
    ]
    assert (proxy.connections, len(proxy.seen(outcome=200))) == (1, 4)


def test_reset_before_the_request_and_after_the_answer(proxy: FaultProxy, client: http.client.HTTPConnection, served: list[str]) -> None:
    with proxy.fault(Reset(times=1)):
        with pytest.raises(ConnectionResetError):
            post(client, "/lost")
        client.close()
        assert post(client, "/again")[0] == 200
    with proxy.fault(Reset(when="answer", path="^/work")):
        assert post(client, "/other")[0] == 200
        with pytest.raises(ConnectionResetError):
            post(client, "/work")
    assert served == ["/again", "/other", "/work"]


def test_half_open_never_answers_until_it_is_lifted(proxy: FaultProxy, client: http.client.HTTPConnection, served: list[str]) -> None:
    with proxy.fault(HalfOpen()):
        client.timeout = 0.3
        with pytest.raises(TimeoutError):
            post(client)
    assert served == []
    client.close()
    assert post(client)[0] == 200


def test_truncated_answer_ends_early_without_a_reset(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    with proxy.fault(Truncate(after=2)), pytest.raises(http.client.IncompleteRead) as caught:
        post(client)
    assert caught.value.partial == b"he"


def test_refuse_closes_the_port_and_opens_the_same_one_again(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    post(client)
    port = proxy.port
    with proxy.fault(Refuse()):
        with pytest.raises(ConnectionResetError):
            post(client)
        client.close()
        with pytest.raises(ConnectionRefusedError):
            post(client)
    client.close()
    assert (post(client)[0], proxy.port) == (200, port)


@pytest.mark.parametrize("status", [429, 503])
def test_storm_answers_a_share_of_the_requests_on_the_same_connection(
    proxy: FaultProxy, client: http.client.HTTPConnection, served: list[str], status: int
) -> None:
    with proxy.fault(Storm(status=status, share=0.5)):
        answers = [post(client) for _ in range(100)]
    refused = [json.loads(body)["status"] for code, body in answers if code == status]
    assert set(refused) == {status}
    assert 30 < len(refused) < 70
    assert (len(served), proxy.connections) == (100 - len(refused), 1)


def test_storm_can_speak_like_a_load_balancer(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    with proxy.fault(Storm(status=503, body="<html>busy</html>", content_type="text/html", headers=(("retry-after", "3"),))):
        client.request("POST", "/")
        answer = client.getresponse()
    assert (answer.getheader("retry-after"), answer.getheader("content-type"), answer.read()) == ("3", "text/html", b"<html>busy</html>")


def test_latency_lets_requests_through_later(proxy: FaultProxy, client: http.client.HTTPConnection, served: list[str]) -> None:
    client.timeout = 0.2
    with proxy.fault(Latency(seconds=0.8, jitter_s=0.1)), pytest.raises(TimeoutError):
        post(client)
    client.close()
    client.timeout = 5
    with proxy.fault(Latency(seconds=0.01)):
        assert post(client) == (200, b"hello")


@pytest.mark.parametrize("packed", [False, True])
def test_item_storm_rejects_some_operations_and_the_server_never_sees_them(opensearch: Cluster, index_prefix: str, packed: bool) -> None:
    lines = [line for n in range(40) for line in ({"index": {"_id": str(n)}}, {"n": n})] + [{"delete": {"_id": "none"}}]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    headers = {"Content-Type": "application/x-ndjson"} | ({"Content-Encoding": "gzip"} if packed else {})
    with FaultProxy(opensearch.url).running() as proxy, proxy.fault(ItemStorm(path="_bulk", items=0.5)):
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        connection.request("POST", f"/{index_prefix}docs/_bulk?refresh=true", gzip.compress(body) if packed else body, headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
    items = [next(iter(item.values())) for item in answer["items"]]
    assert [item["_id"] for item in items] == [*map(str, range(40)), "none"]
    rejected = {item["_id"] for item in items if item["status"] == 429}
    assert answer["errors"] is True
    assert 8 < len(rejected) < 32
    found = opensearch.ask("GET", f"{index_prefix}docs/_search?size=100&_source=false")["hits"]["hits"]
    assert {hit["_id"] for hit in found} == {str(n) for n in range(40)} - rejected


def test_https_passes_through_and_only_whole_connections_can_be_hit(opensearch_secured: Cluster) -> None:
    with FaultProxy(opensearch_secured.url).running() as proxy:
        through = Cluster(proxy.url, opensearch_secured.security)
        assert through.request("GET", "/").status == 200
        with proxy.fault(Reset()), pytest.raises(OSError, match=r"reset|EOF"):
            through.request("GET", "/")
        assert proxy.connections == 2
        with pytest.raises(ValueError, match="https"):
            proxy.set(Truncate(after=1))
        with pytest.raises(ValueError, match="https"):
            proxy.set(Reset(path="_bulk"))
