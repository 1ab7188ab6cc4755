"""API keys that may change, and that no client holds: put into each request by its transport, and once more where the service refuses one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

import httpx2
from pydantic import SecretStr

from ..secrets.live import current, renewed

STAND_IN = "set-by-the-transport"
"""What the `openai` client takes for its key, and shows to whoever looks at it."""


def stand_in(key: SecretStr) -> Callable[[], Awaitable[str]]:
    """What the `openai` client asks for its key with each attempt. What a vault fails with is raised here: within the request the
    client would take it for a broken connection, and repeat it."""

    async def source() -> str:
        await current(key)
        return STAND_IN

    return source


class KeyAuth(httpx2.Auth):
    """Sends the key of now; one that the service refuses (401) is read again, and the request sent once more if there is another.

    Args:
        header: ``api-key``, or ``authorization`` for a bearer token.
    """

    def __init__(self, key: SecretStr, header: str) -> None:
        self._key = key
        self._header = header

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        sent = await self._put(request)
        response = yield request
        if response.status_code == 401 and await renewed(self._key, sent):
            await self._put(request)
            yield request

    async def _put(self, request: httpx2.Request) -> str:
        value = await current(self._key)
        request.headers[self._header] = value if self._header == "api-key" else f"Bearer {value}"
        return value
