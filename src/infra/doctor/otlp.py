"""The OTLP collector: it takes an export of nothing, which is a valid message of no bytes (OTLP/HTTP 1.x, protobuf)."""

from __future__ import annotations

import asyncio

from ..exporting.plan import GRPC_PORT, PATHS, base_of, headers_of, refusal
from ..hops import error_of
from ..network.faults import fault_of
from . import fixes
from .walk import Step, Walk

PATH = PATHS["traces"]


def steps() -> tuple[Step, ...]:
    return (Step("service", export),)


async def export(walk: Walk) -> str:
    """Send it; OTLP/HTTP is what is spoken here, not gRPC."""
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
        found.hint += " 4317 is the port of gRPC; exports go over HTTP here, whose port is 4318." if walk.target.port == GRPC_PORT else ""
        raise found from None
    finally:
        await client.aclose()
    if answer.status_code >= 300:
        found = refusal(answer.status_code, walk.target.way(walk.policy), walk.target.port)
        walk.fixes = fixes.of_error(walk.settings, found)
        raise found
    return f"it takes exports at {PATH}"
