"""API keys that may change, and that no client holds: put into each request by its transport, and once more where the service refuses one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

import httpx2
from pydantic import SecretStr

from ...errors import ConfigurationError
from ..secrets.live import current, renewed
from .attempts import asking_for_secret

STAND_IN = "set-by-the-transport"
"""What the `openai` client takes for its key, and shows to whoever looks at it."""


def fits_headers(text: str) -> bool:
    """Whether a credential can stand in a header. What cannot must not get there: the HTTP library would fail on it with the credential in
    its words, in its log at DEBUG, and as a connection that was cut."""
    return bool(text) and text.isascii() and text.isprintable()


class ApiKey:
    """The key of a section's model, checked whenever it is read: it may change.

    Args:
        setting: where it stands.
    """

    def __init__(self, secret: SecretStr, setting: str) -> None:
        self._secret = secret
        self._setting = setting

    async def read(self) -> tuple[str, str]:
        """The key of now, as it is kept, and as it is sent: without white space around it, as secret files are read.

        Raises:
            RagError: it could never be read.
            ConfigurationError: it holds what headers cannot. The message does not repeat it.
        """
        with asking_for_secret(self._secret):
            kept = await current(self._secret)
        sent = kept.strip()
        if fits_headers(sent):
            return kept, sent
        problem = "holds a character that headers cannot" if sent else "is empty"
        del kept, sent  # some show the local variables of an error's frames
        hint = "Look for line breaks and characters beyond ASCII, such as invisible ones of a web page that it was copied from."
        raise ConfigurationError(f"The key of the model's service {problem}.", setting=self._setting, hint=hint)

    async def renewed(self, kept: str) -> bool:
        """Whether there is another than the one that the service refused."""
        with asking_for_secret(self._secret):
            return await renewed(self._secret, kept)


def stand_in(key: ApiKey) -> Callable[[], Awaitable[str]]:
    """What the `openai` client asks for its key with each attempt. What a vault fails with is raised here: within the request the
    client would take it for a broken connection, and repeat it. So is what headers cannot hold."""

    async def source() -> str:
        await key.read()
        return STAND_IN

    return source


class KeyAuth(httpx2.Auth):
    """Sends the key of now; one that the service refuses (401) is read again, and the request sent once more if there is another.

    Args:
        header: ``api-key``, or ``authorization`` for a bearer token.
    """

    def __init__(self, key: ApiKey, header: str) -> None:
        self._key = key
        self._header = header

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        kept = await self._put(request)
        response = yield request
        if response.status_code == 401 and await self._key.renewed(kept):
            del kept  # what follows may fail, and some show the local variables of an error's frames
            await self._put(request)
            yield request

    async def _put(self, request: httpx2.Request) -> str:
        kept, sent = await self._key.read()
        request.headers[self._header] = sent if self._header == "api-key" else f"Bearer {sent}"
        return kept
