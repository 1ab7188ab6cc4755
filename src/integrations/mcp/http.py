"""MCP over streamable HTTP, as one route of the API: whoever mounts it has checked host, origin, size and caller before."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import cached_property
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from ...util.aio import stopped
from ..extras import needs_extra

if TYPE_CHECKING:
    from mcp.server import Server
    from starlette.types import Message, Receive, Scope, Send

    from ...infra.resource_manager import ResourceManager
    from .server import IdentityOf


class McpEndpoint:
    """An ASGI application that answers one POST with one JSON document.

    Nothing is kept between requests, so any replica answers any of them, and a request that is cancelled, or whose caller
    has gone, takes all of its tasks with it. The library's manager is therefore made anew for each; its own task group would otherwise have
    to live as long as the server, entered and left by the same task.

    Args:
        identity_of: the caller of the running request, from a context variable that the request's tasks inherit.
        max_body: largest request in bytes.
    """

    def __init__(self, resources: ResourceManager, identity_of: IdentityOf, max_body: int) -> None:
        self._resources = resources
        self._identity_of = identity_of
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            MissingExtraError: the extra ``mcp`` is not installed.
        """
        server = await asyncio.to_thread(lambda: self._server)  # the first one imports the library: 0.7 s
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        async def uncached(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"cache-control", b"no-store")]
            await send(message)

        manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True, max_request_body_size=self._max_body)
        body = await Request(scope, receive).body()
        failure: Exception | None = None
        async with manager.run():
            try:
                await _unless_gone(manager.handle_request(scope, _replay(body), uncached), receive)
            except Exception as error:  # noqa: BLE001 - raised below as it is: leaving the task group would wrap it in a group
                failure = error
        if failure is not None:
            raise failure

    @cached_property
    def _server(self) -> Server[Any]:
        with needs_extra("mcp", "The MCP server"):
            from .server import build_server

        return build_server(self._resources, self._identity_of)


def _replay(body: bytes) -> Receive:
    """A request's ``receive`` whose body was read already."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()  # `_unless_gone` looks out for the caller's going
        raise AssertionError

    return receive


async def _unless_gone(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do the work, or stop it when the caller goes: nobody waits for the answer any more."""
    tasks = [asyncio.create_task(work), asyncio.create_task(_disconnected(receive))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            await tasks[0]
    finally:
        await stopped(*tasks)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
