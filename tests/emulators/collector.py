"""An OTLP/HTTP collector over TLS that decodes what it is sent, and can be made to fail in each way that `Service` knows."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trustme
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.emulators.service import Service, read_request

PATIENCE_S = 20.0
_REQUESTS: dict[str, Any] = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest, "/v1/logs": ExportLogsServiceRequest}


def value_of(value: Any) -> Any:
    """A value of OTLP as Python's."""
    kind = value.WhichOneof("value")
    found = getattr(value, kind) if kind else None
    return [value_of(item) for item in found.values] if kind == "array_value" else found


def attributes_of(pairs: Any) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in pairs}


class Collector(Service):
    """``status``: of all its answers; ``refused``: paths that it does not know."""

    def __init__(self, authority: trustme.CA, *names: str, **more: Any) -> None:
        super().__init__(authority, *names, **more)
        self.status = 200
        self.refused: set[str] = set()
        self.received: list[tuple[str, dict[str, str], Any]] = []
        """Path, headers and decoded request of each export."""
        self.bodies: list[bytes] = []
        """The exports as they came, unpacked: what a canary is looked for in."""
        self._came = threading.Condition()

    @contextmanager
    def running(self) -> Iterator[Collector]:
        with super().running():
            yield self

    def _answer(self, tls: ssl.SSLSocket) -> bool:
        request = read_request(tls)
        if request is None:
            return False
        self.requests += 1
        if self.way in ("close", "garbage"):
            if self.way == "garbage":
                tls.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
            return False
        status, data = self._reply(*request)
        data = data or (b"\0" * 64 if self.way == "cut" else b"")
        answer = b"HTTP/1.1 %d X\r\ncontent-type: application/x-protobuf\r\ncontent-length: %d\r\n\r\n%b" % (status, len(data), data)
        tls.sendall(answer if self.way == "answer" else answer[:-10])
        return self.way == "answer"

    def _reply(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        first, *lines = head.decode("latin-1").split("\r\n")
        path = first.split(" ")[1]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if self.status != 200 or path in self.refused or path not in _REQUESTS:
            return (404 if path in self.refused or path not in _REQUESTS else self.status), b""
        data = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        with self._came:
            self.bodies.append(data)
            self.received.append((path, headers, _REQUESTS[path].FromString(data)))
            self._came.notify_all()
        return 200, b""

    def wait_for(self, met: Callable[[], bool]) -> None:
        """Until something has come."""
        ends = time.monotonic() + PATIENCE_S
        with self._came:
            while not met():
                left = ends - time.monotonic()
                assert left > 0, f"nothing like it came: {[path for path, _, _ in self.received]}"
                self._came.wait(left)

    def requests_of(self, path: str) -> list[Any]:
        with self._came:
            return [request for found, _, request in self.received if found == path]

    @property
    def spans(self) -> list[Any]:
        return [span for request in self.requests_of("/v1/traces") for part in request.resource_spans for scope in part.scope_spans for span in scope.spans]

    @property
    def metrics(self) -> dict[str, Any]:
        """The last state of each metric."""
        found = {}
        for request in self.requests_of("/v1/metrics"):
            found |= {metric.name: metric for part in request.resource_metrics for scope in part.scope_metrics for metric in scope.metrics}
        return found

    @property
    def records(self) -> list[Any]:
        return [
            record for request in self.requests_of("/v1/logs") for part in request.resource_logs for scope in part.scope_logs for record in scope.log_records
        ]

    def resource(self) -> dict[str, Any]:
        return attributes_of(self.requests_of("/v1/traces")[0].resource_spans[0].resource.attributes)
