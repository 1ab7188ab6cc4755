"""What a `requests` session for OpenSearch raises is of requests' kind and of ours, and comes in time."""

from __future__ import annotations

import copy
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
import trustme

from src.errors import ConfigurationError, DeadlineExceededError, IndexMissingError, OverloadedError, RagError, TlsError, UnreachableError
from src.infra.clients import make_search_session
from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.session_errors import both
from tests.emulators.service import Service
from tests.faults.places import Faulty


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def policy(authority: trustme.CA, tmp_path: Path) -> NetworkPolicy:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return NetworkPolicy(NetworkCfg(ca_bundle=tmp_path / "ca.pem", ca_mode="replace", total_timeout_s=1.5))


def session(policy: NetworkPolicy, url: str, seconds: float = 20) -> requests.Session:
    return make_search_session(SearchCfg(host=url, timeout_s=seconds, connect_timeout_s=10), network=policy)


def ask(client: requests.Session, url: str) -> object:
    """As code that uses a session does."""
    answer = client.get(f"{url}/docs/_search")
    answer.raise_for_status()
    return answer.json()


@contextmanager
def dripping(where: str) -> Iterator[str]:
    """A server that sends a byte every 20 ms: of its headers, or of its body."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    conversation, _ = listener.accept()
                    with conversation, suppress(OSError):
                        conversation.recv(65536)
                        conversation.sendall(b"HTTP/1.1 200 OK\r\n" + (b"content-length: 100000\r\n\r\n" if where == "body" else b"x-"))
                        while True:
                            conversation.sendall(b"a")
                            time.sleep(0.02)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("fault", "ours", "theirs"),
    [
        ("wrong host name", TlsError, requests.exceptions.SSLError),
        ("reset", UnreachableError, requests.ConnectionError),
        ("truncated", UnreachableError, requests.exceptions.ChunkedEncodingError),
        ("200, a web page", ConfigurationError, requests.JSONDecodeError),
        ("truncated, no length", UnreachableError, ValueError),
        ("404", IndexMissingError, requests.HTTPError),
        ("429", OverloadedError, requests.HTTPError),
    ],
)
def test_old_code_and_ours_catch_the_same_error(
    fault: str, ours: type[RagError], theirs: type[Exception], authority: trustme.CA, policy: NetworkPolicy
) -> None:
    with Faulty(authority, fault, "opensearch").running() as service:
        for kind in (ours, theirs):
            with pytest.raises(kind) as caught:
                ask(session(policy, service.url), service.url)
            error = caught.value
            assert isinstance(error, RagError)
            assert isinstance(error, requests.RequestException)
            assert error.hop == service.url
            assert str(error).startswith(error.message)
            assert str(copy.copy(error)) == str(error)


def test_an_answer_goes_with_its_error(authority: trustme.CA, policy: NetworkPolicy) -> None:
    with Faulty(authority, "404", "opensearch").running() as service:
        answer = session(policy, service.url).get(f"{service.url}/docs/_search")
        assert answer.status_code == 404, "requests raises nothing by itself"
        with pytest.raises(requests.HTTPError) as caught:
            answer.raise_for_status()
    assert caught.value.response is answer
    assert caught.value.request is not None


def test_a_good_answer_is_as_ever(authority: trustme.CA, policy: NetworkPolicy) -> None:
    with Service(authority).running() as service:
        answer = session(policy, service.url).get(f"{service.url}/_search", stream=True)
        answer.raise_for_status()
        assert b"".join(answer.iter_content(3)) == b'{"hits": {"hits": []}}'
        assert isinstance(answer, requests.Response)


@pytest.mark.parametrize("where", ["head", "body"])
def test_an_answer_that_drips_ends_with_the_time_of_a_search(where: str, policy: NetworkPolicy) -> None:
    with dripping(where) as url, pytest.raises(DeadlineExceededError) as caught:
        session(policy, url, seconds=0.5).get(f"{url}/_search")
    assert caught.value.setting == "search.timeout_s"
    assert isinstance(caught.value, requests.RequestException)


def test_a_streamed_body_that_drips_ends_too(policy: NetworkPolicy) -> None:
    with dripping("body") as url:
        answer = session(policy, url, seconds=0.5).get(f"{url}/_search", stream=True)
        with pytest.raises(DeadlineExceededError):
            for _ in answer.iter_content(None):
                pass


def test_a_call_with_a_time_of_its_own_has_the_policys_for_the_whole(policy: NetworkPolicy) -> None:
    with dripping("body") as url, pytest.raises(DeadlineExceededError):
        session(policy, url, seconds=0.1).get(f"{url}/_search", timeout=0.2)


def test_each_of_requests_errors_can_be_both() -> None:
    kinds = [kind for kind in vars(requests.exceptions).values() if isinstance(kind, type) and issubclass(kind, requests.RequestException)]
    assert len(kinds) > 15
    for kind in kinds:
        theirs = kind.__new__(kind)
        error = both(UnreachableError("No way.", hop="https://host", setting="search.host", hint="Look."), theirs)
        assert isinstance(error, (kind, UnreachableError))
        for one in (error, pickle.loads(pickle.dumps(error))):
            assert str(one) == "No way. (hop https://host, setting search.host) Look."
            assert type(one) is type(error)
