"""The OTLP collector: it takes an export of nothing, which is a valid message of no bytes (OTLP/HTTP 1.x, protobuf)."""

from __future__ import annotations

import asyncio

from ...errors import MissingExtraError
from ..exporting.plan import GRPC_PORT, PATHS, base_of, endpoint_of, headers_of, over_grpc, refusal
from ..hops import error_of
from ..network.faults import fault_of
from . import fixes
from .walk import Step, Walk

PATH = PATHS["traces"]


def steps() -> tuple[Step, ...]:
    return (Step("service", export),)


async def export(walk: Walk) -> str:
    """Send it, as exports are sent."""
    if over_grpc(walk.settings.telemetry):
        return await _called(walk)
    import httpx2

    from ..http_transport import make_async_client

    url = base_of(walk.settings.telemetry.endpoint or "") + PATH
    secret = walk.settings.telemetry.headers
    own = headers_of(secret.get_secret_value()) if secret is not None else {}
    client = make_async_client(walk.policy, walk.left(walk.settings.network.read_timeout_s))
    try:
        async with asyncio.timeout(walk.left()):
            answer = await client.post(url, content=b"", headers={**own, "content-type": "application/x-protobuf"})
    except (httpx2.HTTPError, OSError) as error:
        found = error_of(fault_of(error), walk.target.way(walk.policy))
        found.hint += " 4317 is the port of gRPC: set protocol = grpc, or name the port of HTTP, 4318." if walk.target.port == GRPC_PORT else ""
        raise found from None
    finally:
        await client.aclose()
    if answer.status_code >= 300:
        found = refusal(answer.status_code, walk.target.way(walk.policy), walk.target.port)
        walk.fixes = fixes.of_error(walk.settings, found)
        raise found
    return f"it takes exports at {PATH}"


async def _called(walk: Walk) -> str:
    from ..exporting.collector import Link, NotTakenError

    try:
        from ..exporting.grpc_session import GrpcSession
    except ImportError:
        hint = "Install it with: pip install 'founders-rag[otel-grpc]'; or use protocol = http."
        raise MissingExtraError("OTLP over gRPC needs the extra `otel-grpc`, which is not installed.", setting="telemetry.protocol", hint=hint) from None
    cfg = walk.settings.telemetry
    base = endpoint_of(cfg, None)
    session = GrpcSession(Link(base), walk.policy, walk.left(walk.settings.network.read_timeout_s), cfg.headers)
    try:
        await asyncio.to_thread(session.request, "POST", base_of(base) + PATH, data=b"")
    except NotTakenError as found:
        raise found.error from None
    finally:
        session.close()
    return "it takes exports over gRPC"
