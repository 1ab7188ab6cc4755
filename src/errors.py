"""One exception tree. Each message says what failed, with which setting or hop, and what to do.

RagError
├── ConfigurationError            exit 2: the configuration cannot be used
│   ├── InvalidSettingsError      lists every problem of files, environment and secrets at once
│   ├── MissingExtraError         an optional package is not installed; names the extra
│   ├── ForeignServiceError       502: what answers at a configured address is another service
│   └── UnsupportedFeatureError   asked for by the configuration, not part of this release
├── InputError                    400: the caller's input cannot be used
│   ├── QueryError                a query, page size, cursor or vector
│   ├── FilterError               a metadata filter
│   └── PayloadTooLargeError      413: over a configured limit
├── AuthenticationError           401
├── PermissionDeniedError         403
├── NotFoundError                 404
├── ConflictError                 409
├── LimitExceededError            422: a request takes more than one may take; names the limit
├── DocumentError                 one document cannot be read; `reason` is a stable word
├── IndexMissingError             the index or alias that should be searched is not there; never an empty result
├── IndexMismatchError            the index was made with another model or format
│   └── MappingConflictError      a field of the index is mapped otherwise than this release writes or reads it
├── StorageError                  the data folder
│   ├── StorageReadOnlyError
│   ├── StorageFullError
│   ├── StorageCorruptError
│   └── StorageLockedError        another process holds the write lock; names it
├── ServiceUnavailableError       503: a service did not answer; never an empty result
│   ├── DeadlineExceededError     504: it did not answer in time
│   ├── UnreachableError          no connection: name, port, reset, proxy
│   ├── TlsError                  a connection without trust: certificate, authority, host name, version
│   ├── OverloadedError           429: it has no room now; worth a later try
│   │   └── ServerMemoryError     its memory circuit breaker refused the request
│   ├── WriteBlockedError         it takes no writes: flood-stage disk, or an index blocked by its operator
│   ├── PartialResultError        some of its shards did not answer
│   └── AuditError                an event cannot be recorded, so what it is about is refused; or the trail cannot be read
├── RefusedItemsError             502: the service took a request, and refused some of its items for good
├── BulkItemError                 one of them; the rest goes on
├── ServiceCredentialsError       a search service refuses this server's own credential; never the caller's 401
│   └── ServicePermissionError    the credential is good, and may not do this
├── ModelError                    502: a model answered, but not usably
│   ├── ContentFilteredError      the provider's content filter refused
│   ├── ModelCredentialsError     its service refuses this server's own credential; never the caller's 401 or 403
│   │   └── IdentityError          the identity service gives this server no token; never the caller's 401
│   └── StreamInterruptedError    a stream ended without its finish reason
└── ResourceClosedError           used after close
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal


class RagError(Exception):
    """Base of every error that this package raises on purpose.

    Args:
        message: what failed, in one sentence.
        hint: what to do about it.
        setting: the configuration key responsible, as ``section.key``.
        hop: the outside system that failed, as ``scheme://host:port`` or a name; never with credentials.
        proxy: address of the proxy on the way to it, never with credentials; empty where there is none, or nobody knows.
    """

    code: ClassVar[str] = "error"
    """Stable word for machines: the last part of a problem document's ``type``, and ``error.code`` in ``--json``."""

    plain: ClassVar[str] = ""
    """What callers of a server are told in place of message, hint and setting, where these name things of the server; its log has them."""

    source: str = ""
    """Where the setting's value stands, such as ``file config.ini:12``, or ``default``; filled in by who knows the configuration."""

    def __init__(self, message: str, *, hint: str = "", setting: str = "", hop: str = "", proxy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.setting = setting
        self.hop = hop
        self.proxy = proxy

    def __str__(self) -> str:
        """What failed (which hop, through which proxy, which setting and where it stands), and what to do."""
        source = " at its default" if self.source == "default" else f" from {self.source}" if self.source else ""
        setting = f"setting {self.setting}{source}"
        where = ", ".join(part for part in (self.hop and f"hop {self.hop}", self.proxy and f"proxy {self.proxy}", self.setting and setting) if part)
        text = f"{self.message} ({where})" if where else self.message
        return f"{text} {self.hint}" if self.hint else text


class ConfigurationError(RagError):
    code = "configuration"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the configuration. Never holds the value of a secret."""

    message: str
    key: str = ""
    """``section.key``, or ``section`` alone; empty where no key is at fault."""
    where: str = ""
    """File, environment variable or secret file that holds it."""
    line: int | None = None
    """Line in that file, from 1."""
    nearest: str = ""
    """What was probably meant."""
    allowed: tuple[str, ...] = ()
    """Keys or values that would be right."""

    def __str__(self) -> str:
        place = f"{self.where}:{self.line}" if self.where and self.line else self.where
        section, _, key = self.key.partition(".")
        name = f"[{section}] {key}".rstrip() if section else ""
        text = ": ".join(part for part in (place, name, self.message) if part)
        text += f" Did you mean `{self.nearest}`?" if self.nearest else ""
        return text + (f" Allowed: {', '.join(self.allowed)}." if self.allowed else "")


class InvalidSettingsError(ConfigurationError):
    """Files, environment, secret files and overrides do not make a configuration; `problems` lists all reasons."""

    def __init__(self, problems: Sequence[Problem], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "The configuration has a problem:" if count == 1 else f"The configuration has {count} problems:"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]), hint=hint)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class MissingExtraError(ConfigurationError):
    code = "missing-extra"


class ForeignServiceError(ConfigurationError):
    code = "foreign-service"


class UnsupportedFeatureError(ConfigurationError):
    code = "unsupported-feature"


class InputError(RagError):
    code = "bad-input"


class QueryError(InputError):
    code = "bad-query"


class FilterError(InputError):
    code = "bad-filter"


class PayloadTooLargeError(InputError):
    code = "too-large"


class AuthenticationError(RagError):
    code = "unauthenticated"


class PermissionDeniedError(RagError):
    code = "forbidden"


class NotFoundError(RagError):
    code = "not-found"


class ConflictError(RagError):
    code = "conflict"


class LimitExceededError(RagError):
    """One request would take, or took, more tokens or money than the configuration lets it."""

    code = "limit-exceeded"


DocumentReason = Literal["unsupported", "encrypted", "empty", "no-text-layer", "oversized", "broken", "unreadable"]


class DocumentError(RagError):
    """One document cannot be read; the rest of the ingestion goes on."""

    code = "document"

    def __init__(self, message: str, *, reason: DocumentReason, hint: str = "", setting: str = "") -> None:
        super().__init__(message, hint=hint, setting=setting)
        self.reason: DocumentReason = reason


class IndexMissingError(RagError):
    code = "index-missing"


class IndexMismatchError(RagError):
    code = "index-mismatch"


class MappingConflictError(IndexMismatchError):
    code = "mapping-conflict"


class StorageError(RagError):
    code = "storage"


class StorageReadOnlyError(StorageError):
    code = "storage-read-only"


class StorageFullError(StorageError):
    code = "storage-full"


class StorageCorruptError(StorageError):
    code = "storage-corrupt"


class StorageLockedError(StorageError):
    code = "storage-locked"


class ServiceUnavailableError(RagError):
    code = "unavailable"


class DeadlineExceededError(ServiceUnavailableError):
    code = "deadline"


class UnreachableError(ServiceUnavailableError):
    code = "unreachable"


class TlsError(ServiceUnavailableError):
    code = "tls"


class OverloadedError(ServiceUnavailableError):
    code = "overloaded"


class ServerMemoryError(OverloadedError):
    code = "server-memory"
    permanent: bool = False
    """The request can never fit: send less at once instead of repeating it."""


class WriteBlockedError(ServiceUnavailableError):
    code = "write-blocked"


class PartialResultError(ServiceUnavailableError):
    code = "partial-result"


class AuditError(ServiceUnavailableError):
    code = "audit"
    plain = "The audit trail cannot be written, and what it cannot record is neither shown nor done. The server's log tells more."


class BulkItemError(RagError):
    """One item of a bulk request was refused for good.

    Args:
        item_id: its `_id`.
        reason: the service's word for it, such as ``mapper_parsing_exception``.
        status: as if it had been a request of its own.
    """

    code = "bulk-item"

    def __init__(self, message: str, *, item_id: str, reason: str, status: int, hint: str = "", hop: str = "") -> None:
        super().__init__(message, hint=hint, hop=hop)
        self.item_id = item_id
        self.reason = reason
        self.status = status


class RefusedItemsError(RagError):
    """Some items were refused for good; everything else was done."""

    code = "refused-items"

    def __init__(self, message: str, *, items: Sequence[BulkItemError], hint: str = "", hop: str = "") -> None:
        super().__init__(message, hint=hint, hop=hop)
        self.items = tuple(items)


class ServiceCredentialsError(RagError):
    code = "service-credentials"
    said: str = ""
    """What the service said, for the log alone: it may name this server's account."""


class ServicePermissionError(ServiceCredentialsError):
    code = "service-permission"


class ModelError(RagError):
    code = "model"


class ContentFilteredError(ModelError):
    code = "content-filtered"


class ModelCredentialsError(ModelError):
    code = "model-credentials"


class IdentityError(ModelCredentialsError):
    code = "identity"


class StreamInterruptedError(ModelError):
    code = "stream-interrupted"


class ResourceClosedError(RagError):
    code = "closed"
