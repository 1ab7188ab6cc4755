"""What a `requests` session for OpenSearch raises: errors that are ours and requests' at once.

Code that uses a session expects `requests.ConnectionError`, `requests.Timeout` and their kin; code of ours expects a `RagError` with
its hop, setting and hint. An error of a session is both: ``except requests.ConnectTimeout`` and ``except UnreachableError`` catch it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import requests

from ..errors import RagError
from .hops import Hop, error_of, foreign
from .network.faults import Fault, fault_of
from .search.opensearch.wire.credentials import scrubbed
from .search.opensearch.wire.failures import classify


@cache
def _kind(ours: Any, theirs: Any) -> Any:
    def reduce(error: requests.RequestException) -> tuple[Any, ...]:  # for copies and pickles: the class has no name that could be imported
        return _made, (ours, theirs, error.args, dict(vars(error)))

    members = {"__doc__": f"{ours.__name__}, as requests' {theirs.__name__}.", "__module__": __name__, "__reduce__": reduce}
    return type(ours.__name__, (ours, theirs), members)


def _made(ours: Any, theirs: Any, args: tuple[object, ...], state: dict[str, Any]) -> requests.RequestException:
    kind = _kind(ours, theirs)
    error: requests.RequestException = kind.__new__(kind)  # not called: each of requests' kinds wants arguments of its own
    error.args = args
    vars(error).update(state)
    return error


def both(ours: RagError, theirs: requests.RequestException) -> requests.RequestException:
    """One error that is of both kinds: our words, and requests' own request and response."""
    return _made(type(ours), type(theirs), (ours.message,), {**vars(theirs), **vars(ours)})


def told(error: requests.RequestException, hop: Hop) -> requests.RequestException:
    """What a connection failed with, as an error of both kinds; one that is already stays as it is."""
    return error if RagError in type(error).__mro__ else both(error_of(fault_of(error), hop), error)


def address(url: str) -> str:
    """``scheme://host:port`` of a request's address."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}" + (f":{parts.port}" if parts.port else "")


def _index(url: str) -> str:
    """The index or alias that an address is about; empty where it is about none."""
    first = urlsplit(url).path.strip("/").partition("/")[0]
    return "" if first.startswith("_") else first


class SearchResponse(requests.Response):
    """A response whose body, and whose `raise_for_status`, fail with errors of both kinds."""

    hop: Hop
    credential: str
    """The key of the credential that was shown."""

    def iter_content(self, chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        return self._told(super().iter_content(chunk_size, decode_unicode))

    def _told(self, pieces: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from pieces
        except requests.RequestException as error:
            raise told(error, self.hop) from None

    def json(self, **options: Any) -> Any:
        """As requests does; a body that is no JSON, or only the beginning of some, fails with an error of both kinds."""
        try:
            return super().json(**options)
        except requests.JSONDecodeError as error:
            measured = "content-length" in self.headers or "transfer-encoding" in self.headers
            cut = "json" in self.headers.get("content-type", "") and not measured
            ours = error_of(Fault("truncated"), self.hop) if cut else foreign(self.hop, f"HTTP {self.status_code}, no JSON")
            raise both(ours, error) from None

    def raise_for_status(self) -> None:
        """Raise what the answer means, where it is no success: the errors of the client for OpenSearch, which are `requests.HTTPError` too."""
        if self.status_code < 300:  # redirects are not followed: what answers so is not the cluster
            return
        error = self._meaning()
        error.proxy = error.proxy or self.hop.proxy
        raise both(error, requests.HTTPError(response=self, request=self.request))

    def _meaning(self) -> RagError:
        """In a frame of its own, so that the body is no local variable of one that an error shows."""
        said = scrubbed(self.content, self.request.headers)
        try:
            body: object = json.loads(said)
        except ValueError:
            body = said.decode(self.encoding or "utf-8", "replace")
        return classify(self.status_code, body, self.hop.address, _index(self.url), credential=self.credential).error
