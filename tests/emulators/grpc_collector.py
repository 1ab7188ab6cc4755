"""An OTLP/gRPC collector over TLS, of gRPC's own server, that decodes what it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import trustme
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_REQUESTS: dict[str, Any] = {"TraceService": ExportTraceServiceRequest, "MetricsService": ExportMetricsServiceRequest, "LogsService": ExportLogsServiceRequest}


class GrpcCollector(grpc.GenericRpcHandler):
    """``authority`` issues its certificate, and with ``demands_certificate`` those of its clients; without one it speaks no TLS.

    ``refused``: a code for all; ``unknown``: services that it does not have.
    """

    def __init__(self, authority: trustme.CA | None, *names: str, demands_certificate: bool = False) -> None:
        self.authority, self.names, self.demands = authority, names or ("localhost", "127.0.0.1"), demands_certificate
        self.refused: grpc.StatusCode | None = None
        self.unknown: set[str] = set()
        self.received: list[tuple[str, dict[str, str], Any]] = []
        """Service, metadata and decoded request of each export."""
        self.port = 0

    @contextmanager
    def running(self) -> Iterator[GrpcCollector]:
        server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(self,))
        if self.authority is None:
            self.port = server.add_insecure_port("127.0.0.1:0")
        else:
            leaf = self.authority.issue_cert(*self.names)
            chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
            roots = self.authority.cert_pem.bytes() if self.demands else None
            credentials = grpc.ssl_server_credentials([(leaf.private_key_pem.bytes(), chain)], roots, self.demands)
            self.port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield self
        finally:
            server.stop(None).wait()

    def service(self, handler_call_details: Any) -> Any:
        name = handler_call_details.method.split("/")[1].rpartition(".")[2]
        if name in self.unknown:
            return None

        def export(request: bytes, context: Any) -> bytes:
            if self.refused is not None:
                context.abort(self.refused, "CANARY-from-outside")
            self.received.append((name, dict(context.invocation_metadata()), _REQUESTS[name].FromString(request)))
            return b""

        return grpc.unary_unary_rpc_method_handler(export)

    @property
    def spans(self) -> list[Any]:
        requests = [request for name, _, request in self.received if name == "TraceService"]
        return [span for request in requests for part in request.resource_spans for scope in part.scope_spans for span in scope.spans]
