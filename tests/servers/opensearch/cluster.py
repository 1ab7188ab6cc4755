"""A cluster as tests see it: an address, who may enter, and a plain way to ask."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.servers.opensearch.security import Security


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str] = field(repr=False)
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Cluster:
    """``url`` has no credentials; without ``user`` `request` takes the administrator's certificate of a secured cluster."""

    url: str
    security: Security | None = None
    user: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def at(cls, url: str) -> Cluster:
        """A cluster that someone else runs; ``url`` may carry ``user:password@``."""
        parts = urlsplit(url)
        user = (parts.username, parts.password or "") if parts.username else None
        return cls(f"{parts.scheme}://{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 9200)}", user=user)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: tuple[str, str] | None = None,
        bearer: str | None = None,
        certificate: tuple[str, str] | None = None,
        anonymous: bool = False,
        timeout_s: float = 60,
    ) -> Answer:
        """One request over a connection of its own. ``body``: an object is sent as JSON, a list as NDJSON (`_bulk`).

        ``user``, ``bearer``, ``certificate`` (files of certificate and key) or ``anonymous`` say who asks; otherwise the administrator.
        """
        headers, user = {}, user or (None if bearer or certificate or anonymous else self.user)
        if user:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(user).encode()).decode()
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        payload = None
        if body is not None:
            many = isinstance(body, list)
            headers["Content-Type"] = "application/x-ndjson" if many else "application/json"
            payload = "".join(json.dumps(line) + "\n" for line in body) if many else json.dumps(body)
        if self.security and not (user or bearer or certificate or anonymous):
            certificate = self.security.admin_certificate
        connection = self._connection(certificate, timeout_s)
        try:
            connection.request(method, "/" + path.lstrip("/"), payload.encode() if payload is not None else None, headers)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode())
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """`request` that must succeed; returns the JSON."""
        answer = self.request(method, path, body, **options)
        if answer.status >= 300:
            raise AssertionError(f"{method} {path} answered {answer.status}: {answer.text[:2000]}")
        return answer.json

    def forget(self, prefix: str) -> None:
        """Delete the indices (their aliases with them), templates, and search pipelines whose names start with ``prefix``."""
        names = [row["index"] for row in self.ask("GET", f"_cat/indices/{prefix}*?format=json&expand_wildcards=all&h=index")]
        for name in names:
            self.request("DELETE", name)
        # Both answer 404 where there is none at all.
        pipelines = self.request("GET", "_search/pipeline")
        for name in pipelines.json if pipelines.status == 200 else ():
            if name.startswith(prefix):
                self.request("DELETE", f"_search/pipeline/{name}")
        templates = self.request("GET", f"_index_template/{prefix}*")
        for row in templates.json["index_templates"] if templates.status == 200 else ():
            self.request("DELETE", f"_index_template/{row['name']}")

    def _connection(self, certificate: tuple[str, str] | None, timeout_s: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        if parts.scheme == "http":
            return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout_s)
        context = ssl.create_default_context(cafile=self.security.ca_file if self.security else None)
        if certificate:
            context.load_cert_chain(*certificate)
        return http.client.HTTPSConnection(str(parts.hostname), parts.port, timeout=timeout_s, context=context)
