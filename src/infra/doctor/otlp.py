"""The OTLP collector: it takes an export of nothing, which is a valid message of no bytes (OTLP/HTTP 1.x, protobuf)."""

from __future__ import annotations

import asyncio

from ...errors import ConfigurationError, RagError, ServiceCredentialsError
from ..hops import Hop, answer_error, error_of
from ..network.faults import fault_of
from . import fixes
from .walk import Step, Walk

PATH = "/v1/traces"
GRPC_PORT = 4317


def steps() -> tuple[Step, ...]:
    return (Step("service", export),)


async def export(walk: Walk) -> str:
    """Send it; OTLP/HTTP is what is spoken here, not gRPC."""
    import httpx2

    from ..http_transport import make_async_client

    endpoint = (walk.settings.telemetry.endpoint or "").rstrip("/")
    url = endpoint if endpoint.endswith(PATH) else endpoint + PATH
    client = make_async_client(walk.policy, walk.left(walk.settings.network.read_timeout_s))
    try:
        async with asyncio.timeout(walk.left()):
            answer = await client.post(url, content=b"", headers={"content-type": "application/x-protobuf"})
    except (httpx2.HTTPError, OSError) as error:
        found = error_of(fault_of(error), walk.target.way(walk.policy))
        found.hint += " 4317 is the port of gRPC; exports go over HTTP here, whose port is 4318." if walk.target.port == GRPC_PORT else ""
        raise found from None
    finally:
        await client.aclose()
    if answer.status_code >= 300:
        found = refusal(answer.status_code, walk.target.way(walk.policy), walk.target.port)
        walk.fixes = fixes.of_error(walk.settings, found)
        raise found
    return f"it takes exports at {PATH}"


def refusal(status: int, way: Hop, port: int) -> RagError:
    """What a collector's answer that is no success means."""
    known = answer_error(status, way)
    if known is not None:
        known.setting = known.setting or way.setting
        return known
    where = {"hop": way.address, "proxy": way.proxy, "setting": way.setting}
    if status in (401, 403):
        return ServiceCredentialsError(f"The OTLP collector refuses us (HTTP {status}).", hint="Ask for this machine to be allowed.", **where)
    hint = "Name the OTLP/HTTP receiver, as https://host:4318" + ("; 4317 is gRPC." if port == GRPC_PORT else ".")
    return ConfigurationError(f"What answers takes no OTLP over HTTP (HTTP {status}).", hint=hint, **where)
