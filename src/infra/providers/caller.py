"""Who asks, told to the model's service in a header where the configuration names one; to no other hop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from ...core.identity import current_identity
from ..persistence.user_context import LOCAL_USER
from ..resource_manager import current_resources

if TYPE_CHECKING:
    import httpx2

    from ..config import ChatCfg, EmbedCfg

_PLAIN = "!#$&'()*+,/:;=?@[]^{|}~ "
"""What stands in a header as it is, beside letters and digits; all else is percent-encoded."""


def names_the_user(cfg: ChatCfg | EmbedCfg) -> Callable[[httpx2.Request], Awaitable[None]]:
    """A hook that names the user of the running request, or else the configured one; without either no header is sent.

    Callers may bring `[chat]` as it stands in the settings; those of the process then say who is configured.
    """

    async def hook(request: httpx2.Request) -> None:
        identity, resources = current_identity.get(), current_resources()
        user = cfg.user or (resources.settings.environment.jpmc_user_sid if resources else None)
        if identity is not None and identity.user != LOCAL_USER:
            user = identity.user
        if user and cfg.user_header:
            request.headers[cfg.user_header] = quote(user, safe=_PLAIN).strip()

    return hook
