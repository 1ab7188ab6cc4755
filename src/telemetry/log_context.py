"""What every log line says of the request that is running: trace, correlation id, tenant, and who asks as a keyed hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from functools import lru_cache

from ..core.identity import current_identity
from . import otel

USER_FIELDS = frozenset({"user", "user_id", "username", "owner"})
"""Fields that name a person; their values are hashed as the caller's is."""
HASH_LENGTH = 16


class _Key:
    """The key of the hashes; asked for once, when the first one is made."""

    def __init__(self) -> None:
        self.give: Callable[[], bytes] = lambda: secrets.token_bytes(32)
        self.value = b""

    def get(self) -> bytes:
        if not self.value:
            self.value = self.give()
        return self.value


_key = _Key()


def use_user_key(give: Callable[[], bytes]) -> None:
    """Hash users with this key from now on; it is asked for when it is first needed. Without one, a process has its own."""
    _key.give, _key.value = give, b""
    user_hash.cache_clear()


@lru_cache(maxsize=4096)
def user_hash(user: str) -> str:
    """Who somebody is, without saying who: the same user has the same one under the same key."""
    return hmac.new(_key.get(), user.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:HASH_LENGTH]


def running() -> dict[str, object]:
    """Of the request that is running: ``trace_id``, ``span_id``, ``correlation_id``, ``tenant``, ``user``, as far as there are any."""
    found: dict[str, object] = {}
    if otel.on():
        from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

        context = get_current_span().get_span_context()
        if context.is_valid:
            found |= {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}
    if identifier := otel.correlation_id():
        found["correlation_id"] = identifier
    if (identity := current_identity.get()) is not None:
        found |= {"tenant": identity.tenant, "user": user_hash(identity.user)}
    return found
