"""User and password, or bearer token, of `[search]`: as a header, and as a `Signer` where the secret may change."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import SecretStr

from .....errors import ConfigurationError
from ....secrets.live import LiveSecret, current, renewed

if TYPE_CHECKING:
    from ....config import SearchCfg

NO_PASSWORD = SecretStr("")
_SHOWN = ("authorization", "x-amz-security-token")
_HIDDEN = b"**********"


def secret_of(cfg: SearchCfg) -> SecretStr | None:
    """What proves who we are, besides AWS; None where nothing does."""
    return cfg.bearer_token or ((cfg.password or NO_PASSWORD) if cfg.username else None)


def header_of(cfg: SearchCfg, secret: str) -> str:
    """The value of `Authorization`.

    Raises:
        ConfigurationError: the secret holds what headers cannot. The message does not repeat it.
    """
    value = f"Bearer {secret}" if cfg.bearer_token else basic(cfg.username or "", secret)
    if not value.isascii() or not value.isprintable():
        raise ConfigurationError("The token for OpenSearch holds a character that headers cannot.", setting="search.bearer_token")
    return value


class LiveCredential:
    """A `Signer` of a secret that may change: the one of now for each attempt, another one after a 401."""

    def __init__(self, cfg: SearchCfg, secret: LiveSecret) -> None:
        self._cfg = cfg
        self._secret = secret
        self._last = ("", "")

    async def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """See `Signer`."""
        secret = await current(self._secret)
        if secret != self._last[0]:  # encoding and checking cost ten times as much as comparing
            self._last = (secret, header_of(self._cfg, secret))
        return {"authorization": self._last[1]}

    async def renewed(self, headers: Mapping[str, str], answer: bytes) -> bool:
        """Whether there is another secret than the one that was refused, read anew where that is worth it."""
        secret, header = self._last
        if header != headers.get("authorization"):
            return True  # another request was faster
        return await renewed(self._secret, secret)


def live_credential(cfg: SearchCfg) -> LiveCredential | None:
    """The signer of a secret that may change; None where it may not."""
    secret = secret_of(cfg)
    return LiveCredential(cfg, secret) if isinstance(secret, LiveSecret) else None


def basic(username: str, password: str) -> str:
    """The value of a header for basic authentication."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def scrubbed(body: bytes, sent: Mapping[str, str]) -> bytes:
    """The body of an error without the credentials that were sent, for its words go into errors and logs. Gateways repeat whole requests.

    Args:
        sent: headers of the request; names in lower case, or a mapping that takes any.
    """
    for name in _SHOWN:
        if value := sent.get(name):
            for form in _forms(value.partition(" ")[2] or value):
                body = body.replace(form, _HIDDEN)
    return body


def _forms(credential: str) -> Iterator[bytes]:
    secrets = [credential]
    with suppress(ValueError):  # not of basic authentication
        secrets.append(base64.b64decode(credential, validate=True).decode().partition(":")[2])
    for secret in secrets:
        if len(secret) > 2:  # less would blot out half of what is said
            yield from dict.fromkeys((secret.encode(), quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode()))
